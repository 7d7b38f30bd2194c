"""The Triton kernels against their plain-torch twins, value and gradient."""

from __future__ import annotations

import pytest
import torch
import trimesh
from hypothesis import Phase, given, settings
from hypothesis import strategies as st
from raster_scenes import (
    GPU_MARKS,
    NEEDS_TRITON,
    TRITON_DEVICE,
    flat_camera,
    flat_mesh,
    from_trimesh,
    pinhole,
    sphere,
    weights,
)
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, MeshBatch, pack_meshes
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette

pytestmark = [
    pytest.mark.skipif(TRITON_DEVICE is None, reason=NEEDS_TRITON),
    *GPU_MARKS,
    pytest.mark.parametrize("dtype", [torch.float32, torch.float64]),
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}
PAIR = ("triton", "torch")


def ragged(dtype: torch.dtype) -> tuple[MeshBatch, Camera, list[Tensor]]:
    """A ball in a box, a mesh without faces, one behind the camera, one across the near plane."""
    ball, box = sphere(1, dtype), from_trimesh(trimesh.creation.box(), dtype)
    two = pack_meshes([Mesh(ball.vertices * 0.6, ball.faces), box])
    behind = Mesh(box.vertices - torch.tensor([0.0, 0.0, 6.0], dtype=dtype), box.faces)
    ground = torch.tensor([[-9, 1, -7], [9, 1.1, -6], [0.3, 0.9, 40], [4, 1, 30.0]], dtype=dtype)
    across = Mesh(ground, torch.tensor([[0, 1, 2], [1, 3, 2], [0, 0, 1]]))
    nothing = Mesh(ball.vertices[:4], torch.zeros(0, 3, dtype=torch.int64))
    packed = pack_meshes([Mesh(two.vertices, two.faces), nothing, behind, across])
    vertices = packed.vertices.to(TRITON_DEVICE).requires_grad_()
    batch = MeshBatch(
        vertices, packed.faces.to(TRITON_DEVICE), packed.vertex_offsets, packed.face_offsets
    )
    base = pinhole((24, 32), focal=34.0, centre=(15.3, 12.9), dtype=dtype).to(str(TRITON_DEVICE))
    intrinsics = base.intrinsics.clone().requires_grad_()
    shift = torch.tensor([0.02, -0.03, 2.0], dtype=dtype, device=TRITON_DEVICE).requires_grad_()
    camera = Camera(intrinsics, base.rotation, shift, base.size)
    return batch, camera, [vertices, intrinsics, shift]


def random(shape: torch.Size, seed: int, dtype: torch.dtype) -> Tensor:
    return weights(shape, seed, dtype).to(TRITON_DEVICE)


