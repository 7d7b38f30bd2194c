"""Pieces of faces, points, splats on the screen, and the list of fragments."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Scene, Triangles
from diffrender.catalogue.points import _fragments
from diffrender.catalogue.points._fragments import Fragments, blend_over, list_fragments
from diffrender.catalogue.points._pieces import cut_faces
from diffrender.catalogue.points._splats import (
    Splats,
    as_splats,
    make_splats,
    project_splats,
)
from diffrender.catalogue.points._surface_points import SurfacePoints, as_points, sample_surface
from diffrender.errors import InputError

VERTICES = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1.5, 0], [0, 0, 0.4]])
FACES = torch.tensor([[0, 1, 2], [0, 2, 3]])


def triangles(dtype: torch.dtype = torch.float32) -> Scene:
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]], dtype=dtype)
    light = Light(
        torch.tensor([0.0, 0, 1], dtype=dtype),
        torch.zeros(3, dtype=dtype),
        torch.ones(3, dtype=dtype),
    )
    mesh = Triangles(VERTICES.to(dtype), FACES, colours)
    return Scene(mesh, light, torch.zeros(3, dtype=dtype))


def areas(corners: Tensor) -> Tensor:  # (N, 3, 3)
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    return torch.linalg.cross(a, b).norm(dim=-1) / 2


def test_pieces_tile_their_faces() -> None:
    pieces = cut_faces(VERTICES, FACES, 0.3)
    corners = pieces.corners(VERTICES, FACES)
    longest = (corners - corners.roll(1, dims=1)).norm(dim=-1).amax()
    assert longest <= 0.3 + 1e-6
    whole = areas(VERTICES[FACES])
    shared = torch.zeros(2).index_add(0, pieces.face, areas(corners))
    torch.testing.assert_close(shared, whole)
    counts = pieces.face.bincount().tolist()
    assert counts == [49, 36]  # 7 x 7 for an edge of 1.80 m, 6 x 6 for one of 1.55 m
    assert (pieces.barycentrics >= 0).all()
    # No two pieces share their middle, and all are wound like their face.
    middles = corners.mean(1)
    assert len(middles.unique(dim=0)) == 85
    normals = torch.linalg.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    assert (normals[pieces.face == 0, 2] > 0).all()


def test_points_follow_the_vertices() -> None:
    scene = triangles(torch.float64)
    mesh = scene.content
    assert isinstance(mesh, Triangles)

    def sample(vertices: Tensor, colours: Tensor) -> tuple[Tensor, ...]:
        moved = dataclasses.replace(scene, content=Triangles(vertices, FACES, colours))
        points = as_points(sample_surface(moved, 0.9))
        return points.centres, points.radii, points.colours

    inputs = [mesh.vertices.clone().requires_grad_(), mesh.colours.clone().requires_grad_()]
    assert torch.autograd.gradcheck(sample, inputs)


def test_discs_of_points_cover_their_pieces() -> None:
    points = as_points(sample_surface(triangles(), 0.4))
    corners = cut_faces(VERTICES, FACES, 0.4).corners(VERTICES, FACES)
    reach = (corners - points.centres[:, None]).norm(dim=-1)
    assert (reach <= points.radii[:, None] + 1e-6).all()
    assert points.opacities.eq(1).all()


def test_splats_have_their_pieces_covariance() -> None:
    """Against the covariance of the middles of 10 000 finer pieces."""
    scene = triangles(torch.float64)
    splats = as_splats(make_splats(scene, 10.0, 1.0, 0.5))  # one a face
    covariance = splats.axes @ splats.axes.mT
    mesh = scene.content
    assert isinstance(mesh, Triangles)
    for face in range(2):
        one = FACES[face : face + 1]
        edge = (mesh.vertices[one[0]] - mesh.vertices[one[0].roll(1)]).norm(dim=-1).max()
        fine = cut_faces(mesh.vertices, one, float(edge) / 100).corners(mesh.vertices, one).mean(1)
        torch.testing.assert_close(splats.centres[face], fine.mean(0))
        measured = torch.cov(fine.T, correction=0)
        torch.testing.assert_close(covariance[face], measured, atol=1e-4, rtol=0)


def camera(dtype: torch.dtype = torch.float64) -> Camera:
    k = torch.tensor([[40.0, 0.5, 12], [0, 38.0, 9], [0, 0, 1]], dtype=dtype)
    turn = torch.tensor([0.1, -0.2, 0.05], dtype=dtype)
    skew = torch.stack([
        torch.stack([0 * turn[0], -turn[2], turn[1]]),
        torch.stack([turn[2], 0 * turn[0], -turn[0]]),
        torch.stack([-turn[1], turn[0], 0 * turn[0]]),
    ])  # fmt: skip
    move = torch.tensor([0.1, -0.3, 4.0], dtype=dtype)
    return Camera(k, torch.linalg.matrix_exp(skew), move, (18, 24))


def test_projected_covariance_is_the_jacobians() -> None:
    splats = as_splats(make_splats(triangles(torch.float64), 0.8, 1.0, 0.5))
    at = camera()
    pixels, depth, covariance = project_splats(splats, at)
    known = at.project(splats.centres)
    torch.testing.assert_close(pixels, known[0])
    torch.testing.assert_close(depth, known[1])
    h = 1e-6
    columns = [
        (at.project(splats.centres + h * axis)[0] - at.project(splats.centres - h * axis)[0])
        / (2 * h)
        for axis in splats.axes.unbind(-1)
    ]
    spread = torch.stack(columns, dim=-1)
    torch.testing.assert_close(covariance, spread @ spread.mT, atol=1e-6, rtol=1e-6)


def boxes(seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    pixels = torch.rand(20, 2, generator=generator) * torch.tensor([10.0, 8]) - 1
    extent = torch.rand(20, 2, generator=generator) * 3
    depth = torch.rand(20, generator=generator) * 4 - 0.5
    return pixels, extent, depth


def test_fragments_are_all_pixels_in_boxes_nearest_first() -> None:
    pixels, extent, depth = boxes()
    found = list_fragments(pixels, extent, depth, (6, 8), 0.1)
    expected = []
    for row in range(6):
        for column in range(8):
            centre = torch.tensor([column + 0.5, row + 0.5])
            inside = ((centre - pixels).abs() <= extent).all(1) & (depth > 0.1)
            own = inside.nonzero().squeeze(1)
            expected += [(row * 8 + column, int(i)) for i in own[depth[own].argsort()]]
    assert list(zip(found.pixel.tolist(), found.primitive.tolist(), strict=True)) == expected
    assert len(expected) > 60
    torch.testing.assert_close(
        found.places(pixels)[0],
        torch.tensor([expected[0][0] % 8 + 0.5, expected[0][0] // 8 + 0.5]),
    )


def test_layers_and_what_is_left_of_the_light() -> None:
    entries = Fragments(torch.arange(5), torch.tensor([1, 1, 1, 4, 4]), (2, 3))
    assert entries.layer().tolist() == [0, 1, 2, 0, 1]
    alpha = torch.tensor([0.5, 0.25, 0.9, 0.2, 0.99])
    left = entries.visible(alpha)
    torch.testing.assert_close(left, torch.tensor([1, 0.5, 0.375, 1, 0.8]))
    empty = entries.kept(torch.zeros(5, dtype=torch.bool))
    assert len(empty.visible(alpha[:0])) == 0
    assert empty.sum(torch.zeros(0, 2)).shape == (6, 2)


def test_light_left_over_a_long_list_keeps_its_digits() -> None:
    """Running sums over all pixels must not eat the small differences within one."""
    pixel = torch.arange(20000).repeat_interleave(5)
    alpha = torch.full((100000,), 0.99)
    alpha[-5:] = torch.tensor([0.1, 0.2, 0.3, 0.4, 0.5])
    left = Fragments(pixel, pixel, (100, 200)).visible(alpha)[-5:]
    torch.testing.assert_close(left, torch.tensor([1, 0.9, 0.72, 0.504, 0.3024]))


def test_visible_gradients() -> None:
    entries = Fragments(torch.arange(6), torch.tensor([0, 0, 0, 2, 2, 3]), (2, 2))
    alpha = torch.tensor([0.3, 0.6, 0.2, 0.8, 0.1, 0.5], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(entries.visible, alpha)
    assert torch.autograd.gradgradcheck(entries.visible, alpha)


def test_blending_composites_over_the_background() -> None:
    entries = Fragments(torch.arange(2), torch.tensor([0, 0]), (1, 2))
    drawn = blend_over(
        entries,
        torch.tensor([0.5, 0.25]),
        torch.tensor([[1.0, 0, 0], [0, 1, 0]]),
        torch.tensor([2.0, 5.0]),
        torch.tensor([0.0, 0, 1]),
    )
    torch.testing.assert_close(drawn.image[0, 0], torch.tensor([0.5, 0.25, 0.25]))
    torch.testing.assert_close(drawn.image[0, 1], torch.tensor([0.0, 0, 1]))
    assert drawn.silhouette.tolist() == [[0.75, 0]]
    assert drawn.depth.tolist() == [[3.0, 0]]


def test_broken_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    scene = triangles()
    for spacing in (0.0, -1.0, float("nan")):
        with pytest.raises(InputError, match="expected a positive length"):
            sample_surface(scene, spacing)
    with pytest.raises(InputError, match="use a wider spacing"):
        sample_surface(scene, 1e-5)
    with pytest.raises(InputError, match="no faces"):
        cut_faces(VERTICES, FACES[:0], 1.0)
    with pytest.raises(InputError, match="expected a scene of points, got Triangles"):
        as_points(scene)
    with pytest.raises(InputError, match="expected a scene of splats, got Triangles"):
        as_splats(scene)
    points = sample_surface(scene, 1.0)
    with pytest.raises(InputError, match="holds SurfacePoints"):
        make_splats(points, 1.0, 1.0, 1.0)
    with pytest.raises(InputError, match="vertices, attributes, density"):
        points.content.replaced("texture", torch.zeros(1))
    with pytest.raises(InputError, match=r"SurfacePoints.colours has shape \(3, 3\)"):
        SurfacePoints(torch.zeros(2, 3), torch.ones(2), torch.zeros(3, 3), torch.ones(2))
    with pytest.raises(InputError, match="Splats.axes has shape"):
        Splats(torch.zeros(2, 3), torch.zeros(2, 3), torch.zeros(2, 3), torch.ones(2))
    lens = dataclasses.replace(camera(torch.float32), distortion=torch.zeros(4))
    with pytest.raises(InputError, match="this one has a lens"):
        project_splats(as_splats(make_splats(scene, 1.0, 1.0, 1.0)), lens)
    monkeypatch.setattr(_fragments, "_MOST_FRAGMENTS", 10)
    with pytest.raises(InputError, match="draw a smaller image"):
        list_fragments(*boxes(), (6, 8), 0.1)
