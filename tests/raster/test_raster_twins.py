"""The native kernels against their plain-torch twins, value and gradient."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

import pytest
import torch
from raster_scenes import NEEDS_NATIVE, pinhole, sphere, torus, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, pack_meshes
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette

pytestmark = [
    NEEDS_NATIVE,
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


def test_the_way_past_the_barycentrics_is_the_same_gradient(dtype: torch.dtype) -> None:
    """Fragments as they come, and with barycentrics that somebody watches: two kernels."""
    results = []
    for watched in (False, True):
        mesh, camera, leaves = scene(dtype)
        for channels in (1, 3, 6):
            values = weights(torch.Size((len(mesh.vertices), channels)), 2, dtype).requires_grad_()
            found = rasterize(mesh, camera, layers=2, backend="native")
            if watched:
                found.bary.retain_grad()
            image = interpolate(values, found, layer=1, backend="native")
            assert ("through" in type(image.grad_fn).__name__) != watched
            loss = (image * weights(image.shape, 3, dtype)).sum()
            results.append(torch.autograd.grad(loss, [values, *leaves]))
    for direct, through_bary in zip(results[:3], results[3:], strict=True):
        for got, wanted in zip(direct, through_bary, strict=True):
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


def operator_arguments(dtype: torch.dtype) -> dict[str, tuple[object, ...]]:
    """Small arguments of every registered operator that has a gradient."""
    from diffrender.raster._packed import pack
    from diffrender.raster._topology import topology

    mesh, camera, _ = scene(dtype)
    camera = camera.resize((9, 8))
    packed = pack(mesh, camera)
    h = packed.homogeneous.detach().clone().requires_grad_()
    offsets = (packed.vertex_offsets, packed.face_offsets)
    found = rasterize(mesh, camera)
    face, bary = found.face[None], found.bary.detach()[None].clone().requires_grad_()
    values = weights(torch.Size((len(h), 2)), 8, dtype).requires_grad_()
    table = topology(packed.faces, *offsets)
    edges = (
        table.index,
        table.edge_offsets,
        table.edges,
        table.opposite_offsets,
        table.opposite,
    )
    image = weights(torch.Size((1, 9, 8, 2)), 9, dtype).requires_grad_()
    depth = found.depth.detach()[None]
    return {
        "rasterize": (h, packed.faces, *offsets, [1, 9, 8, 2], False),
        "interpolate": (values, bary, packed.faces, offsets[1], face, 0, False),
        "interpolate_through": (
            values,
            h,
            bary.detach(),
            packed.faces,
            offsets[1],
            face,
            0,
            False,
        ),
        "antialias": (image, h, face, depth, offsets[0], *edges, True),
        "soft_silhouette": (h, packed.faces, *offsets, 9, 8, 0, 1e-3, 1e-2),
    }


OPERATORS = ["rasterize", "interpolate", "interpolate_through", "antialias", "soft_silhouette"]


def load(name: str) -> Callable[..., Any]:
    """The eager function; importing its module registers the operator."""
    room = {"soft_silhouette": "_soft_ops", "interpolate_through": "_through_ops"}.get(
        name, f"_{name}_ops"
    )
    return getattr(importlib.import_module(f"diffrender.raster.{room}"), name)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_are_sound(dtype: torch.dtype, name: str) -> None:
    """Schemas, fake versions and autograd registration, as torch's own checker sees them."""
    arguments = operator_arguments(dtype)[name]
    # Left out: its check of compiled gradients, which adds up int64 outputs into a float.
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    load(name)
    operator = getattr(torch.ops.diffrender, name).default
    torch.library.opcheck(operator, arguments, test_utils=checks)


@pytest.mark.parametrize("name", OPERATORS)
def test_operators_agree_with_eager_mode(dtype: torch.dtype, name: str) -> None:
    """In eager mode the kernels run without the dispatcher: same values, same gradients."""
    arguments = operator_arguments(dtype)[name]
    eager = load(name)
    leaves = [a for a in arguments if isinstance(a, Tensor) and a.requires_grad]
    results = []
    for run in (eager, getattr(torch.ops.diffrender, name)):
        out = run(*arguments)
        outputs = [out] if isinstance(out, Tensor) else list(out)
        smooth = [o for o in outputs if o.requires_grad]
        assert smooth
        total = torch.stack([(o * weights(o.shape, 3, dtype)).sum() for o in smooth]).sum()
        results.append([*outputs, *torch.autograd.grad(total, leaves)])
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)


def test_operators_can_be_compiled(dtype: torch.dtype) -> None:
    """The public functions, traced whole: geometry in, loss out."""
    mesh, camera, leaves = scene(dtype)
    fixed = [camera.intrinsics, camera.rotation, camera.translation]
    camera = Camera(*(t.detach() for t in fixed), camera.size).resize((20, 24))
    colours = weights(torch.Size((len(mesh.vertices), 2)), 8, dtype)

    def loss(vertices: Tensor) -> Tensor:
        moved = (vertices, mesh.faces)
        found = rasterize(moved, camera)
        image = interpolate(colours, found) * found.depth
        return antialias(image, found, moved, camera).square().sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    (got,) = torch.autograd.grad(compiled(leaves[0]), leaves[0])
    (wanted,) = torch.autograd.grad(loss(leaves[0]), leaves[0])
    close(got, wanted, dtype)
