"""PyTorch3D without it: meshes and fragments by stored outputs, calls by a stand-in."""

from __future__ import annotations

import importlib.util
import sys
import types
from importlib.machinery import ModuleSpec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch3d_cases import posed, their_ndc
from raster_scenes import DOUBLE, pinhole, sphere, torus, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, MissingExtraError
from diffrender.meshes import Mesh, pack_meshes
from diffrender.raster import backends, interpolate, rasterize
from diffrender.raster import pytorch3d as bridge
from diffrender.raster import pytorch3d_raster as raster
from diffrender.raster._packed import pack


class FakeMeshes:
    """Keeps what it was given, as `pytorch3d.structures.Meshes` does."""

    def __init__(self, verts: list[Tensor], faces: list[Tensor]) -> None:
        self.verts, self.faces = verts, faces

    def verts_list(self) -> list[Tensor]:
        return self.verts

    def faces_list(self) -> list[Tensor]:
        return self.faces


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Modules under PyTorch3D's names that record their calls; the rasterizer finds one face."""
    calls: dict[str, Any] = {}

    def cameras(**arguments: Any) -> types.SimpleNamespace:
        calls["cameras"] = arguments
        return types.SimpleNamespace(**arguments)

    def rasterize_meshes(meshes: FakeMeshes, **settings: Any) -> tuple[Tensor, ...]:
        calls["meshes"], calls["settings"] = meshes, settings
        shape = (len(meshes.verts), *settings["image_size"], settings["faces_per_pixel"])
        face = torch.full(shape, -1, dtype=torch.int64)
        face[:, 1, 2, 0] = 1
        zbuf, bary = torch.full(shape, -1.0), torch.full((*shape, 3), -1.0)
        zbuf[:, 1, 2, 0] = meshes.verts[0][0, 2]
        bary[:, 1, 2, 0] = torch.tensor([0.25, 0.25, 0.5])
        return face, zbuf, bary, torch.where(face < 0, -1.0, -0.04)

    modules = {
        "pytorch3d": {},
        "pytorch3d.renderer": {"PerspectiveCameras": cameras},
        "pytorch3d.renderer.mesh": {},
        "pytorch3d.renderer.mesh.rasterize_meshes": {"rasterize_meshes": rasterize_meshes},
        "pytorch3d.structures": {"Meshes": FakeMeshes},
    }
    for name, members in modules.items():
        module = types.ModuleType(name)
        module.__spec__ = ModuleSpec(name, None)
        vars(module).update(members)
        monkeypatch.setitem(sys.modules, name, module)
    return calls


def test_meshes_there_and_back(stand_in: dict[str, Any]) -> None:
    batch = pack_meshes([sphere(0), torus()])
    theirs = bridge.to_meshes(batch)
    assert [len(v) for v in theirs.verts] == [12, len(torus().vertices)]
    assert int(theirs.faces[1].max()) == len(torus().vertices) - 1
    back = bridge.from_meshes(theirs)
    assert torch.equal(back.vertices, batch.vertices)
    assert torch.equal(back.faces, batch.faces)
    assert torch.equal(back.face_offsets, batch.face_offsets)
    one = bridge.to_meshes(sphere(0))
    assert torch.equal(one.faces[0], sphere(0).faces)


def test_cameras_are_handed_over_by_their_names(stand_in: dict[str, Any]) -> None:
    camera = posed()
    bridge.to_cameras(camera, "screen")
    given = stand_in["cameras"]
    assert given["in_ndc"] is False
    assert given["image_size"].tolist() == [[40, 72]] * 2
    torch.testing.assert_close(
        given["principal_point"], torch.tensor([[33.5, 19.25]] * 2, dtype=DOUBLE)
    )
    assert set(given) == {
        "R", "T", "focal_length", "principal_point", "image_size", "in_ndc", "device",
    }  # fmt: skip


