"""Techniques that draw voxel grids: closed forms, equivalences, ray consistency as a loss."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Rendering, Scene
from diffrender.catalogue.voxels._consistency import consistency, expected_cost
from diffrender.catalogue.voxels._grid import VoxelGrid
from diffrender.catalogue.voxels._rays import RaySamples, box_depths, pixel_rays, stop_chances
from diffrender.catalogue.voxels.absorption_only import AbsorptionOnly
from diffrender.catalogue.voxels.emission_absorption import EmissionAbsorption
from diffrender.catalogue.voxels.multi_view_consistency import MultiViewConsistency
from diffrender.catalogue.voxels.perspective_transformer import PerspectiveTransformer
from diffrender.catalogue.voxels.ray_consistency import RayConsistency, cross_voxels
from diffrender.catalogue.voxels.visual_hull import VisualHull
from diffrender.errors import InputError

SIZE = (6, 8)


def view(dtype: torch.dtype = torch.float32) -> Camera:
    """At the origin, looking along z: every ray of the picture meets the block."""
    k = torch.tensor([[12.0, 0, 4], [0, 12.0, 3], [0, 0, 1]], dtype=dtype)
    return Camera(k, torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), SIZE)


def scene_of(grid: VoxelGrid) -> Scene:
    like = grid.low
    light = Light(like.new_ones(3), like.new_ones(3), like.new_ones(3))
    return Scene(grid, light, like.new_tensor([0.1, 0.2, 0.3]))


def block(occupancy: float = 1.0, dtype: torch.dtype = torch.float32) -> Scene:
    """Full from z = 2 to 4, x and y from -2 to 2, orange."""
    orange = torch.tensor([0.9, 0.5, 0.1], dtype=dtype).expand(4, 8, 8, 3)
    full = torch.full((4, 8, 8), occupancy, dtype=dtype)
    return scene_of(VoxelGrid(torch.tensor([-2.0, -2, 2], dtype=dtype), 0.5, full, orange))


def cloud(dtype: torch.dtype = torch.float64) -> Scene:
    """Random occupancy and colours around (0, 0, 3)."""
    generator = torch.Generator().manual_seed(5)
    filled = 0.8 * torch.rand(4, 5, 6, generator=generator, dtype=dtype) + 0.1
    colours = torch.rand(4, 5, 6, 3, generator=generator, dtype=dtype)
    return scene_of(VoxelGrid(torch.tensor([-0.9, -0.8, 2.4], dtype=dtype), 0.3, filled, colours))


def path_lengths() -> Tensor:
    """(H, W) metres of the block on each ray: from z = 2 to 4, slanted."""
    y, x = torch.meshgrid(torch.arange(6) - 2.5, torch.arange(8) - 3.5, indexing="ij")
    return 2 * torch.sqrt(1 + (x / 12) ** 2 + (y / 12) ** 2)


def test_homogeneous_fog_absorbs_by_length() -> None:
    drawn = EmissionAbsorption(extinction=0.4, samples=32).render(block(), view())
    expected = 1 - torch.exp(-0.4 * path_lengths())
    torch.testing.assert_close(drawn.silhouette, expected)
    orange, behind = torch.tensor([0.9, 0.5, 0.1]), torch.tensor([0.1, 0.2, 0.3])
    mixed = expected[..., None] * orange + (1 - expected)[..., None] * behind
    torch.testing.assert_close(drawn.image, mixed)


def test_depth_of_fog_is_the_mean_free_path() -> None:
    """The mean of an exponential, where hardly any light is left at the back."""
    drawn = EmissionAbsorption(extinction=8.0, samples=400).render(block(), view())
    slant = path_lengths() / 2
    torch.testing.assert_close(drawn.depth, 2 + 1 / (8 * slant), atol=2e-4, rtol=0)


def test_absorption_does_not_depend_on_order() -> None:
    scene = cloud(torch.float32)
    both = [
        technique(extinction=2.0, samples=40).render(scene, view())
        for technique in (AbsorptionOnly, EmissionAbsorption)
    ]
    torch.testing.assert_close(both[0].silhouette, both[1].silhouette)
    assert not torch.allclose(both[0].image, both[1].image, atol=1e-2)


def test_visual_hull_squashes_the_sum() -> None:
    drawn = VisualHull(sharpness=0.1, samples=20).render(block(0.5), view())
    torch.testing.assert_close(drawn.silhouette, torch.full(SIZE, 1 - math.exp(-0.1 * 10)))


def test_perspective_transformer_takes_the_maximum() -> None:
    scene = block(0.3)
    grid = scene.content
    assert isinstance(grid, VoxelGrid)
    marked = grid.occupancy.clone()
    marked[2] = 0.8  # one layer, seen by every ray at its middle
    drawn = PerspectiveTransformer(planes=400).render(scene.replaced("density", marked), view())
    # The nearest plane is within half of 2 m / 400, where the tent of height 0.5 falls by 1 per m.
    torch.testing.assert_close(drawn.silhouette, torch.full(SIZE, 0.8), atol=2.6e-3, rtol=0)


def test_crossed_voxels_fill_the_ray() -> None:
    grid = cloud(torch.float32).content
    assert isinstance(grid, VoxelGrid)
    turned = dataclasses.replace(view(), translation=torch.tensor([0.1, -0.2, 0.3]))
    met = cross_voxels(grid, turned)
    centre, direction = pixel_rays(turned)
    near, far = box_depths(grid, centre, direction)
    torch.testing.assert_close(met.step.sum(1), (far - near) * direction.norm(dim=-1))
    assert (met.depth.diff(dim=1) >= 0).all()
    # Read voxel by voxel with a fine march, the same events in the same order.
    ray = int((far - near).argmax())
    events = met.occupancy[ray][met.occupancy[ray] > 0]
    fine = near[ray] + (far - near)[ray] * (torch.arange(20000) + 0.5) / 20000
    index = ((centre + fine[:, None] * direction[ray] - grid.low) / grid.edge).floor().long()
    x, y, z = index.unbind(-1)
    marched = grid.occupancy[z, y, x].unique_consecutive()
    torch.testing.assert_close(events, marched)


def test_ray_consistency_has_the_published_derivative() -> None:
    generator = torch.Generator().manual_seed(1)
    empty = torch.rand(7, generator=generator, dtype=torch.float64, requires_grad=True)
    costs = torch.rand(8, generator=generator, dtype=torch.float64)
    loss = expected_cost(stop_chances(1 - empty), costs)
    (gradient,) = torch.autograd.grad(loss, empty)
    with torch.no_grad():
        passed = empty.cumprod(0)
        steps = costs[1:] - costs[:-1]
        tail = (steps * passed).flip(0).cumsum(0).flip(0)
        torch.testing.assert_close(gradient, tail / empty)
        torch.testing.assert_close(loss, costs[0] + (steps * passed).sum())


def test_consistent_observations_cost_nothing() -> None:
    scene = block(1.0)
    technique = RayConsistency()
    drawn = technique.render(scene, view())
    torch.testing.assert_close(drawn.silhouette, torch.ones(SIZE))
    assert technique.loss(scene, view(), drawn) == 0
    nothing = Rendering(drawn.image, torch.zeros(SIZE), torch.zeros(SIZE))
    assert technique.loss(scene, view(), nothing) == 1
    farther = Rendering(drawn.image, drawn.silhouette, drawn.depth + 0.25)
    assert technique.loss(scene, view(), farther) == pytest.approx(0.25)


def test_consistency_moves_a_camera_back() -> None:
    """The multi-view loss is least at the true place, and its gradient points there."""
    scene = cloud(torch.float32)
    technique = MultiViewConsistency(samples=32)
    seen = technique.render(scene, view())
    hard = Rendering(seen.image, (seen.silhouette > 0.5).float(), seen.depth * 0)

    def at(offset: Tensor) -> Camera:
        return dataclasses.replace(view(), translation=torch.cat([offset, torch.zeros(2)]))

    losses = []
    for start in (-0.2, 0.2):
        offset = torch.tensor([start], requires_grad=True)
        loss = technique.loss(scene, [(at(offset), hard)])
        (gradient,) = torch.autograd.grad(loss, offset)
        assert gradient.item() * start > 0
        losses.append(loss.item())
    assert technique.loss(scene, [(view(), hard)]).item() < min(losses)


@pytest.mark.parametrize(
    "technique",
    [
        EmissionAbsorption(extinction=3.0, samples=12),
        AbsorptionOnly(extinction=1.0, samples=12),
        VisualHull(samples=12),
        MultiViewConsistency(samples=12),
    ],
    ids=lambda technique: technique.card.name,
)
def test_gradients_to_grid_and_camera(technique) -> None:  # type: ignore[no-untyped-def]
    scene = cloud()
    grid = scene.content
    assert isinstance(grid, VoxelGrid)
    small = dataclasses.replace(view(torch.float64).resize((2, 3)))
    offset = torch.tensor([0.07, -0.03, 0.02], dtype=torch.float64)

    def draw(occupancy: Tensor, colours: Tensor, translation: Tensor, focal: Tensor) -> Tensor:
        at = dataclasses.replace(
            small,
            translation=translation,
            intrinsics=small.intrinsics * torch.stack([focal, focal, torch.ones_like(focal)]),
        )
        there = VoxelGrid(grid.low, grid.edge, occupancy, colours)
        drawn = technique.render(dataclasses.replace(scene, content=there), at)
        return torch.cat([drawn.image.reshape(-1), drawn.silhouette.reshape(-1)])

    focal = torch.ones((), dtype=torch.float64)
    inputs = [t.clone().requires_grad_() for t in (grid.occupancy, grid.colours, offset, focal)]
    assert torch.autograd.gradcheck(draw, inputs, atol=1e-5, fast_mode=True)


def test_ray_consistency_gradients_to_the_grid() -> None:
    scene = cloud()
    grid = scene.content
    assert isinstance(grid, VoxelGrid)

    def draw(occupancy: Tensor, colours: Tensor) -> Tensor:
        there = scene.replaced("density", occupancy).replaced("attributes", colours)
        drawn = RayConsistency().render(there, view(torch.float64).resize((2, 3)))
        return torch.cat([t.reshape(-1) for t in (drawn.image, drawn.silhouette, drawn.depth)])

    inputs = [t.clone().requires_grad_() for t in (grid.occupancy, grid.colours)]
    assert torch.autograd.gradcheck(draw, inputs, fast_mode=True)


def test_losses_check_their_inputs() -> None:
    samples = RaySamples(
        *(torch.zeros(4, 2), torch.zeros(4, 1), torch.zeros(4, 2)), torch.zeros(4, 2, 3)
    )
    seen = Rendering(torch.zeros(3, 3, 3), torch.zeros(3, 3), torch.zeros(3, 3))
    with pytest.raises(InputError, match="9 pixels, the camera 4"):
        consistency(samples, seen)
    with pytest.raises(InputError, match="at least one"):
        MultiViewConsistency().loss(block(), [])
