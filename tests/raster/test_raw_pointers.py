"""What kernels read by address: offsets that lie apart, some images of a batch, other devices."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.autograd import forward_ad

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster import (
    Fragments,
    antialias,
    find_crossings,
    interpolate,
    rasterize,
    render_attributes,
    sample_texture,
    soft_shade,
)

CAMERA = Camera.from_intrinsics(
    torch.tensor([[40.0, 0, 16], [0, 40, 16], [0, 0, 1]], dtype=torch.float64), (32, 32),
    pixel_centres="half",
)  # fmt: skip
# torch compiles its own rules of forward mode by a function that it warns of.
_TORCH_SCRIPTS = pytest.mark.filterwarnings("ignore:.*torch.jit.script.*:DeprecationWarning")
FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [3, 1, 2]])


def vertices(count: int, seed: int = 0) -> Tensor:
    """(count, 4, 3) small meshes before the camera."""
    draw = torch.Generator().manual_seed(seed)
    drawn = torch.rand(count, 4, 3, dtype=torch.float64, generator=draw)
    return drawn - 0.5 + torch.tensor([0.0, 0.0, 2.0], dtype=torch.float64)


def test_offsets_may_lie_apart() -> None:
    points = vertices(2).flatten(0, 1)
    faces = torch.cat([FACES, FACES + 4])
    ends = torch.tensor([[0, 0], [4, 3], [8, 6]])
    apart = MeshBatch(points, faces, ends[:, 0], ends[:, 1])
    assert apart.vertex_offsets.is_contiguous() and apart.face_offsets.is_contiguous()
    together = MeshBatch(points, faces, ends[:, 0].clone(), ends[:, 1].clone())
    for backend in ("native", "torch"):
        found, expected = (rasterize(m, CAMERA, backend=backend) for m in (apart, together))
        assert torch.equal(found.face, expected.face)
        assert torch.equal(found.depth, expected.depth)


@pytest.mark.parametrize("chosen", [[2], [3, 1], [3, 2, 1, 0], [0, 0]])
@pytest.mark.parametrize("corners", [False, True])
def test_some_images_of_a_batch_have_their_gradients(chosen: list[int], corners: bool) -> None:
    rows = torch.rand(12 if corners else 16, *([3, 2] if corners else [2]), dtype=torch.float64)
    found = []
    for backend in ("native", "torch"):
        points, values = vertices(4).requires_grad_(), rows.clone().requires_grad_()
        whole = rasterize((points, FACES), CAMERA, backend=backend)
        part = dataclasses.replace(
            whole, face=whole.face[chosen], bary=whole.bary[chosen], depth=whole.depth[chosen]
        )
        image = interpolate(values, part, backend=backend)
        weight = torch.rand(image.shape, dtype=image.dtype, generator=_draw())
        found.append((image, *torch.autograd.grad((image * weight).sum(), [values, points])))
    for one, other in zip(*found, strict=True):
        assert one.abs().max() > 0
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-7)


def _draw() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def test_outlines_of_some_images_are_refused() -> None:
    meshes = (vertices(4), FACES)
    whole = rasterize(meshes, CAMERA)
    part = dataclasses.replace(
        whole, face=whole.face[:1], bary=whole.bary[:1], depth=whole.depth[:1]
    )
    image = torch.rand(1, 32, 32, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="are of 1 images and hold 4 meshes"):
        antialias(image, part, meshes, CAMERA)
    with pytest.raises(InputError, match="are of 1 images and hold 4 meshes"):
        find_crossings(image, part)


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_faces_that_were_exchanged_have_their_own_gradient(backend: str) -> None:
    """To the barycentrics as they are, not through the geometry of other faces."""
    points = vertices(1)[0].requires_grad_()
    fragments = rasterize((points, FACES), CAMERA, backend=backend)
    order = torch.tensor([2, 0, 1])
    other = dataclasses.replace(
        fragments, face=torch.where(fragments.face < 0, -1, order[fragments.face])
    )
    values = torch.rand(3, 3, 2, dtype=torch.float64)  # of corners
    renumbered = torch.empty_like(values)
    renumbered[order] = values
    weight = torch.rand(32, 32, 2, dtype=torch.float64, generator=_draw())
    (expected,) = torch.autograd.grad(
        (interpolate(values, fragments, backend=backend) * weight).sum(), points, retain_graph=True
    )
    image = interpolate(renumbered, other, backend=backend)
    (found,) = torch.autograd.grad((image * weight).sum(), points)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=1e-7)


def test_tensors_on_other_devices_are_refused() -> None:
    points, values = vertices(1)[0], torch.rand(4, 2, dtype=torch.float64)
    with pytest.raises(InputError, match="torch.int64 on meta, expected torch.int64 on cpu"):
        rasterize((points, FACES.to("meta")), CAMERA)
    mesh = Mesh(points, FACES)
    with pytest.raises(InputError, match="attributes is on meta"):
        render_attributes(values.to("meta"), mesh, CAMERA)
    with pytest.raises(InputError, match="torch.int64 on meta"):
        render_attributes(values, MeshBatch.single(points, FACES.to("meta")), CAMERA)
    fragments = rasterize((points, FACES), CAMERA)
    image = interpolate(values, fragments)
    with pytest.raises(InputError, match="attributes is on meta"):
        interpolate(values.to("meta"), fragments)
    moved = dataclasses.replace(fragments, face=fragments.face.to("meta"))
    with pytest.raises(InputError, match="face is on meta and homogeneous on cpu"):
        antialias(image, moved, mesh, CAMERA)
    with pytest.raises(InputError, match="face is on meta and homogeneous on cpu"):
        interpolate(values, moved)


def _jvp(fragments_of: str) -> None:
    points, values = vertices(1)[0], torch.rand(4, 2, dtype=torch.float64)
    texture, uv = torch.rand(4, 4, 3, dtype=torch.float64), torch.rand(5, 2, dtype=torch.float64)
    mesh = Mesh(points, FACES)
    run = {
        "sample_texture": (lambda t: sample_texture(texture, t, backend="native"), uv),
        "soft_shade": (lambda t: soft_shade(t, mesh, CAMERA, backend="native"), values),
        "render_attributes": (lambda t: render_attributes(t, mesh, CAMERA), values),
    }[fragments_of]
    with forward_ad.dual_level():
        run[0](forward_ad.make_dual(run[1], torch.ones_like(run[1])))


@_TORCH_SCRIPTS
@pytest.mark.parametrize("name", ["sample_texture", "soft_shade", "render_attributes"])
def test_forward_mode_derivatives_are_refused_and_not_zero(name: str) -> None:
    with pytest.raises(RuntimeError, match=f"{name} has no forward-mode derivative"):
        _jvp(name)


@_TORCH_SCRIPTS
def test_forward_mode_goes_through_the_twin() -> None:
    texture = torch.rand(4, 4, 3, dtype=torch.float64)
    uv, way = torch.rand(5, 2, dtype=torch.float64), torch.ones(5, 2, dtype=torch.float64)
    _, moved = torch.func.jvp(lambda t: sample_texture(texture, t, backend="torch"), (uv,), (way,))
    jacobian = torch.autograd.functional.jacobian(lambda t: sample_texture(texture, t), uv)
    torch.testing.assert_close(moved, torch.einsum("pcqk,qk->pc", jacobian, way))


@pytest.mark.parametrize("backend", ["native", "torch"])
@pytest.mark.parametrize("far", [1.7e308, -1.7e308, 1e20, -3.25, 0.25 + 2**40])
def test_repeated_textures_have_no_end(backend: str, far: float) -> None:
    texture = torch.rand(4, 4, 3, dtype=torch.float64)
    uv = torch.tensor([[far, 0.5]], dtype=torch.float64)
    place = torch.tensor([[far - float(torch.floor(uv[0, 0])), 0.5]], dtype=torch.float64)
    found, expected = (
        sample_texture(texture, t, wrap="repeat", backend=backend) for t in (uv, place)
    )
    assert torch.isfinite(found).all()
    torch.testing.assert_close(found, expected)


def test_fragments_of_another_rasterizer_are_taken_the_long_way() -> None:
    points = vertices(1)[0].requires_grad_()
    made = rasterize((points, FACES), CAMERA)
    assert made.made is not None and made.made[0] is made.face
    names = [field.name for field in dataclasses.fields(made) if field.name != "made"]
    by_hand = Fragments(*(getattr(made, name) for name in names))
    values = torch.rand(4, 2, dtype=torch.float64)
    grads = [
        torch.autograd.grad(interpolate(values, f).square().sum(), points, retain_graph=True)[0]
        for f in (made, by_hand)
    ]
    torch.testing.assert_close(*grads)
