"""Learning a prior from meshes: what is learned is recovered, what is wrong is named."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.shape_priors import (
    default_texture,
    fit_prior,
    learn_prior,
    load_prior,
    sample_car,
    save_prior,
)
from diffrender.shape_priors.mesh_files import find_axes, object_rotation, read_mesh


def _metric(kind: str, generator: torch.Generator) -> Mesh:
    sample = sample_car(kind, generator)
    return Mesh(sample.mesh.vertices.double() * sample.size[[0, 2, 1]], sample.mesh.faces)


def _write_obj(path: Path, mesh: Mesh, rotation: torch.Tensor, scale: float) -> Path:
    points = mesh.vertices @ rotation / scale  # object -> the file's axes
    lines = [f"v {x:.7f} {y:.7f} {z:.7f}" for x, y, z in points.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces.tolist()]
    path.write_text("\n".join(lines) + "\n")
    return path


@pytest.fixture(scope="module")
def hatchbacks() -> list[Mesh]:
    generator = torch.Generator().manual_seed(11)
    return [_metric("hatchback", generator) for _ in range(80)]


def test_learned_prior_recovers_a_held_out_car(hatchbacks: list[Mesh]) -> None:
    prior = learn_prior(hatchbacks[:-1], latent_size=16, name="hatch")
    held_out = hatchbacks[-1]
    result = fit_prior(prior, held_out.vertices, held_out.faces)
    assert result.iou > 0.97
    true_size = (held_out.vertices.amax(0) - held_out.vertices.amin(0))[[0, 2, 1]].float()
    torch.testing.assert_close(result.size, true_size, atol=0, rtol=0.01)
    mean_only = learn_prior(hatchbacks[:3], latent_size=1)
    assert result.iou > fit_prior(mean_only, held_out.vertices, held_out.faces).iou


def test_sizes_are_those_of_the_meshes(hatchbacks: list[Mesh]) -> None:
    prior = learn_prior(hatchbacks, latent_size=4)
    sizes = torch.stack([m.vertices.amax(0) - m.vertices.amin(0) for m in hatchbacks])[:, [0, 2, 1]]
    torch.testing.assert_close(prior.size_mean, sizes.mean(0).float())
    torch.testing.assert_close(prior.size_sigma, sizes.std(0).float())
    assert len(prior.explained) == 4


def test_latents_have_unit_variance(hatchbacks: list[Mesh]) -> None:
    prior = learn_prior(hatchbacks, latent_size=3).to(torch.float64)
    metric = prior.size_mean[[0, 2, 1]]
    unit = torch.stack([m.vertices / (m.vertices.amax(0) - m.vertices.amin(0)) for m in hatchbacks])
    flat = (prior.basis * metric).flatten(1)
    latents = ((unit - prior.mean) * metric).flatten(1) @ flat.mT / flat.square().sum(1)
    torch.testing.assert_close(latents.std(0), torch.ones(3).double(), atol=1e-3, rtol=0)


@pytest.mark.parametrize(("forward", "up"), [("+z", "-y"), ("-x", "+z"), ("+y", "+z")])
def test_files_in_any_axes_and_units(
    hatchbacks: list[Mesh], tmp_path: Path, forward: str, up: str
) -> None:
    rotation = object_rotation(forward, up)
    paths = [
        _write_obj(tmp_path / f"{i}.obj", mesh, rotation, 2.5)
        for i, mesh in enumerate(hatchbacks[:6])
    ]
    assert find_axes(read_mesh(paths[0])[0]) == (forward, up)
    learned = learn_prior(paths, latent_size=2, scale=2.5)
    direct = learn_prior(hatchbacks[:6], latent_size=2)
    assert torch.equal(learned.faces, direct.faces)
    torch.testing.assert_close(learned.mean, direct.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(learned.basis, direct.basis, atol=1e-4, rtol=0)


def test_meshes_modelled_inside_out_are_turned(hatchbacks: list[Mesh]) -> None:
    inverted = [Mesh(m.vertices, m.faces[:, [0, 2, 1]]) for m in hatchbacks[:4]]
    assert torch.equal(learn_prior(inverted, 2).faces, hatchbacks[0].faces)


def test_learned_prior_can_be_saved_and_textured(hatchbacks: list[Mesh], tmp_path: Path) -> None:
    shapely = pytest.importorskip("shapely")
    prior = learn_prior(hatchbacks[:5], 3, name="mine", licence="CC0")
    copy = load_prior(save_prior(prior, tmp_path / "mine.safetensors"))
    assert (copy.name, copy.licence, copy.latent_size) == ("mine", "CC0", 3)
    mesh = copy.mesh(texture=default_texture(copy, resolution=256))
    assert float(mesh.uv.min()) >= 0
    assert float(mesh.uv.max()) <= 1
    triangles = [shapely.Polygon(t) for t in mesh.uv[mesh.face_uv].double().numpy()]
    area = sum(t.area for t in triangles)
    assert shapely.union_all(triangles).area == pytest.approx(area, rel=1e-6)


def test_ply_is_read_too(hatchbacks: list[Mesh], tmp_path: Path) -> None:
    trimesh = pytest.importorskip("trimesh")
    mesh = hatchbacks[0]
    path = tmp_path / "car.ply"
    trimesh.Trimesh(mesh.vertices.numpy(), mesh.faces.numpy(), process=False).export(path)
    vertices, faces = read_mesh(path)
    torch.testing.assert_close(vertices, mesh.vertices, atol=1e-6, rtol=0)
    assert torch.equal(faces, mesh.faces)


def test_broken_meshes_in_memory_are_named(hatchbacks: list[Mesh]) -> None:
    first = hatchbacks[0]
    nan = Mesh(first.vertices * float("nan"), first.faces)
    with pytest.raises(InputError, match="mesh 11: holds vertices that are not finite"):
        learn_prior([*hatchbacks[:11], nan], 4)
    with pytest.raises(InputError, match="the mesh to fit: holds vertices that are not finite"):
        fit_prior(load_prior("car"), nan.vertices, nan.faces)
    with pytest.raises(InputError, match="a face points outside the 100 vertices"):
        fit_prior(load_prior("car"), first.vertices[:100], first.faces)


def test_flat_meshes_and_meshes_that_are_all_the_same_are_refused(hatchbacks: list[Mesh]) -> None:
    flat = Mesh(hatchbacks[2].vertices * torch.tensor([1.0, 0.0, 1.0]), hatchbacks[2].faces)
    with pytest.raises(InputError, match=r"mesh 2: a flat mesh \(.* x 0 x .*\), expected a solid"):
        learn_prior([*hatchbacks[:2], flat], 1)
    with pytest.raises(InputError, match="mesh 0: a flat mesh"):
        learn_prior([flat] * 3, 1)
    with pytest.raises(InputError, match="the mesh whose axes are to be found: a flat mesh"):
        find_axes(flat.vertices)
    for count in (3, 4):
        with pytest.raises(InputError, match=f"the {count} shapes are all the same in the unit"):
            learn_prior([hatchbacks[0]] * count, 2)


def test_wrong_sets_are_refused(hatchbacks: list[Mesh], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="3 meshes cannot give 8 latents"):
        learn_prior(hatchbacks[:3])
    with pytest.raises(InputError, match="latent_size 0, expected 1 to 64"):
        learn_prior(hatchbacks, latent_size=0)
    identity = torch.eye(3, dtype=torch.float64)
    paths = [_write_obj(tmp_path / f"{i}.obj", hatchbacks[i], identity, 1.0) for i in range(3)]
    odd = Mesh(hatchbacks[3].vertices, hatchbacks[3].faces.flip(0))
    paths.insert(2, _write_obj(tmp_path / "odd.obj", odd, identity, 1.0))
    with pytest.raises(InputError, match=r"odd\.obj: .*differ from .*0\.obj"):
        learn_prior(paths, 2)
    small = [Mesh(m.vertices / 3, m.faces) for m in hatchbacks[:4]]
    with pytest.raises(InputError, match=r"m long on average, expected 2\.0 to 20\.0 m: give"):
        learn_prior(small, 2)
    with pytest.raises(InputError, match="forward axis 'z\\+', expected one of"):
        learn_prior(hatchbacks[:4], 2, forward_axis="z+", up_axis="-y")
    with pytest.raises(InputError, match="are the same axis"):
        learn_prior(hatchbacks[:4], 2, forward_axis="+y", up_axis="-y")
    with pytest.raises(InputError, match="scale 0, expected a positive number"):
        learn_prior(hatchbacks[:4], 2, scale=0)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("car.stl", "solid", "car.stl: expected an .obj or .ply mesh"),
        ("car.obj", "v 1 2\nf 1 2 3\n", "car.obj: "),
        ("car.obj", "no mesh here", "car.obj: "),
        ("car.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 nan 1\nf 1 2 3\nf 1 2 4\n", "not finite"),
        ("car.obj", "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 2 9\n", "car.obj: "),
        ("car.ply", "ply\nformat ascii 1.0\nelement vertex 5\n", "car.ply: "),
    ],
)
def test_broken_files_are_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message):
        read_mesh(path)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"absent\.obj: no such file"):
        read_mesh(tmp_path / "absent.obj")


def test_real_cars_share_axes_and_can_be_learned(shared: Path) -> None:
    folder = shared / "data" / "car_meshes" / "same_topology_79"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    paths = sorted(folder.glob("*.obj"))[:24]
    prior = learn_prior(paths, latent_size=8, scale=2.853)
    assert prior.mean.shape == (1352, 3)
    length, width, height = prior.size_mean.tolist()
    assert 4.0 < length < 5.0
    assert 1.6 < width < 2.2
    assert 1.3 < height < 1.8
    roof = prior.mean[prior.mean[:, 1] < -0.9]
    assert float(roof[:, 0].mean()) < 0  # behind the middle: x points forward
