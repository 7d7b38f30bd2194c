"""The same bits twice, and for any number of threads."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest
import torch
from raster_scenes import NEEDS_NATIVE, pinhole, sphere, torus
from torch import Tensor

from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch, pack_meshes
from diffrender.raster import (
    antialias,
    interpolate,
    rasterize,
    rasterize_points,
    render_attributes,
    render_silhouette_depth,
    sample_texture,
    soft_shade,
    soft_silhouette,
)
from diffrender.raster.backends import check_deterministic

pytestmark = NEEDS_NATIVE


@pytest.fixture(autouse=True)
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def everything(meshes: Mesh | MeshBatch, leaf: Tensor) -> list[Tensor]:
    camera = pinhole((96, 80), focal=110.0, translation=(0.01, 0.02, 3.0), dtype=torch.float32)
    found = rasterize(meshes, camera, layers=2, backend="native")
    image = torch.cat([found.mask()[..., None], interpolate(leaf.reshape(-1, 3), found)], -1)
    smooth = antialias(image, found, meshes, camera)
    soft = [soft_silhouette(meshes, camera, faces_per_pixel=k) for k in (None, 3)]
    loss = smooth.square().sum() + found.depth.square().sum()
    loss = loss + sum(s.square().sum() for s in soft)
    return [found.face, found.bary, found.depth, smooth, *soft, *torch.autograd.grad(loss, leaf)]


@pytest.mark.parametrize("batch", [False, True])
def test_bits_do_not_depend_on_run_or_threads(batch: bool) -> None:
    if batch:
        packed = pack_meshes([torus(torch.float32), sphere(2, torch.float32)] * 4)
        leaf = packed.vertices.clone().requires_grad_()
        meshes: Mesh | MeshBatch = MeshBatch(
            leaf, packed.faces, packed.vertex_offsets, packed.face_offsets
        )
    else:
        mesh = sphere(3, torch.float32)
        leaf = mesh.vertices.clone().requires_grad_()
        meshes = Mesh(leaf, mesh.faces)
    results = []
    for count in (1, 1, 2, 3):
        torch.set_num_threads(count)
        results.append(everything(meshes, leaf))
    for other in results[1:]:
        for one, two in zip(results[0], other, strict=True):
            assert torch.equal(one, two)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_can_render() -> None:
    """Only the kernel: torch's own products may hang in a child of a process with threads."""
    from diffrender.raster._packed import pack
    from diffrender.raster._rasterize_ops import rasterize as run

    torch.set_num_threads(2)
    camera = pinhole((64, 64), translation=(0.0, 0.0, 3.0), dtype=torch.float32)
    packed = pack(sphere(3, torch.float32), camera)
    scene = (packed.homogeneous, packed.faces, packed.vertex_offsets, packed.face_offsets)
    before = run(*scene, [64, 64, 1], False)[0].numpy().tobytes()
    child = os.fork()
    if child == 0:  # no assertion may leave the child: it would run the rest of the tests
        signal.alarm(20)
        status = 1
        try:
            after = run(*scene, [64, 64, 1], False)[0].numpy().tobytes()
            status = 0 if after == before else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def asked_for(leaf: Tensor, faces: Tensor, backend: str) -> list[Tensor]:
    """Every operation with `deterministic=True`, and the gradient of all of them."""
    mesh = Mesh(leaf, faces)
    camera = pinhole((40, 36), focal=50.0, translation=(0.01, 0.02, 3.0), dtype=leaf.dtype)
    found = rasterize(mesh, camera, backend=backend, deterministic=True)
    seen = interpolate(leaf, found, backend=backend, deterministic=True)
    texture = leaf[:16].reshape(4, 4, 3).sigmoid()
    pictures = [
        antialias(seen, found, mesh, camera, backend=backend, deterministic=True),
        sample_texture(texture, seen[..., :2].sigmoid(), backend=backend, deterministic=True),
        soft_silhouette(mesh, camera, backend=backend, deterministic=True),
        soft_shade(leaf, mesh, camera, backend=backend, deterministic=True),
        render_attributes(leaf, mesh, camera, backend=backend, deterministic=True),
        *render_silhouette_depth(mesh, camera, backend=backend, deterministic=True),
    ]
    points = rasterize_points(leaf, camera, radius=0.05, backend=backend, deterministic=True)
    pictures.append(points.depth)
    (slope,) = torch.autograd.grad(sum(p.square().sum() for p in pictures), leaf)  # type: ignore[union-attr]
    return [found.face, *pictures, slope]


@pytest.mark.parametrize("backend", ["native", "torch"])
def test_deterministic_gives_the_same_bits_twice(backend: str) -> None:
    mesh = sphere(1, torch.float32)
    leaf = mesh.vertices.clone().requires_grad_()
    first, second = (asked_for(leaf, mesh.faces, backend) for _ in range(2))
    for one, two in zip(first, second, strict=True):
        assert torch.equal(one, two)
    assert float(first[-1].abs().sum()) > 0


def test_deterministic_on_cuda_is_refused_unless_torch_is_told() -> None:
    with pytest.raises(InputError, match="use_deterministic_algorithms"):
        check_deterministic("triton", on_cuda=True)
    torch.use_deterministic_algorithms(True)
    try:
        check_deterministic("triton", on_cuda=True)
        check_deterministic("torch", on_cuda=True)
        with pytest.raises(InputError, match="pytorch3d"):
            check_deterministic("pytorch3d", on_cuda=True)
    finally:
        torch.use_deterministic_algorithms(False)
    check_deterministic("torch", on_cuda=False)
