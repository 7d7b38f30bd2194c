"""Free-form refinement: a sphere seen as an ellipsoid, and what smooth steps are for."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.losses import Evidence, laplacian_smoothness, mesh_edges
from diffrender.meshes import MeshBatch
from diffrender.raster import antialias, rasterize
from diffrender.reconstruct.freeform import LargeSteps, RefineSettings, refine_vertices

SIDE = 40
WINDOW = Camera.from_intrinsics(
    torch.tensor([[80.0, 0, 20], [0, 80, 20], [0, 0, 1]]), (SIDE, SIDE), pixel_centres="half"
).expand(1)


def sphere() -> tuple[torch.Tensor, torch.Tensor]:
    """An octahedron split three times, radius 0.6, four metres away."""
    x = torch.eye(3)
    points = [x[0], x[1], -x[0], -x[1], x[2], -x[2]]
    faces = [(0, 1, 4), (1, 2, 4), (2, 3, 4), (3, 0, 4), (1, 0, 5), (2, 1, 5), (3, 2, 5), (0, 3, 5)]
    for _ in range(3):
        middle: dict[tuple[int, int], int] = {}

        def between(a: int, b: int, middle: dict[tuple[int, int], int] = middle) -> int:
            key = (min(a, b), max(a, b))
            if key not in middle:
                middle[key] = len(points)
                points.append(torch.nn.functional.normalize(points[a] + points[b], dim=0))
            return middle[key]

        split = []
        for a, b, c in faces:
            d, e, f = between(a, b), between(b, c), between(c, a)
            split += [(a, d, f), (d, b, e), (f, e, c), (d, e, f)]
        faces = split
    return 0.6 * torch.stack(points) + torch.tensor([0.0, 0.0, 4.0]), torch.tensor(faces)


def evidence() -> Evidence:
    """The same sphere, half as wide again."""
    vertices, faces = sphere()
    wide = torch.cat([1.5 * vertices[:, :1], vertices[:, 1:]], dim=1)
    batch = MeshBatch.shared(wide[None], faces)
    fragments = rasterize(batch, WINDOW)
    mask = antialias(fragments.mask()[..., None], fragments, batch, WINDOW)[..., 0]
    one = torch.ones(1)
    return Evidence(
        mask=mask, care=torch.ones_like(mask), depth=fragments.depth[..., 0],
        depth_sigma=0.05 * one, depth_floor=0.05 * one, image=torch.zeros(1, SIDE, SIDE, 3),
        box=torch.zeros(1, 4), open_sides=torch.ones(1, 4, dtype=torch.bool),
        size_mean=torch.ones(1, 3), size_sigma=torch.ones(1, 3),
    )  # fmt: skip


def test_a_sphere_becomes_the_ellipsoid_that_was_seen() -> None:
    vertices, faces = sphere()
    loose = RefineSettings(iterations=60, laplacian=200.0, edge=1.0)
    refined = refine_vertices(vertices[None], faces, WINDOW, evidence(), loose)
    assert float(refined.after[0]) < 0.35 * float(refined.before[0])
    assert refined.history.shape == (61, 1)
    width = refined.vertices[0, :, 0].amax() - refined.vertices[0, :, 0].amin()
    assert 1.6 < float(width) < 2.0  # 1.2 before, 1.8 in truth
    height = refined.vertices[0, :, 1].amax() - refined.vertices[0, :, 1].amin()
    assert float(height) == pytest.approx(1.2, abs=0.1)


def test_large_steps_stay_smooth_where_single_vertices_crumple() -> None:
    vertices, faces = sphere()
    mesh = mesh_edges(faces, len(vertices))
    free = RefineSettings(iterations=25, laplacian=0.0, edge=0.0, normal=0.0)
    bent = {}
    for smoothing in (0.0, 20.0):
        settings = dataclasses.replace(free, smoothing=smoothing)
        refined = refine_vertices(vertices[None], faces, WINDOW, evidence(), settings)
        shift = refined.vertices[0] - vertices
        bent[smoothing] = float(laplacian_smoothness(shift, mesh) / (shift**2).sum(-1).mean())
    assert bent[20.0] < 0.1 * bent[0.0]


def test_steps_and_vertices_are_inverse_and_differentiable() -> None:
    vertices, faces = sphere()
    mesh = mesh_edges(faces, len(vertices))
    points = vertices.double()
    large = LargeSteps(mesh, 20.0, points)
    assert torch.allclose(large.to_vertices(large.to_steps(points)), points, atol=1e-9)
    corner = mesh_edges(torch.tensor([[0, 1, 2], [0, 2, 3]]), 4)
    small = LargeSteps(corner, 5.0, points)
    steps = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(small.to_vertices, steps)


def test_broken_inputs_are_refused() -> None:
    vertices, faces = sphere()
    with pytest.raises(InputError, match="about 1 objects, vertices about 2"):
        refine_vertices(vertices.expand(2, -1, -1), faces, WINDOW, evidence())
    with pytest.raises(InputError, match="iterations is 0, expected a whole number"):
        RefineSettings(iterations=0)
    with pytest.raises(InputError, match="iterations is 2.5, expected a whole number"):
        RefineSettings(iterations=2.5)  # type: ignore[arg-type]
    with pytest.raises(InputError, match="depth_scale is 0.0, expected a positive number"):
        RefineSettings(depth_scale=0.0)
    with pytest.raises(InputError, match="simplify it"):
        LargeSteps(mesh_edges(torch.tensor([[0, 1, 7000]]), 7001), 1.0, vertices)


@pytest.mark.parametrize(
    "name",
    ["step", "depth_scale", "smoothing", "silhouette", "depth", "laplacian", "edge", "normal"],
)
@pytest.mark.parametrize("value", [-1.0, math.nan, math.inf])
def test_settings_that_are_no_numbers_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=f"RefineSettings.{name} is "):
        RefineSettings(**{name: value})
