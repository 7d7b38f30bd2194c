"""Fragments, soft silhouettes and gradients against stored outputs of PyTorch3D."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from raster_scenes import EACH_BACKEND

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import rasterize, soft_silhouette

pytestmark = EACH_BACKEND


def load(shared: Path, name: str) -> tuple[dict[str, torch.Tensor], Mesh, Camera]:
    path = shared / "reference" / "pytorch3d" / f"{name}.npz"
    if not path.is_file():
        pytest.skip(f"{path.name} is not among the reference material")
    with np.load(path, allow_pickle=False) as archive:
        data = {k: torch.as_tensor(archive[k]) for k in archive.files}
    mesh = Mesh(data["vertices"], data["faces"].long())
    size = tuple(int(n) for n in data["size_hw"])
    camera = Camera.from_intrinsics(
        data["K"], size, pixel_centres="half", rotation=data["R"], translation=data["t"]
    )
    return data, mesh, camera


@pytest.mark.parametrize("name", ["sphere_hard", "torus_hard_wide"])
def test_fragments(shared: Path, backend: str, name: str) -> None:
    data, mesh, camera = load(shared, name)
    wanted = data["pix_to_face"].long()
    layers = wanted.shape[-1]
    found = rasterize(mesh, camera, layers=layers, with_distance=True, backend=backend)
    assert found.distance is not None
    same = (found.face == wanted).all(-1)
    # Edge pixels: where a centre lies within 1e-3 pixels of an edge, rounding may choose.
    assert int((~same).sum()) <= 0.002 * same.numel()
    hit = same[..., None] & (wanted >= 0)
    assert int(hit.sum()) > 900
    torch.testing.assert_close(found.depth[hit], data["zbuf"][hit], rtol=1e-3, atol=0)
    torch.testing.assert_close(found.bary[hit], data["bary"][hit], rtol=1e-3, atol=1e-3)
    # Theirs is squared, signed, in units of half the shorter side; ours in pixels.
    pixels = data["dists"][hit].abs().sqrt() * min(camera.size) / 2
    torch.testing.assert_close(-found.distance[hit], pixels, rtol=1e-3, atol=1e-3)
    assert bool((data["dists"][hit] <= 0).all())


@pytest.mark.parametrize("name", ["sphere_soft", "torus_soft_wide"])
def test_soft_silhouettes(shared: Path, backend: str, name: str) -> None:
    data, mesh, camera = load(shared, name)
    vertices = mesh.vertices.clone().requires_grad_()
    alpha = soft_silhouette(
        Mesh(vertices, mesh.faces),
        camera,
        sigma=float(data["sigma"]),
        blur_radius=float(data["blur_radius_ndc"]),
        faces_per_pixel=data["pix_to_face"].shape[-1],
        backend=backend,
    )
    torch.testing.assert_close(alpha, data["silhouette"], rtol=1e-3, atol=1e-4)
    loss = (alpha - data["target"]).square().sum()
    assert loss.item() == pytest.approx(float(data["loss"]), rel=1e-3)
    (grad,) = torch.autograd.grad(loss, vertices)
    wanted = data["grad_vertices"]
    assert float((grad - wanted).abs().max()) < 1e-3 * float(wanted.abs().max())
