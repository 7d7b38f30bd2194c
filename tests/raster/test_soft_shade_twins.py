"""Soft shading's back-ends against each other: values, gradients, threads, the operator."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import (
    FACES,
    NEEDS_NATIVE,
    VERTICES,
    pinhole,
    sphere,
    torus,
    weights,
)

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, pack_meshes
from diffrender.raster import SoftShading, soft_shade

SOFT = SoftShading(sigma=0.02, gamma=0.05, near=1.0, far=4.0)


@NEEDS_NATIVE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("limit", [None, 3])
@pytest.mark.parametrize("corners", [False, True])
def test_twins(dtype: torch.dtype, limit: int | None, corners: bool) -> None:
    packed = pack_meshes([torus(dtype), sphere(1, dtype)])
    base = pinhole((21, 26), focal=40.0, translation=(0.02, -0.03, 3.0), dtype=dtype)
    settings = SoftShading(sigma=1e-3, gamma=0.01, near=1, far=8, faces_per_pixel=limit)
    results = {}
    for backend in ("native", "torch"):
        rows = (len(packed.faces), 3, 4) if corners else (len(packed.vertices), 4)
        values = weights(torch.Size(rows), 2, dtype).requires_grad_()
        vertices = packed.vertices.clone().requires_grad_()
        intrinsics = base.intrinsics.clone().requires_grad_()
        camera = Camera(intrinsics, base.rotation, base.translation, base.size)
        batch = type(packed)(vertices, packed.faces, packed.vertex_offsets, packed.face_offsets)
        background = weights(torch.Size((4,)), 3, dtype).requires_grad_()
        image = soft_shade(
            values, batch, camera, settings=settings, background=background, backend=backend
        )
        assert image.shape == (2, 21, 26, 4)
        loss = (image * weights(image.shape, 6, dtype)).sum()
        leaves = [values, vertices, intrinsics, background]
        results[backend] = [image, *torch.autograd.grad(loss, leaves)]
    tolerance = 1e-5 if dtype == torch.float32 else 1e-10
    for got, wanted in zip(results["native"], results["torch"], strict=True):
        scale = float(wanted.detach().abs().max())
        assert scale > 0
        assert float((got - wanted).detach().abs().max()) <= tolerance * scale


@NEEDS_NATIVE
@pytest.mark.parametrize("limit", [None, 2])
def test_bits_do_not_depend_on_threads(limit: int | None) -> None:
    mesh = torus(torch.float32)
    camera = pinhole((40, 44), focal=60.0, translation=(0, 0, 3.0), dtype=torch.float32)
    settings = SoftShading(sigma=1e-3, gamma=0.01, faces_per_pixel=limit)
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            vertices = mesh.vertices.clone().requires_grad_()
            image = soft_shade(mesh.vertices, Mesh(vertices, mesh.faces), camera, settings=settings)
            results.append([image, *torch.autograd.grad(image.square().sum(), vertices)])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))


@NEEDS_NATIVE
def test_operator_is_sound() -> None:
    from diffrender.raster._packed import pack
    from diffrender.raster._shade_ops import ops

    packed = pack(Mesh(VERTICES, FACES), pinhole((5, 6), focal=6.0))
    arguments = (
        packed.homogeneous.detach().requires_grad_(),
        weights(torch.Size((4, 2))).requires_grad_(),
        packed.faces,
        packed.vertex_offsets,
        packed.face_offsets,
        5,
        6,
        2,
        SOFT.numbers(),
        False,
    )
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.soft_shade.default, arguments, test_utils=checks)
