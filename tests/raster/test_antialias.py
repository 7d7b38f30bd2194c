"""Antialiasing: what it leaves alone, its range, and how it takes edges and meshes."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import (
    DOUBLE,
    EACH_BACKEND,
    flat_camera,
    flat_mesh,
    pinhole,
    rectangle,
    sphere,
    torus,
    weights,
)

from diffrender.errors import InputError
from diffrender.meshes import Mesh, MeshBatch, pack_meshes
from diffrender.raster import antialias, rasterize, render_silhouette_depth
from diffrender.raster._topology import edge_table, topology

pytestmark = EACH_BACKEND


def test_outputs_stay_within_the_range_of_inputs(backend: str) -> None:
    """Even for triangles far smaller than a pixel, where a sum of blends would overshoot."""
    generator = torch.Generator().manual_seed(3)
    centres = torch.rand(200, 1, 2, generator=generator, dtype=DOUBLE) * 20
    corners = centres + torch.rand(200, 3, 2, generator=generator, dtype=DOUBLE) * 1.5
    points = torch.cat([corners, torch.ones(200, 3, 1, dtype=DOUBLE)], -1).reshape(-1, 3)
    mesh = Mesh(points, torch.arange(600).reshape(200, 3))
    camera = flat_camera((20, 20))
    found = rasterize(mesh, camera, backend=backend)
    smooth = antialias(found.mask()[..., None], found, mesh, camera, backend=backend)
    assert 0.0 <= smooth.min().item() <= smooth.max().item() <= 1.0
    assert int(((smooth > 0) & (smooth < 1)).sum()) > 40


def test_a_small_square_covers_its_area(backend: str) -> None:
    mesh, camera = rectangle(4.2, 4.3, 4.8, 4.7), flat_camera((9, 9))
    found = rasterize(mesh, camera, backend=backend)
    smooth = antialias(found.mask()[..., None], found, mesh, camera, backend=backend)
    assert smooth.sum().item() == pytest.approx(0.6 * 0.4)


def test_inner_edges_and_flat_regions_are_left_alone(backend: str) -> None:
    """The diagonal of a rectangle is no silhouette; constants stay constant."""
    mesh, camera = rectangle(-3, -3, 20, 20), flat_camera((12, 12))
    found = rasterize(mesh, camera, backend=backend)
    assert len(found.face.unique()) == 2
    image = weights(torch.Size((12, 12, 3)))
    assert torch.equal(antialias(image, found, mesh, camera, backend=backend), image)
    ball = sphere(2)
    view = pinhole((24, 24), translation=(0.0, 0.0, 3.0))
    found = rasterize(ball, view, backend=backend)
    flat = torch.full((24, 24, 2), 0.7, dtype=DOUBLE)
    torch.testing.assert_close(antialias(flat, found, ball, view, backend=backend), flat)


def test_orientation_does_not_matter(backend: str) -> None:
    """Silhouettes are found from sides in the image, not from the order of corners."""
    ball = torus()
    view = pinhole((32, 32), translation=(0.0, 0.0, 3.0))
    mixed = ball.faces.clone()
    mixed[::2] = mixed[::2].flip(-1)
    results = []
    for faces in (ball.faces, mixed):
        mesh = Mesh(ball.vertices, faces)
        found = rasterize(mesh, view, backend=backend)
        results.append(antialias(found.mask()[..., None], found, mesh, view, backend=backend))
    torch.testing.assert_close(results[0], results[1])


def test_edges_behind_the_near_plane_are_skipped(backend: str) -> None:
    vertices = torch.tensor([[-30.0, 1.0, -5.0], [30.0, 1.0, -5.0], [0.0, 1.0, 40.0]], dtype=DOUBLE)
    mesh = Mesh(vertices.requires_grad_(), torch.tensor([[0, 1, 2]]))
    camera = pinhole((20, 20))
    found = rasterize(mesh, camera, backend=backend)
    assert int((found.face >= 0).sum()) > 50
    smooth = antialias(found.mask()[..., None], found, mesh, camera, backend=backend)
    assert torch.equal(smooth.detach()[..., 0], found.mask())


def test_batches_equal_their_members(backend: str) -> None:
    camera = pinhole((24, 24), translation=(0.0, 0.0, 3.0))
    spun = torus()
    members = [torus(), sphere(1), Mesh(spun.vertices * 0.8, spun.faces)]
    for batch in (
        pack_meshes(members),
        MeshBatch.shared(torch.stack([members[0].vertices, members[2].vertices]), spun.faces),
    ):
        found = rasterize(batch, camera, backend=backend)
        image = weights(torch.Size((len(batch), 24, 24, 2)))
        together = antialias(image, found, batch, camera, backend=backend)
        each = members if len(batch) == 3 else [members[0], members[2]]
        for i, mesh in enumerate(each):
            alone = rasterize(mesh, camera, backend=backend)
            wanted = antialias(image[i], alone, mesh, camera, backend=backend)
            torch.testing.assert_close(together[i], wanted)


def test_gradients_flow_to_the_mesh_that_is_given(backend: str) -> None:
    """Fragments made without gradients serve a mesh with them, and the other way round."""
    mesh, camera = rectangle(3.2, 3.2, 8.7, 8.7), flat_camera((12, 12))
    leaf = mesh.vertices.clone().requires_grad_()
    with torch.no_grad():
        found = rasterize(Mesh(leaf, mesh.faces), camera, backend=backend)
    image = found.mask()[..., None]
    antialias(image, found, Mesh(leaf, mesh.faces), camera, backend=backend).sum().backward()
    assert leaf.grad is not None
    assert float(leaf.grad.abs().max()) > 1
    fresh = rasterize(Mesh(leaf, mesh.faces), camera, backend=backend)
    still = antialias(image, fresh, Mesh(leaf.detach(), mesh.faces), camera, backend=backend)
    assert not still.requires_grad


def test_wrong_images_are_named(backend: str) -> None:
    mesh, camera = rectangle(3.2, 3.2, 8.7, 8.7), flat_camera((12, 12))
    found = rasterize(mesh, camera, backend=backend)
    with pytest.raises(InputError, match=r"image has shape \(12, 11, 1\)"):
        antialias(torch.zeros(12, 11, 1, dtype=DOUBLE), found, mesh, camera, backend=backend)
    with pytest.raises(InputError, match="image is torch"):
        antialias(torch.zeros(12, 12, 1), found, mesh, camera, backend=backend)
    other = flat_mesh([(0, 0), (1, 0), (0, 1)], [(0, 1, 2)])
    with pytest.raises(InputError, match="do not fit the fragments"):
        antialias(found.mask()[..., None], found, other, camera, backend=backend)


def test_edge_tables_of_ragged_batches(backend: str) -> None:
    """Each edge once with its faces' third vertices; equal topologies share one table."""
    table = edge_table(torch.tensor([[0, 1, 2], [2, 1, 3], [1, 2, 4], [3, 3, 1]]))
    assert table.edges.tolist() == [[0, 1], [0, 2], [1, 2], [1, 3], [1, 4], [2, 3], [2, 4]]
    start, end = table.opposite_offsets[2:4].tolist()
    assert sorted(table.opposite[start:end].tolist()) == [0, 3, 4]
    batch = pack_meshes([sphere(1), torus(), sphere(1)])
    found = topology(batch.faces, batch.vertex_offsets, batch.face_offsets)
    assert found.index.tolist() == [0, 1, 0]
    assert found.edge_offsets.tolist()[1] == 120  # of an icosphere with 80 faces
    again = topology(batch.faces.clone(), batch.vertex_offsets, batch.face_offsets)
    assert torch.equal(again.edges, found.edges)


