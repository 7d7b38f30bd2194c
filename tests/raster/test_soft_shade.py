"""Soft colours: values against the formula, gradients against finite differences, limits."""

from __future__ import annotations

import math

import pytest
import torch
from raster_scenes import (
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
from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.raster import SoftShading, rasterize, soft_shade, soft_silhouette

SOFT = SoftShading(sigma=0.02, gamma=0.05, near=1.0, far=4.0)


def stack(depths: list[float]) -> Mesh:
    """Rectangles one behind the other, each filling a 4 x 4 image from edge to far beyond it."""
    parts = [rectangle(-50, -50, 54, 54).vertices * z for z in depths]
    faces = [rectangle(0, 0, 1, 1).faces + 4 * i for i in range(len(parts))]
    return Mesh(torch.cat(parts), torch.cat(faces))


@EACH_BACKEND
def test_weights_are_those_of_the_paper(backend: str) -> None:
    """Deep inside two faces coverage is 1, so only depth and the background share the pixel."""
    mesh = stack([2.0, 2.5])
    colours = torch.tensor([[1.0, 0.0]] * 4 + [[0.0, 1.0]] * 4, dtype=DOUBLE)
    settings = SoftShading(gamma=0.1, near=1.0, far=5.0, epsilon=0.2, sigma=1e-3)
    background = torch.tensor([10.0, 20.0], dtype=DOUBLE)
    image = soft_shade(
        colours,
        mesh,
        flat_camera((4, 4)),
        settings=settings,
        background=background,
        backend=backend,
    )
    # Pixel (1, 2) does not lie on the rectangles' diagonal.
    near, far, empty = (math.exp(v / 0.1) for v in ((5 - 2) / 4, (5 - 2.5) / 4, 0.2))
    total = near + far + empty
    wanted = [near / total + 10 * empty / total, far / total + 20 * empty / total]
    assert image[1, 2].tolist() == pytest.approx(wanted, rel=1e-9)


@EACH_BACKEND
def test_coverage_fades_with_the_squared_distance(backend: str) -> None:
    """A triangle whose right edge stands at x = 2: half a pixel inside and half a pixel beyond."""
    points = torch.tensor([[2.0, -200, 1], [2.0, 200, 1], [-300.0, 0, 1]], dtype=DOUBLE)
    mesh = Mesh(points * 2.0, torch.tensor([[0, 1, 2]]))
    settings = SoftShading(sigma=0.1, gamma=0.5, blur_radius=1.0, near=1.0, far=5.0, epsilon=0.1)
    ones = torch.ones(3, 1, dtype=DOUBLE)
    image = soft_shade(ones, mesh, flat_camera((4, 4)), settings=settings, backend=backend)
    squared = (0.5 * 2 / 4) ** 2  # in units of half the shorter side
    for column, sign in ((1, 1), (2, -1)):
        cover = 1 / (1 + math.exp(-sign * squared / 0.1))
        face, empty = cover * math.exp((5 - 2) / 4 / 0.5), math.exp(0.1 / 0.5)
        assert float(image[1, column, 0]) == pytest.approx(face / (face + empty), rel=1e-9)


@EACH_BACKEND
@pytest.mark.parametrize("corners", [False, True])
@pytest.mark.parametrize("limit", [None, 1])
def test_gradcheck(backend: str, corners: bool, limit: int | None) -> None:
    """The card: attributes, background, vertices, pose and intrinsics, inside and around faces."""
    base = pinhole((6, 7), focal=6.0)
    settings = SoftShading(sigma=0.02, gamma=0.05, near=1, far=4, faces_per_pixel=limit)

    def render(
        values: Tensor, vertices: Tensor, rows: Tensor, shift: Tensor, behind: Tensor
    ) -> Tensor:
        camera = Camera(torch.cat([rows, base.intrinsics[2:]]), base.rotation, shift, base.size)
        mesh = Mesh(vertices, FACES)
        return soft_shade(
            values, mesh, camera, settings=settings, background=behind, backend=backend
        )

    values = weights(torch.Size((2, 3, 2) if corners else (4, 2)))
    shift = torch.tensor([0.01, -0.02, 0.3], dtype=DOUBLE)
    inputs = (values, VERTICES, base.intrinsics[:2], shift, weights(torch.Size((2,)), 5))
    leaves = tuple(t.clone().requires_grad_() for t in inputs)
    image = render(*leaves)
    hit = rasterize(Mesh(VERTICES, FACES), Camera(base.intrinsics, base.rotation, shift, base.size))
    outside = hit.face[..., 0] < 0
    silhouette = (image[..., 0] - leaves[4][0]).abs()[outside] > 1e-6  # soft rim beyond the faces
    assert int(outside.sum()) > 10 and int(silhouette.sum()) > 3
    assert torch.autograd.gradcheck(render, leaves, eps=1e-6, atol=1e-5)


@EACH_BACKEND
def test_no_gradient_comes_from_faces_entering_the_blur_radius(backend: str) -> None:
    """The card's last cell: the image jumps there, and the gradient does not see it."""
    ones = torch.ones(3, 1, dtype=DOUBLE)
    settings = SoftShading(sigma=0.1, gamma=0.5, blur_radius=0.25**2, near=1.0, far=5.0)
    values, slopes = [], []
    for edge in (2.0 - 1e-6, 2.0 + 1e-6):  # half a pixel, 0.25 in their units, before 2.5
        right = torch.tensor(edge, dtype=DOUBLE, requires_grad=True)
        points = torch.stack([right, torch.tensor(-200.0).double(), right, torch.tensor(200.0)])
        corners = torch.stack([*points.reshape(2, 2), torch.tensor([-300.0, 0.0]).double()])
        vertices = torch.cat([corners, ones], -1) * 2.0
        mesh = Mesh(vertices, torch.tensor([[0, 1, 2]]))
        image = soft_shade(ones, mesh, flat_camera((4, 4)), settings=settings, backend=backend)
        values.append(float(image[1, 2, 0].detach()))
        slopes.append(float(torch.autograd.grad(image[1, 2, 0], right, allow_unused=True)[0]))
    assert values[0] == 0.0 and slopes[0] == 0.0
    assert values[1] > 0.1 and 0 < slopes[1] < 10.0


@EACH_BACKEND
def test_sharp_settings_give_the_nearest_face(backend: str) -> None:
    """gamma 1e-4, the default: finite, and inside faces the hard image."""
    mesh = sphere(2)
    camera = pinhole((30, 32), focal=36.0, translation=(0.1, 0.0, 3.0))
    colours = (mesh.vertices + 1.0).requires_grad_()
    vertices = mesh.vertices.clone().requires_grad_()
    settings = SoftShading(sigma=1e-7, gamma=1e-4)
    image = soft_shade(
        colours, Mesh(vertices, mesh.faces), camera, settings=settings, backend=backend
    )
    found = rasterize(mesh, camera, with_distance=True, backend=backend)
    from diffrender.raster import interpolate

    hard = interpolate(colours.detach(), found, backend=backend)
    assert found.distance is not None
    deep = found.distance[..., 0] < -0.1
    assert int(deep.sum()) > 150
    # Faces behind have scaled nearness 0.01 lower: e^-100 at gamma 1e-4.
    assert float((image - hard).detach()[deep].abs().max()) < 1e-6
    for grad in torch.autograd.grad(image.square().sum(), [colours, vertices]):
        assert bool(torch.isfinite(grad).all())


@EACH_BACKEND
def test_the_limit_keeps_the_nearest(backend: str) -> None:
    mesh = stack([4.0, 2.0, 3.0])
    colours = torch.eye(3, dtype=DOUBLE).repeat_interleave(4, 0)
    settings = SoftShading(gamma=0.5, near=1.0, far=5.0, faces_per_pixel=2, epsilon=-50.0)
    image = soft_shade(colours, mesh, flat_camera((4, 4)), settings=settings, backend=backend)
    assert float(image[1, 2, 0]) < 1e-12  # the farthest of three does not count
    assert float(image[1, 2].sum()) == pytest.approx(1.0)
    assert float(image[1, 2, 1]) > float(image[1, 2, 2]) > 0.1


@EACH_BACKEND
def test_ones_show_one_less_the_background(backend: str) -> None:
    """With a background far away in nearness, colour 1 is seen wherever any face counts."""
    camera = pinhole((20, 22), focal=24.0, translation=(0.0, 0.1, 3.0))
    settings = SoftShading(sigma=1e-3, epsilon=-10.0)
    mesh = sphere(1)
    image = soft_shade(
        torch.ones(len(mesh.vertices), 1, dtype=DOUBLE),
        mesh,
        camera,
        settings=settings,
        backend=backend,
    )
    alpha = soft_silhouette(mesh, camera, sigma=1e-3, backend=backend)
    assert bool((image[..., 0][alpha > 0] > 0.999).all())
    assert bool((image[..., 0][alpha == 0] == 0).all())


@EACH_BACKEND
def test_degenerate_hidden_and_empty_meshes_give_the_background(backend: str) -> None:
    camera = pinhole((5, 6), focal=6.0)
    background = torch.tensor([0.25, 0.5], dtype=DOUBLE)
    line = VERTICES[[0, 0, 1, 1]]
    behind = VERTICES * torch.tensor([1, 1, -1.0]).double()
    for vertices in (line, behind, VERTICES + torch.tensor([500.0, 0, 0]).double()):
        leaf = vertices.clone().requires_grad_()
        image = soft_shade(
            weights(torch.Size((4, 2))),
            Mesh(leaf, FACES),
            camera,
            background=background,
            backend=backend,
        )
        torch.testing.assert_close(image, background.expand(5, 6, 2))
        (grad,) = torch.autograd.grad(image.sum(), leaf)
        assert bool((grad == 0).all())


@EACH_BACKEND
def test_a_pixel_on_the_horizon_of_a_face_is_finite(backend: str) -> None:
    """At (0.5, 0.5) the barycentrics are (2, -1/2, -1/2), and 2 / 2 - 1/2 / 1 - 1/2 / 1 = 0."""
    places = torch.tensor([[1.5, 0.5, 1], [2.5, 1.5, 1], [2.5, -0.5, 1]], dtype=DOUBLE)
    vertices = (places * torch.tensor([[2.0], [1.0], [1.0]])).requires_grad_()
    mesh = Mesh(vertices, torch.tensor([[0, 1, 2]]))
    settings = SoftShading(sigma=0.5, gamma=0.5, blur_radius=4.0, near=0.5, far=4.0)
    values = weights(torch.Size((3, 2))).requires_grad_()
    image = soft_shade(values, mesh, flat_camera((4, 4)), settings=settings, backend=backend)
    assert bool(torch.isfinite(image).all()) and float(image.detach()[0, 0].min()) > 0
    for grad in torch.autograd.grad(image[0, 0].sum(), [vertices, values]):
        assert bool(torch.isfinite(grad).all())


@EACH_BACKEND
def test_half_precision_comes_back(backend: str) -> None:
    camera = pinhole((5, 6), focal=6.0, dtype=torch.bfloat16)
    mesh = Mesh(VERTICES.bfloat16(), FACES)
    values = weights(torch.Size((4, 2))).bfloat16()
    image = soft_shade(values, mesh, camera, settings=SOFT, backend=backend)
    assert image.dtype == torch.bfloat16
    wide = soft_shade(
        values.float(),
        mesh.to(torch.float32),
        camera.to(torch.float32),
        settings=SOFT,
        backend=backend,
    )
    torch.testing.assert_close(image, wide.bfloat16())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = soft_shade(
            values.float(),
            mesh.to(torch.float32),
            camera.to(torch.float32),
            settings=SOFT,
            backend=backend,
        )
    assert torch.equal(inside, wide)


@EACH_BACKEND
def test_wrong_inputs_are_named(backend: str) -> None:
    mesh, camera = Mesh(VERTICES, FACES), pinhole((5, 6))
    values = weights(torch.Size((4, 2)))
    broken = VERTICES.clone()
    broken[2, 1] = torch.nan
    with pytest.raises(InputError, match="meshes.vertices holds 1 NaN"):
        soft_shade(values, Mesh(broken, FACES), camera, backend=backend)
    with pytest.raises(InputError, match="attributes holds 8 NaN"):
        soft_shade(values * torch.inf, mesh, camera, backend=backend)
    with pytest.raises(InputError, match="attributes has 3 rows"):
        soft_shade(values[:3], mesh, camera, backend=backend)
    with pytest.raises(InputError, match="background has shape"):
        soft_shade(values, mesh, camera, background=torch.zeros(3).double(), backend=backend)
    with pytest.raises(InputError, match="gamma is 0"):
        SoftShading(gamma=0)
    with pytest.raises(InputError, match="expected near < far"):
        SoftShading(near=3, far=2)
