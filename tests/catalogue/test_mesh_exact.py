"""Edge sampling, shadows, overdraw and warped areas: closed forms and finite differences."""

from __future__ import annotations

import dataclasses

import exact_scenes as toy
import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import (
    Light,
    Rendering,
    Scene,
    Triangles,
    as_triangles,
    find_technique,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.evaluate import Subject, check_claims
from diffrender.catalogue.mesh._outlines import clip_to_image, facing_camera, find_outlines
from diffrender.catalogue.mesh._rays import RayCaster, intersect_planes
from diffrender.catalogue.mesh._view import View
from diffrender.catalogue.mesh.edge_overdraw import EdgeOverdraw
from diffrender.catalogue.mesh.edge_sampling import EdgeSampling
from diffrender.catalogue.mesh.edge_sampling_shadows import EdgeSamplingShadows
from diffrender.catalogue.mesh.warped_area import WarpedArea
from diffrender.errors import InputError
from diffrender.raster import rasterize

SIZE = (36, 48)
NAMES = ["edge-sampling", "edge-sampling-shadows", "edge-overdraw", "warped-area"]
# How much of a pixel each row of the square covers.
ROWS = torch.tensor([0.0] * 3 + [0.2] + [1.0] * 8 + [0.2] + [0.0] * 3, dtype=torch.float64)


@pytest.mark.parametrize("name", NAMES)
def test_the_standard_scene_is_drawn_where_the_hard_one_is(name: str) -> None:
    camera, scene = standard_camera(SIZE), standard_scene()
    mesh = as_triangles(scene)
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    drawn = find_technique(name).render(scene, camera)
    mask, soft = fragments.mask() > 0, drawn.silhouette > 0.5
    # The soft half level is within half a pixel of the hard outline, which has some 100 pixels
    # to 900 inside; strips grow it by just that half.
    assert (mask & soft).sum() / (mask | soft).sum() > 0.93
    inside = mask & (drawn.silhouette > 0.999)
    error = (drawn.depth - fragments.depth[..., 0]).abs() / fragments.depth[..., 0]
    assert error[inside].median() < 0.01
    assert drawn.image.shape == (*SIZE, 3) and drawn.image.isfinite().all()
    torch.testing.assert_close(drawn.image[0, 0], scene.background)


@pytest.mark.parametrize("name", NAMES)
def test_claims_hold(name: str) -> None:
    for result in check_claims(Subject(find_technique(name), (24, 32), 10.0)):
        assert result.holds, str(result)


def test_ray_caster_finds_what_brute_force_finds() -> None:
    generator = torch.Generator().manual_seed(0)
    middles = 4 * torch.rand(300, 1, 3, generator=generator, dtype=torch.float64)
    corners = middles + torch.rand(300, 3, 3, generator=generator, dtype=torch.float64)
    origins = torch.rand(500, 3, generator=generator, dtype=torch.float64) * 8 - 2
    directions = torch.randn(500, 3, generator=generator, dtype=torch.float64)
    directions[0, :2] = 0  # along an axis
    face, t = RayCaster(corners).first_hit(origins, directions)
    every = torch.arange(300).repeat(500)
    ray = torch.arange(500).repeat_interleave(300)
    bary, away = intersect_planes(corners[every], origins[ray], directions[ray])
    away = torch.where((bary.amin(1) >= 0) & (away > 0), away, torch.inf).view(500, 300)
    nearest = away.amin(1)
    assert 50 < (face >= 0).sum() < 450  # both happen
    assert torch.equal(face >= 0, nearest < torch.inf)
    torch.testing.assert_close(t, nearest)
    assert torch.equal(face[face >= 0], away.argmin(1)[face >= 0])


def test_faces_between_centres_are_those_of_the_rasterizer() -> None:
    view = View.of(standard_scene(), standard_camera(SIZE))
    face = view.faces_at_centres(2)
    found = view.faces_at(view.caster(), view.centres(2).view(-1, 2))
    assert (found == face.view(-1)).double().mean() > 0.999  # but for ties on edges


def test_look_is_differentiable() -> None:
    scene, camera = toy.overlapping(), toy.camera()
    points = torch.tensor([[8.0, 7.5], [11.2, 8.1], [1.0, 1.0]], dtype=torch.float64)

    def look(vertices: Tensor, points: Tensor) -> Tensor:
        view = View.of(scene.replaced("vertices", vertices), camera)
        return view.look(torch.tensor([0, 1, -1]), points)

    vertices = as_triangles(scene).vertices.clone().requires_grad_()
    assert torch.autograd.gradcheck(look, (vertices, points.requires_grad_()))


def test_outlines_of_a_square_and_of_tiles_that_touch() -> None:
    mesh = as_triangles(toy.square())
    homogeneous = mesh.vertices  # the same winding as in pixels
    front = facing_camera(homogeneous, mesh.faces)
    assert front.all()
    single = find_outlines(mesh.vertices, mesh.faces, front)
    assert len(single.start) == 4 and (single.share == 1).all()
    beside = mesh.vertices + mesh.vertices.new_tensor([toy.SIDE / toy.SCALE, 0, 0])
    beside[[0, 3]] = mesh.vertices[[1, 2]]  # bit for bit
    both = torch.cat([mesh.vertices, beside])
    faces = torch.cat([mesh.faces, mesh.faces + 4])
    pair = find_outlines(both, faces, facing_camera(both, faces))
    assert len(pair.start) == 8
    assert sorted(pair.share.tolist()) == [0.5] * 2 + [1.0] * 6


def test_edges_are_clipped_to_what_is_seen() -> None:
    start = torch.tensor([[-10.0, 5, 1], [5, 5, -1], [30, 5, 1]])
    end = torch.tensor([[10.0, 5, 1], [5, 5, 1], [40, 5, 1]])
    part, there = clip_to_image(start, end, (10, 20))
    assert there.tolist() == [True, True, False]
    assert part[0].tolist() == [0.5, 1.0]
    # Behind the camera at first: it comes into the image where y <= 10 z, at z = 1/2.
    torch.testing.assert_close(part[1], torch.tensor([0.75, 1.0]))


def test_a_square_that_moves_has_the_derivative_of_its_area() -> None:
    def draw(t: Tensor) -> Rendering:
        return EdgeSampling(per_axis=5, edge_samples=200).render(
            toy.shifted(toy.square(), t), toy.camera()
        )

    found = toy.slope(draw)[..., 3]
    expected = torch.zeros_like(found)
    expected[:, 5], expected[:, 14] = -ROWS, ROWS
    torch.testing.assert_close(found, expected, atol=0.02, rtol=0.0)
    # White on black: the image does what the silhouette does. Its fifths of pixels are exact here.
    torch.testing.assert_close(toy.slope(draw)[..., 0], expected, atol=0.02, rtol=0.0)
    area = draw(torch.zeros((), dtype=torch.float64)).silhouette.sum().item()
    assert area == pytest.approx(8.4**2, abs=1e-9)


def test_seen_from_nearby_samples_agree_with_differences_of_fine_pictures() -> None:
    scene, camera = toy.overlapping(), toy.camera()
    d = torch.linspace(-1, 1, 18, dtype=torch.float64).sin().view(6, 3)

    def draw(technique: EdgeSampling | WarpedArea, t: Tensor) -> Rendering:
        vertices = as_triangles(scene).vertices + t * d
        return technique.render(scene.replaced("vertices", vertices), camera)

    fine = EdgeSampling(per_axis=40, edge_samples=0.01)
    reference = toy.difference(lambda t: draw(fine, t), 0.02)
    for technique in (EdgeSampling(edge_samples=60), WarpedArea(per_axis=6, radius=5)):
        found = toy.slope(lambda t, technique=technique: draw(technique, t))
        assert toy.cosine(found, reference) > 0.97
        assert found.norm() / reference.norm() == pytest.approx(1, abs=0.12)


def test_warped_areas_of_a_moving_square() -> None:
    def draw(t: Tensor) -> Rendering:
        return WarpedArea().render(toy.shifted(toy.square(), t), toy.camera())

    found = toy.slope(draw)[..., 3]
    middle = found[5:11]  # rows away from the corners
    # What a side sweeps is spread over the pixels whose boxes, with ramps, reach it.
    left, right = middle[:, 4:8].sum(1), middle[:, 12:16].sum(1)
    one = torch.ones_like(left)
    torch.testing.assert_close(left, -one, atol=0.12, rtol=0.0)
    torch.testing.assert_close(right, one, atol=0.12, rtol=0.0)
    assert found[:, 8:12].abs().max() < 1e-9 and found[:, :4].abs().max() < 1e-9


def test_an_overdrawn_edge_fades_over_one_pixel() -> None:
    def draw(t: Tensor) -> Rendering:
        return EdgeOverdraw().render(toy.shifted(toy.square(), t), toy.camera())

    drawn = draw(torch.zeros((), dtype=torch.float64))
    # Pixel centres at 5.5 and 14.5 lie 0.3 pixels outside.
    expected = torch.tensor([0, 0.7, 1, 1, 0.7, 0], dtype=torch.float64)
    torch.testing.assert_close(drawn.silhouette[8, [4, 5, 6, 13, 14, 15]], expected)
    found = toy.slope(draw)[8, :, 3]
    expected = torch.zeros_like(found)
    expected[5], expected[14] = -1, 1
    torch.testing.assert_close(found, expected)


def test_overdraw_is_the_derivative_of_its_own_picture() -> None:
    scene, camera = toy.overlapping(), toy.camera()
    inputs = [t.clone().requires_grad_() for t in scene.parameters().values()]
    names = list(scene.parameters())
    weights = torch.rand(3, 16, 20, 4, dtype=torch.float64)

    def draw(*values: Tensor) -> Tensor:
        changed = scene
        for name, value in zip(names, values, strict=True):
            changed = changed.replaced(name, value)
        picture = toy.stacked(EdgeOverdraw().render(changed, camera))
        return (weights * picture).sum((1, 2, 3))

    assert torch.autograd.gradcheck(draw, inputs, eps=1e-6, atol=1e-5)


def _shadow_scene() -> tuple[Scene, Camera]:
    """A small square above a large one, seen and lit from above; only its shadow lies to the left.

    The light comes at 45 degrees, so that the shadow is shifted by the height.
    """
    floor = [[-2.0, -2, 4], [2, -2, 4], [2, 2, 4], [-2, 2, 4]]
    small = [[0.08, -0.22, 3.5], [0.65, -0.22, 3.5], [0.65, 0.36, 3.5], [0.08, 0.36, 3.5]]
    faces = [[0, 2, 1], [0, 3, 2], [4, 6, 5], [4, 7, 6]]
    scene = toy.scene_of([*floor, *small], faces, torch.float64)
    mesh = as_triangles(scene)
    assert isinstance(mesh, Triangles)
    light = torch.tensor([[1.0, 0, -1], [0.7] * 3, [0.2] * 3], dtype=torch.float64)
    return dataclasses.replace(scene, light=Light(*light)), toy.camera()


def test_a_shadow_lies_where_the_light_puts_it() -> None:
    scene, camera = _shadow_scene()
    drawn = EdgeSamplingShadows(per_axis=25).render(scene, camera)
    dark, bright = 0.2, 0.2 + 0.7 / 2**0.5
    # On the floor it reaches from x = 0.08 - 0.5 to 0.15: pixels 7.48 to 10.9, rows 6.68 to 10.16.
    row = drawn.image[8, :, 0]
    torch.testing.assert_close(row[8:10], torch.full_like(row[8:10], dark))
    assert row[6].item() == pytest.approx(bright) and row[12].item() == pytest.approx(bright)
    assert row[7].item() == pytest.approx(0.48 * bright + 0.52 * dark)


def test_the_shadow_moves_with_light_occluder_and_receiver() -> None:
    scene, camera = _shadow_scene()
    technique = EdgeSamplingShadows(edge_samples=60, shadow_samples=1500)
    fine = EdgeSamplingShadows(per_axis=26, edge_samples=0.01, shadow_samples=0.01)
    moves = {
        "light": torch.tensor([[0.4, 0.3, 0], [0] * 3, [0] * 3], dtype=torch.float64),
        "vertices": torch.linspace(0, 9, 24, dtype=torch.float64).cos().view(8, 3) / 3,
    }
    for name, direction in moves.items():

        def draw(
            t: Tensor,
            drawer: EdgeSamplingShadows = technique,
            name: str = name,
            direction: Tensor = direction,
        ) -> Rendering:
            value = scene.parameters()[name] + t * direction
            return drawer.render(scene.replaced(name, value), camera)

        found = toy.slope(draw)
        expected = toy.difference(lambda t, draw=draw: draw(t, fine), 0.12)
        assert toy.cosine(found, expected) > 0.97, name
        assert found.norm() / expected.norm() == pytest.approx(1, abs=0.1), name
        if name == "light":
            # The left border moves by 6 pixels / metre * 0.5 m * 0.4 to the left, in colour by the
            # difference of light and shadow; the lit part of its pixel, 0.48, by the cosine.
            cosine, slower = 1 / 2**0.5, -0.4 / 2**1.5
            closed = -1.2 * 0.7 * cosine + 0.48 * 0.7 * slower
            assert found[8, 7, 0].item() == pytest.approx(closed, rel=0.05)


def test_a_scene_of_another_family_is_refused() -> None:
    prepared = find_technique("path-replay").prepare(standard_scene())
    for name in NAMES:
        with pytest.raises(InputError, match="draws Triangles"):
            find_technique(name).render(prepared, standard_camera(SIZE))