def test_depth_of_partly_covered_pixels_is_that_of_the_surface(backend: str) -> None:
    mesh, camera = rectangle(3.2, 3.2, 8.7, 8.7), flat_camera((12, 12))
    leaf = (mesh.vertices * 5.0).requires_grad_()
    alpha, depth = render_silhouette_depth(Mesh(leaf, mesh.faces), camera, backend=backend)
    assert alpha.shape == depth.shape == (12, 12)
    assert int(((alpha > 0) & (alpha < 1)).sum()) >= 20
    torch.testing.assert_close(depth, torch.where(alpha > 0, 5.0, 0.0).double())
    (by_depth,) = torch.autograd.grad(depth.sum(), leaf, retain_graph=True)
    assert float(by_depth[:, :2].abs().max()) < 1e-9
    assert by_depth[:, 2].sum().item() == pytest.approx(int((alpha > 0).sum()))
    (by_alpha,) = torch.autograd.grad(alpha.sum(), leaf)
    assert bool(torch.isfinite(by_alpha).all())
    assert by_alpha[1, 0].item() + by_alpha[2, 0].item() == pytest.approx((8.7 - 3.2) / 5.0)


def test_backward_of_a_picture_that_shows_nothing(backend: str) -> None:
    """No crossing at all: the gradient is what came in, and 0 for the vertices."""
    corners = torch.tensor([[50.0, 50.0, 1.0], [60.0, 50.0, 1.0], [50.0, 60.0, 1.0]], dtype=DOUBLE)
    points = corners.requires_grad_()
    mesh, camera = Mesh(points, torch.tensor([[0, 1, 2]])), flat_camera((8, 8))
    image = torch.zeros(8, 8, 1, dtype=DOUBLE, requires_grad=True)
    for _ in range(3):
        found = rasterize(mesh, camera, backend=backend)
        drawn = antialias(image, found, mesh, camera, backend=backend)
        grads = torch.autograd.grad(drawn.sum(), (image, points))
        assert (grads[0] == 1).all() and (grads[1] == 0).all()
