"""The native kernels against their plain-torch twins, value and gradient."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import BACKENDS, pinhole, sphere, torus, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, pack_meshes
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette

pytestmark = [
    pytest.mark.skipif("native" not in BACKENDS, reason="the native kernels are not built"),
    pytest.mark.parametrize("dtype", [torch.float32, torch.float64]),
]
TOLERANCE = {torch.float32: 1e-5, torch.float64: 1e-11}


def scene(dtype: torch.dtype) -> tuple[Mesh, Camera, list[Tensor]]:
    """A torus inside a sphere's silhouette, with leaves to differentiate by."""
    packed = pack_meshes([torus(dtype), sphere(2, dtype)])
    spread = torch.tensor([0.5, 0.45, 0.4], dtype=dtype)
    scaled = packed.vertices * torch.where(packed.vertex_batch() == 1, 1.0, 1.1)[:, None].to(dtype)
    vertices = (scaled * spread).requires_grad_()
    base = pinhole((50, 61), focal=95.0, centre=(31.3, 23.9), dtype=dtype)
    intrinsics = base.intrinsics.clone().requires_grad_()
    translation = torch.tensor([0.02, -0.03, 2.0], dtype=dtype).requires_grad_()
    camera = Camera(intrinsics, base.rotation, translation, base.size)
    return Mesh(vertices, packed.faces), camera, [vertices, intrinsics, translation]


def close(got: Tensor, wanted: Tensor, dtype: torch.dtype) -> None:
    got, wanted = got.detach(), wanted.detach()
    scale = float(wanted.abs().max())
    assert scale > 0
    assert float((got - wanted).abs().max()) <= TOLERANCE[dtype] * scale


def test_fragments(dtype: torch.dtype) -> None:
    results = {}
    for backend in ("native", "torch"):
        mesh, camera, leaves = scene(dtype)
        found = rasterize(mesh, camera, layers=3, with_distance=True, backend=backend)
        assert found.distance is not None
        loss = (found.bary * weights(found.bary.shape, dtype=dtype)).sum()
        loss = loss + (found.depth * weights(found.depth.shape, 1, dtype)).sum()
        results[backend] = (found, torch.autograd.grad(loss, leaves))
    native, twin = results["native"], results["torch"]
    # Both compute coverage in float64 with the same edge functions: not one pixel may differ.
    assert int((native[0].face != twin[0].face).sum()) == 0
    assert int((native[0].face[..., 2] >= 0).sum()) > 300
    for name in ("bary", "depth", "distance"):
        close(getattr(native[0], name), getattr(twin[0], name), dtype)
    for got, wanted in zip(native[1], twin[1], strict=True):
        close(got, wanted, dtype)


@pytest.mark.parametrize("corners", [False, True])
def test_interpolate(dtype: torch.dtype, corners: bool) -> None:
    results = {}
    for backend in ("native", "torch"):
        mesh, camera, leaves = scene(dtype)
        rows = (len(mesh.faces), 3, 4) if corners else (len(mesh.vertices), 4)
        attributes = weights(torch.Size(rows), 2, dtype).requires_grad_()
        found = rasterize(mesh, camera, layers=2, backend=backend)
        image = interpolate(attributes, found, layer=1, backend=backend)
        loss = (image * weights(image.shape, 3, dtype)).sum()
        results[backend] = (image, torch.autograd.grad(loss, [attributes, *leaves]))
    close(results["native"][0], results["torch"][0], dtype)
    for got, wanted in zip(results["native"][1], results["torch"][1], strict=True):
        close(got, wanted, dtype)


def test_antialias(dtype: torch.dtype) -> None:
    results = {}
    for backend in ("native", "torch"):
        mesh, camera, leaves = scene(dtype)
        found = rasterize(mesh, camera, layers=2, backend=backend)
        image = torch.cat([found.mask()[..., None], weights((50, 61, 2), 4, dtype)], -1)
        image.requires_grad_()
        smooth = antialias(image, found, mesh, camera, backend=backend)
        loss = (smooth * weights(smooth.shape, 5, dtype)).sum()
        results[backend] = (smooth, torch.autograd.grad(loss, [image, *leaves]))
    assert int((results["native"][0] != image).any(-1).sum()) > 100
    close(results["native"][0], results["torch"][0], dtype)
    for got, wanted in zip(results["native"][1], results["torch"][1], strict=True):
        close(got, wanted, dtype)


@pytest.mark.parametrize("limit", [None, 4])
def test_soft_silhouette(dtype: torch.dtype, limit: int | None) -> None:
    results = {}
    for backend in ("native", "torch"):
        mesh, camera, leaves = scene(dtype)
        camera = camera.resize((25, 30))
        alpha = soft_silhouette(mesh, camera, faces_per_pixel=limit, backend=backend)
        loss = (alpha * weights(alpha.shape, 6, dtype)).sum()
        results[backend] = (alpha, torch.autograd.grad(loss, leaves))
    close(results["native"][0], results["torch"][0], dtype)
    for got, wanted in zip(results["native"][1], results["torch"][1], strict=True):
        close(got, wanted, dtype)


def test_operators_are_sound(dtype: torch.dtype) -> None:
    """Schemas, fake versions and autograd registration, as torch's own checker sees them."""
    from diffrender.raster._native_ops import ops
    from diffrender.raster._packed import pack

    mesh, camera, _ = scene(dtype)
    packed = pack(mesh, camera)
    arguments = (
        packed.homogeneous.detach()[:, :].requires_grad_(),
        packed.faces,
        packed.vertex_offsets,
        packed.face_offsets,
        8,
        9,
        2,
        False,
    )
    # Left out: its check of compiled gradients, which adds up int64 outputs into a float.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.rasterize.default, arguments, test_utils=checks)


def test_operators_can_be_compiled(dtype: torch.dtype) -> None:
    from diffrender.raster._native_ops import ops
    from diffrender.raster._packed import pack

    mesh, camera, _ = scene(dtype)
    packed = pack(mesh, camera)

    def depth_sum(h: Tensor) -> Tensor:
        _, bary, depth = ops.rasterize(
            h, packed.faces, packed.vertex_offsets, packed.face_offsets, 20, 24, 1, False
        )
        return (depth * bary[..., 0]).square().sum()

    h = packed.homogeneous.detach().requires_grad_()
    compiled = torch.compile(depth_sum, backend="aot_eager", fullgraph=True)
    (got,) = torch.autograd.grad(compiled(h), h)
    (wanted,) = torch.autograd.grad(depth_sum(h), h)
    assert torch.equal(got, wanted)
