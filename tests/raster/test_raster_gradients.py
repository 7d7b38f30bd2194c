"""Analytic gradients against finite differences."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import (
    BACKENDS,
    DOUBLE,
    EACH_BACKEND,
    FACES,
    VERTICES,
    flat_camera,
    pinhole,
    rectangle,
    sphere,
    weights,
)
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette

pytestmark = EACH_BACKEND


def test_gradcheck_inside_faces(backend: str) -> None:
    """Barycentrics, depth, distance and interpolated attributes; visibility stays as it is."""
    base = pinhole((7, 8), focal=9.0)

    def render(vertices: Tensor, intrinsics: Tensor, shift: Tensor, colours: Tensor):  # type: ignore[no-untyped-def]
        camera = Camera(intrinsics, base.rotation, shift, base.size)
        found = rasterize(
            Mesh(vertices, FACES), camera, layers=2, with_distance=True, backend=backend
        )
        return found.bary, found.depth, found.distance, interpolate(colours, found, backend=backend)

    # The last row of K is (0, 0, 1) by definition: check the others.
    def by_rows(vertices: Tensor, rows: Tensor, shift: Tensor, colours: Tensor):  # type: ignore[no-untyped-def]
        return render(vertices, torch.cat([rows, base.intrinsics[2:]]), shift, colours)

    shift = torch.tensor([0.01, -0.02, 0.3], dtype=DOUBLE)
    inputs = (VERTICES, base.intrinsics[:2], shift, weights(torch.Size((4, 2))))
    leaves = tuple(t.clone().requires_grad_() for t in inputs)
    assert int((by_rows(*leaves)[1] > 0).sum()) > 15
    assert torch.autograd.gradcheck(by_rows, leaves, eps=1e-7, atol=1e-5)


def test_gradcheck_soft_silhouette(backend: str) -> None:
    camera = pinhole((6, 7), focal=6.0)

    def render(vertices: Tensor) -> Tensor:
        return soft_silhouette(Mesh(vertices, FACES), camera, sigma=0.02, backend=backend)

    assert torch.autograd.gradcheck(render, (VERTICES.clone().requires_grad_(),), eps=1e-6)


def test_gradcheck_antialias(backend: str) -> None:
    """With coverage fixed, blending is smooth in the vertices and linear in the image."""
    camera = pinhole((9, 10), focal=9.0)
    fixed = rasterize(Mesh(VERTICES, FACES), camera, backend=backend)

    def render(vertices: Tensor, image: Tensor) -> Tensor:
        return antialias(image, fixed, Mesh(vertices, FACES), camera, backend=backend)

    image = weights(torch.Size((9, 10, 2))).requires_grad_()
    assert torch.autograd.gradcheck(
        render, (VERTICES.clone().requires_grad_(), image), eps=1e-7, atol=1e-6
    )


def coverage(mesh: Mesh, camera: Camera, backend: str) -> Tensor:
    found = rasterize(mesh, camera, backend=backend)
    return antialias(found.mask()[..., None], found, mesh, camera, backend=backend).sum()


@pytest.mark.parametrize("step", [0.0, 0.13, 0.31, 0.49, 0.77])
def test_a_sliding_rectangle_covers_its_area(backend: str, step: float) -> None:
    """Borders away from corners: the sum is the area, its slope the length of the edge."""
    left = torch.tensor(3.2, dtype=DOUBLE, requires_grad=True)
    right = torch.tensor(9.0 + step, dtype=DOUBLE, requires_grad=True)
    top, bottom = torch.tensor(2.0, dtype=DOUBLE), torch.tensor(11.0, dtype=DOUBLE)
    one = torch.ones((), dtype=DOUBLE)
    corners = [(left, top), (right, top), (right, bottom), (left, bottom)]
    vertices = torch.stack([torch.stack([x, y, one]) for x, y in corners])
    mesh = Mesh(vertices, rectangle(0, 0, 1, 1).faces)
    total = coverage(mesh, flat_camera((14, 16)), backend)
    assert total.item() == pytest.approx((9.0 + step - 3.2) * 9.0, abs=1e-9)
    by_left, by_right = torch.autograd.grad(total, [left, right])
    assert by_right.item() == pytest.approx(9.0, abs=1e-9)
    assert by_left.item() == pytest.approx(-9.0, abs=1e-9)


def test_a_slanted_triangle_covers_its_area(backend: str) -> None:
    points = torch.tensor([[5.3, 4.1], [58.2, 17.7], [21.9, 55.4]], dtype=DOUBLE).requires_grad_()
    vertices = torch.cat([points, torch.ones(3, 1, dtype=DOUBLE)], dim=1)
    total = coverage(Mesh(vertices, torch.tensor([[0, 2, 1]])), flat_camera((64, 64)), backend)
    one, two = points[1] - points[0], points[2] - points[0]
    area = 0.5 * (one[0] * two[1] - one[1] * two[0])
    (got,) = torch.autograd.grad(total, points)
    (wanted,) = torch.autograd.grad(area, points)
    assert total.item() == pytest.approx(area.item(), abs=0.75)  # a quarter pixel each corner
    # A corner's own pixel is the only place where rows and columns do not add up exactly.
    assert float((got - wanted).abs().max()) < 0.04 * float(wanted.abs().max())


@pytest.mark.parametrize("leaf", ["scale", "x", "z", "focal"])
def test_silhouette_gradients_of_a_sphere_match_its_area(backend: str, leaf: str) -> None:
    """d(coverage)/d(parameter) at 96 x 96 against the slope of a render 8 times as fine."""
    mesh = sphere(3)
    start = {"scale": 1.0, "x": 0.1, "z": 3.05, "focal": 1.0}

    def area(values: dict[str, Tensor], size: int, edge: float, name: str) -> Tensor:
        focal = values["focal"] * size
        k = torch.eye(3, dtype=DOUBLE).clone()
        k[0, 0] = k[1, 1] = focal
        k[0, 2], k[1, 2] = size * edge, size * 0.55
        shift = torch.stack([values["x"], torch.zeros((), dtype=DOUBLE), values["z"]])
        camera = Camera(k, torch.eye(3, dtype=DOUBLE), shift, (size, size))
        moved = Mesh(mesh.vertices * values["scale"], mesh.faces)
        return coverage(moved, camera, name) / size**2

    values = {k: torch.tensor(v, dtype=DOUBLE, requires_grad=True) for k, v in start.items()}
    edge = 0.0 if leaf == "x" else 0.5  # whole, its area would not depend on x
    (got,) = torch.autograd.grad(area(values, 96, edge, backend), values[leaf])
    fine = "native" if "native" in BACKENDS else "torch"
    with torch.no_grad():
        up, down = dict(values), dict(values)
        up[leaf], down[leaf] = values[leaf] + 0.01, values[leaf] - 0.01
        size = 768 if fine == "native" else 192
        wanted = (area(up, size, edge, fine) - area(down, size, edge, fine)) / 0.02
    assert got.item() == pytest.approx(wanted.item(), rel=0.02)


def test_gradients_reach_the_occluder_not_the_occluded(backend: str) -> None:
    """A near square before a larger far one: only the near outline moves the near colour."""
    near, far = rectangle(6.2, 6.2, 13.7, 13.7), rectangle(-5, -5, 30, 30)
    vertices = torch.cat([near.vertices, far.vertices * 2.0]).requires_grad_()
    mesh = Mesh(vertices, torch.cat([near.faces, far.faces + 4]))
    camera = flat_camera((20, 20))
    found = rasterize(mesh, camera, backend=backend)
    colour = torch.where(found.face[..., :1] < 2, 1.0, 0.25).double()
    total = antialias(colour, found, mesh, camera, backend=backend).sum()
    (grad,) = torch.autograd.grad(total, vertices)
    assert total.item() == pytest.approx(0.25 * 400 + 0.75 * 7.5**2, rel=3e-3)
    assert bool((grad[4:] == 0).all())
    assert grad[1, 0].item() == pytest.approx(0.75 * 7.5 / 2, rel=0.05)
