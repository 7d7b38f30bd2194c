"""Techniques of voxels and points on the standard scene, beside hard rasterization."""

from __future__ import annotations

import functools

import pytest
import torch

from diffrender.catalogue import Rendering, Scene, find_technique, standard_camera, standard_scene

SIZE = (36, 48)
# Bounds: an outline that is half a pixel to one pixel too wide all around, as blur and radii make
# it, costs 6 to 13 % of the area at this size. Where depth is a mean over blurred floor seen at a
# grazing angle it is off by what the blur spans there.
LEAST_OVERLAP = {
    "perspective-transformer": 0.88,
    "ray-consistency": 0.88,
    "multi-view-consistency": 0.88,
    "emission-absorption": 0.88,
    "visual-hull": 0.88,
    "absorption-only": 0.88,
    "differentiable-point-clouds": 0.82,
    "surface-splatting": 0.9,
    "soft-discs": 0.84,
    "pulsar-spheres": 0.88,
    "gaussian-splatting-3d": 0.85,
    "gaussian-splatting-2d": 0.85,
    "mip-splatting": 0.94,  # its filter does not widen
}
DEEPEST_ERROR = 0.35  # metres, the median; the scene is seven metres deep
SEES_THROUGH = {"absorption-only"}


@functools.cache
def scene() -> Scene:
    return standard_scene()


@functools.cache
def hard() -> Rendering:
    return find_technique("pixel-pair-antialiasing").render(scene(), standard_camera(SIZE))


VOXELS = {"perspective-transformer", "ray-consistency", "multi-view-consistency"} | {
    "emission-absorption", "visual-hull", "absorption-only",
}  # fmt: skip


@functools.cache
def prepared(name: str) -> Scene:
    """All of voxels draw the same grid, made once."""
    if name in VOXELS and name != "ray-consistency":
        return prepared("ray-consistency")
    return find_technique(name).prepare(scene())


@functools.cache
def drawn(name: str) -> Rendering:
    return find_technique(name).render(prepared(name), standard_camera(SIZE))


@pytest.mark.parametrize("name", LEAST_OVERLAP)
def test_covers_what_rasterization_covers(name: str) -> None:
    seen, known = drawn(name).silhouette, hard().silhouette
    assert seen.shape == SIZE
    assert ((seen >= -1e-5) & (seen <= 1 + 1e-5)).all()
    # Half of what it absorbs at most is what a see-through picture is cut at.
    level = 0.5 * seen.max() if name in SEES_THROUGH else 0.5
    a, b = seen > level, known > 0.5
    assert (a & b).sum() / (a | b).sum() > LEAST_OVERLAP[name]


@pytest.mark.parametrize("name", sorted(set(LEAST_OVERLAP) - SEES_THROUGH))
def test_looks_like_rasterization(name: str) -> None:
    seen, known = drawn(name), hard()
    both = (seen.silhouette > 0.9) & (known.silhouette > 0.99)
    assert (seen.depth - known.depth)[both].abs().median() < DEEPEST_ERROR
    assert seen.depth[seen.silhouette == 0].eq(0).all()
    assert seen.image.isfinite().all()
    # Blurred by eight pixels the pictures agree: no colours are swapped, no part is missing.
    coarse = [torch.nn.functional.avg_pool2d(r.image.movedim(-1, 0), 12) for r in (seen, known)]
    assert (coarse[0] - coarse[1]).abs().max() < 0.15


@pytest.mark.parametrize("name", LEAST_OVERLAP)
def test_a_render_is_a_pure_function(name: str) -> None:
    again = find_technique(name).render(prepared(name), standard_camera(SIZE))
    assert torch.equal(again.image, drawn(name).image)


@pytest.mark.parametrize("name", ["ray-consistency", "soft-discs", "gaussian-splatting-2d"])
def test_a_scene_is_prepared_where_it_is_not_yet(name: str) -> None:
    again = find_technique(name).render(scene(), standard_camera(SIZE))
    assert torch.equal(again.image, drawn(name).image)


@pytest.mark.parametrize("name", LEAST_OVERLAP)
def test_empty_views_show_the_background(name: str) -> None:
    ahead = standard_camera(SIZE)
    turned = ahead.rotation * torch.tensor([[-1.0], [1.0], [-1.0]])
    back = type(ahead)(ahead.intrinsics, turned, -turned @ ahead.centre, SIZE)
    empty = find_technique(name).render(prepared(name), back)
    torch.testing.assert_close(empty.image, scene().background.expand(*SIZE, 3))
    assert empty.silhouette.eq(0).all()
    assert empty.depth.eq(0).all()