def close(got: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    got, wanted = got.detach(), wanted.detach()
    scale = float(wanted.abs().max())
    assert scale > 0
    assert got.dtype == wanted.dtype
    assert float((got - wanted).abs().max()) <= TOLERANCE[dtype] * scale


@pytest.mark.parametrize(("layers", "cull"), [(1, False), (3, False), (2, True)])
def test_fragments(dtype: torch.dtype, layers: int, cull: bool) -> None:
    results = []
    for backend in PAIR:
        batch, camera, leaves = ragged(dtype)
        found = rasterize(batch, camera, layers=layers, cull_backfaces=cull, backend=backend)
        loss = (found.bary * random(found.bary.shape, 0, dtype)).sum()
        loss = loss + (found.depth * random(found.depth.shape, 1, dtype)).sum()
        results.append((found, torch.autograd.grad(loss, leaves)))
    (mine, my_grads), (twin, its_grads) = results
    # Both decide coverage by the same float64 edge functions: not one pixel may differ.
    assert int((mine.face != twin.face).sum()) == 0
    hits = (twin.face >= 0).sum((1, 2, 3)).tolist()
    assert hits[0] > 100
    assert hits[1:3] == [0, 0]
    assert hits[3] > 50
    for name in ("bary", "depth"):
        close(getattr(mine, name), getattr(twin, name), dtype)
    for got, wanted in zip(my_grads, its_grads, strict=True):
        close(got, wanted, dtype)


@pytest.mark.parametrize(("corners", "channels"), [(False, 2), (True, 18)])
def test_interpolate(dtype: torch.dtype, corners: bool, channels: int) -> None:
    results = []
    for backend in PAIR:
        batch, camera, leaves = ragged(dtype)
        rows = (len(batch.faces), 3, channels) if corners else (len(batch.vertices), channels)
        attributes = random(torch.Size(rows), 2, dtype).requires_grad_()
        found = rasterize(batch, camera, layers=2, backend=backend)
        image = interpolate(attributes, found, layer=1, backend=backend)
        loss = (image * random(image.shape, 3, dtype)).sum()
        results.append((image, *torch.autograd.grad(loss, [attributes, *leaves])))
    for got, wanted in zip(*results, strict=True):
        close(got, wanted, dtype)


@pytest.mark.parametrize("channels", [1, 9])
def test_antialias(dtype: torch.dtype, channels: int) -> None:
    results = []
    for backend in PAIR:
        batch, camera, leaves = ragged(dtype)
        found = rasterize(batch, camera, layers=2, backend=backend)
        image = random(torch.Size((4, 24, 32, channels)), 4, dtype).requires_grad_()
        smooth = antialias(image, found, batch, camera, backend=backend)
        loss = (smooth * random(smooth.shape, 5, dtype)).sum()
        results.append((smooth, *torch.autograd.grad(loss, [image, *leaves])))
        assert int((smooth != image).any(-1).sum()) > 30
    for got, wanted in zip(*results, strict=True):
        close(got, wanted, dtype)


@pytest.mark.parametrize("limit", [None, 3])
def test_soft_silhouette(dtype: torch.dtype, limit: int | None) -> None:
    results = []
    for backend in PAIR:
        batch, camera, leaves = ragged(dtype)
        alpha = soft_silhouette(
            batch, camera.resize((15, 20)), sigma=2e-3, faces_per_pixel=limit, backend=backend
        )
        loss = (alpha * random(alpha.shape, 6, dtype)).sum()
        results.append((alpha, *torch.autograd.grad(loss, leaves)))
    assert int(((results[0][0] > 0.01) & (results[0][0] < 0.99)).sum()) > 50
    for got, wanted in zip(*results, strict=True):
        close(got, wanted, dtype)


def test_slivers_and_shared_edges(dtype: torch.dtype) -> None:
    """Edges through pixel centres, at all slopes: float32 must hand every doubt to float64."""
    steps = [0.5 + 4 * i for i in range(5)]
    points = [(x + (y - 8.5) * 0.25, y) for y in steps for x in steps]
    faces = []
    for j in range(4):
        for i in range(4):
            a = 5 * j + i
            faces += [(a, a + 1, a + 6), (a, a + 6, a + 5)]
    mesh = flat_mesh(points, faces).to(dtype).to(str(TRITON_DEVICE))
    camera = flat_camera((18, 20)).to(dtype).to(str(TRITON_DEVICE))
    mine, twin = (rasterize(mesh, camera, layers=2, backend=backend).face for backend in PAIR)
    assert torch.equal(mine, twin)
    assert int((mine[..., 0] >= 0).sum()) > 200
    assert bool((mine[..., 1] < 0).all())


@settings(max_examples=6, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(seed=st.integers(0, 2**31))
def test_random_faces_with_corners_on_pixel_centres(dtype: torch.dtype, seed: int) -> None:
    """Every edge passes through pixel centres, some far beyond the image; numbers are exact."""
    generator = torch.Generator().manual_seed(seed)
    places = torch.randint(-40, 70, (30, 3, 2), generator=generator).to(dtype) + 0.5
    places[:20] = torch.randint(0, 18, (20, 3, 2), generator=generator).to(dtype) + 0.5
    depth = 1.0 + torch.randperm(30, generator=generator).to(dtype)[:, None, None] / 32
    corners = torch.cat([places * depth, depth.expand(-1, 3, 1)], -1).reshape(-1, 3)
    mesh = Mesh(corners, torch.arange(90).reshape(30, 3)).to(str(TRITON_DEVICE))
    camera = flat_camera((18, 17)).to(dtype).to(str(TRITON_DEVICE))
    mine, twin = (rasterize(mesh, camera, layers=4, backend=backend).face for backend in PAIR)
    assert torch.equal(mine, twin)
    assert int((mine[..., 1] >= 0).sum()) > 20


def test_slivers_end_where_their_corners_do(dtype: torch.dtype) -> None:
    """Corners on one line but for rounding: edge functions are noise, also far from the sliver."""
    places = torch.tensor([[1.5, 12.5], [1.5, 1.5], [1.5, 3.5]], dtype=dtype)
    depth = torch.linspace(1.1, 1.9, 30, dtype=dtype).reshape(10, 3, 1)
    corners = torch.cat([places * depth, depth], -1).reshape(-1, 3)
    mesh = Mesh(corners, torch.arange(30).reshape(10, 3)).to(str(TRITON_DEVICE))
    camera = flat_camera((18, 17)).to(dtype).to(str(TRITON_DEVICE))
    face = rasterize(mesh, camera, backend="triton").face[..., 0]
    assert bool((face[:, 3:] == -1).all())
    assert bool((face[14:] == -1).all())
    assert bool((face[0] == -1).all())