def test_the_back_end_hands_over_ndc_and_reads_their_maps(stand_in: dict[str, Any]) -> None:
    camera = pinhole((6, 8), focal=9.0, translation=(0.0, 0.0, 3.0))
    vertices = sphere(0).vertices.requires_grad_()
    packed = pack(Mesh(vertices, sphere(0).faces), camera)
    face, bary, depth = raster.rasterize(packed, 2, True)
    settings = stand_in["settings"]
    assert settings["image_size"] == (6, 8) and settings["faces_per_pixel"] == 2
    assert settings["cull_backfaces"] is True and settings["perspective_correct"] is True
    assert settings["z_clip_value"] == 0.01 and settings["blur_radius"] == 0.0
    assert settings["max_faces_per_bin"] >= len(sphere(0).faces)
    handed = stand_in["meshes"].verts[0]
    assert handed.dtype == torch.float32
    wanted = their_ndc(bridge.perspective(camera), vertices)[0]
    torch.testing.assert_close(handed[:, :2].double(), wanted, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(handed[:, 2].double(), camera.project(vertices)[1])
    assert face[0, 1, 2].tolist() == [1, -1]
    assert bary[0, 1, 2].tolist() == [[0.25, 0.25, 0.5], [0.0, 0.0, 0.0]]
    assert bary.dtype == depth.dtype == DOUBLE and float(depth.detach()[0, 0, 0, 0]) == 0.0
    (grad,) = torch.autograd.grad(depth.sum(), vertices)
    assert grad[0].tolist() == pytest.approx([0, 0, 1])
    with pytest.raises(InputError, match="keeps 1 to 150"):
        raster.rasterize(packed, 151, False)


def test_their_drawing_comes_as_our_fragments(stand_in: dict[str, Any]) -> None:
    camera = pinhole((6, 8), focal=9.0, translation=(0.0, 0.0, 3.0))
    found = raster.rasterize_with_pytorch3d(sphere(0), camera, layers=2)
    assert found.face.shape == (6, 8, 2) and found.face[1, 2].tolist() == [1, -1]
    assert found.distance is not None
    assert found.distance[1, 2].tolist() == pytest.approx([-0.2 * 6 / 2, 0.0])
    assert float(found.mask().sum()) == 1.0
    assert backends()["pytorch3d"] is None
    single = pinhole((6, 8), focal=9.0, translation=(0.0, 0.0, 3.0), dtype=torch.float32)
    chosen = rasterize(sphere(0, torch.float32), single, layers=2, backend="pytorch3d")
    assert torch.equal(chosen.face, found.face)
    with pytest.raises(InputError, match="expected one of native, torch, triton"):
        interpolate(torch.zeros(12, 1), chosen, backend="pytorch3d")  # it only draws


def test_vertices_on_the_camera_plane_stay_finite(stand_in: dict[str, Any]) -> None:
    points = torch.tensor([[1.0, 2, 0], [1, 2, -1e-9], [0, 0, 1]], dtype=DOUBLE)
    mesh = Mesh(points, torch.tensor([[0, 1, 2], [0, 2, 1]]))
    raster.rasterize(pack(mesh, pinhole((6, 8))), 1, False)
    assert bool(torch.isfinite(stand_in["meshes"].verts[0]).all())


def test_it_says_what_is_missing() -> None:
    if importlib.util.find_spec("pytorch3d") is not None:
        pytest.skip("pytorch3d is installed here")
    assert "not installed" in str(backends()["pytorch3d"])
    with pytest.raises(MissingExtraError, match=r"diffrender\[pytorch3d\]"):
        bridge.to_meshes(sphere(0))
    with pytest.raises(InputError, match="backend 'pytorch3d' cannot be used"):
        rasterize(sphere(0), pinhole((6, 8)), backend="pytorch3d")


def test_fragments_there_and_back() -> None:
    batch = pack_meshes([sphere(1), torus()])
    camera = pinhole((20, 30), focal=24.0, translation=(0, 0, 3.0))
    ours = rasterize(batch, camera, layers=3, with_distance=True)
    theirs = bridge.to_fragments(ours)
    empty = ours.face < 0
    for value in (theirs.zbuf[empty], theirs.bary_coords[empty], theirs.dists[empty]):  # type: ignore[index]
        assert bool((value == -1).all())
    back = bridge.from_fragments(theirs, batch, camera)
    assert torch.equal(back.face, ours.face)
    torch.testing.assert_close(back.depth, ours.depth)
    torch.testing.assert_close(back.bary, ours.bary)
    torch.testing.assert_close(back.distance, ours.distance)
    with pytest.raises(InputError, match="pix_to_face has shape"):
        bridge.from_fragments(theirs, sphere(1), camera)


def test_gradients_pass_through_fragments() -> None:
    mesh = sphere(0)
    camera = pinhole((6, 7), focal=7.0, translation=(0, 0, 3.0))

    def both(vertices: Tensor):  # type: ignore[no-untyped-def]
        moved = Mesh(vertices, mesh.faces)
        theirs = bridge.to_fragments(rasterize(moved, camera, with_distance=True))
        back = bridge.from_fragments(theirs, moved, camera)
        return theirs.zbuf, theirs.bary_coords, theirs.dists, back.distance

    vertices = (mesh.vertices + 0.01 * weights(mesh.vertices.shape)).requires_grad_()
    assert torch.autograd.gradcheck(both, (vertices,), eps=1e-7, atol=1e-5)


@pytest.mark.parametrize("name", ["sphere_hard", "torus_hard_wide"])
def test_convention_fragments_are_those_that_pytorch3d_stored(shared: Path, name: str) -> None:
    path = shared / "reference" / "pytorch3d" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the reference material")
    with np.load(path, allow_pickle=False) as archive:
        data = {k: torch.as_tensor(archive[k]) for k in archive.files}
    size = tuple(int(n) for n in data["size_hw"])
    camera = Camera(data["K"], data["R"], data["t"], size)  # type: ignore[arg-type]
    mesh = Mesh(data["vertices"], data["faces"].long())
    stored = bridge.TheirFragments(
        data["pix_to_face"][None], data["zbuf"][None], data["bary"][None], data["dists"][None]
    )
    ours = rasterize(mesh, camera, layers=stored.zbuf.shape[-1], with_distance=True)
    converted, read = bridge.to_fragments(ours), bridge.from_fragments(stored, mesh, camera)
    same = converted.pix_to_face == stored.pix_to_face
    assert float(same.float().mean()) > 0.998  # their edge pixels may differ
    assert int((same & (ours.face[None] >= 0)).sum()) > 900
    torch.testing.assert_close(converted.zbuf[same], stored.zbuf[same], rtol=1e-3, atol=0)
    torch.testing.assert_close(
        converted.bary_coords[same], stored.bary_coords[same], rtol=1e-3, atol=1e-3
    )
    assert converted.dists is not None and stored.dists is not None
    torch.testing.assert_close(converted.dists[same], stored.dists[same], rtol=1e-3, atol=1e-6)
    assert read.distance is not None and ours.distance is not None
    torch.testing.assert_close(read.distance[same[0]], ours.distance[same[0]], rtol=1e-3, atol=2e-3)
    # The pixels come out where their camera, by our numbers, sends the mesh.
    ndc = their_ndc(bridge.perspective(camera), mesh.vertices)[0]
    corners = ndc[mesh.faces[data["pix_to_face"][data["pix_to_face"] >= 0].long()]]  # (N, 3, 2)
    where = (data["pix_to_face"] >= 0).nonzero()
    centre = torch.stack([size[1] - 2 * (where[:, 1] + 0.5), size[0] - 2 * (where[:, 0] + 0.5)], -1)
    centre = centre / min(size)
    low, high = corners.amin(1) - 1e-4, corners.amax(1) + 1e-4
    assert bool(((centre >= low) & (centre <= high)).all())
