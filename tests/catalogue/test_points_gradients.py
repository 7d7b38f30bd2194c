"""Techniques that draw points: their gradients, and what must not disturb them."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from point_scenes import SIZE, camera, points, splats
from torch import Tensor

from diffrender.catalogue import Rendering, Scene, Technique
from diffrender.catalogue.points._fragments import Fragments, list_fragments
from diffrender.catalogue.points._splats import Splats
from diffrender.catalogue.points.differentiable_point_clouds import DifferentiablePointClouds
from diffrender.catalogue.points.gaussian_splatting_2d import GaussianSplatting2d
from diffrender.catalogue.points.gaussian_splatting_3d import GaussianSplatting3d
from diffrender.catalogue.points.mip_splatting import MipSplatting
from diffrender.catalogue.points.soft_discs import SoftDiscs
from diffrender.catalogue.points.spheres import Spheres
from diffrender.catalogue.points.surface_splatting import SurfaceSplatting, push_and_pull


def test_splats_pull_towards_pixels_that_want_cover_and_leave_those_that_do_not() -> None:
    scene = splats([[0, 0, 2]])
    content = scene.content
    assert isinstance(content, Splats)
    technique = SurfaceSplatting(search=0.7)

    def push(wanted: Tensor) -> Tensor:
        centres = content.centres.clone().requires_grad_()
        drawn = technique.render(scene.replaced("vertices", centres), camera())
        (gradient,) = torch.autograd.grad((drawn.silhouette * wanted).sum(), centres)
        return -gradient[0, :2]  # where descent would move it

    def at(row: int, column: int, value: float) -> Tensor:
        one = torch.zeros(SIZE).double()
        one[row, column] = value
        return one

    assert push(at(4, 9, -1.0))[0] > 0  # an empty pixel on the right wants cover
    assert push(at(4, 9, 1.0)).eq(0).all()  # it is empty already
    assert push(at(4, 7, 1.0))[0] < 0  # a covered one at the right rim wants none
    assert push(at(4, 7, -1.0)).eq(0).all()  # it is covered already
    assert push(at(7, 5, -1.0))[1] > 0
    assert push(at(0, 0, -1.0)).eq(0).all()  # beyond the search radius


def test_the_artificial_gradient_follows_its_formula() -> None:
    pixels = torch.tensor([[2.2, 1.1], [0.4, 1.7]], dtype=torch.float64, requires_grad=True)
    entries = Fragments(torch.tensor([0, 1, 0]), torch.tensor([1, 1, 4]), (2, 3))
    value = torch.tensor([0.0, 0, 0, 0, 1, 0]).double()
    incoming = torch.tensor([0.0, -2.0, 0, 0, 0.5, 0]).double().requires_grad_()
    out = push_and_pull(value, pixels, entries)
    assert torch.equal(out, value)
    (gradient,) = torch.autograd.grad(out, pixels, incoming, create_graph=True)

    def term(g: float, p: Tensor, q: list[float]) -> Tensor:
        away = p - torch.tensor(q).double()
        return -g * away / (away.square().sum() + 0.25)

    first = term(-1.0, pixels[0], [1.5, 0.5]) + term(0.5, pixels[0], [1.5, 1.5])
    second = term(-1.0, pixels[1], [1.5, 0.5])
    torch.testing.assert_close(gradient, torch.stack([first, second]))
    # And it is linear in the incoming gradient while no sign changes.
    (slope,) = torch.autograd.grad(gradient.sum(), incoming)
    torch.testing.assert_close((slope * incoming).sum(), gradient.sum())
    torch.testing.assert_close(slope[[0, 2, 3, 5]], torch.zeros(4).double())


TWO_OR_THREE = [[-0.13, 0.05, 2.0], [0.16, -0.07, 2.6], [0.02, 0.11, 3.3]]


@pytest.mark.parametrize(
    ("technique", "scene"),
    [
        (GaussianSplatting3d(), splats(TWO_OR_THREE, tilt=0.5)),
        (GaussianSplatting2d(), splats(TWO_OR_THREE, tilt=0.5)),
        (MipSplatting(), splats(TWO_OR_THREE, tilt=0.5)),
        (SoftDiscs(radius=0.9), points(TWO_OR_THREE, opacity=0.8)),
        (Spheres(gamma=0.2, growth=2.0), points(TWO_OR_THREE, opacity=0.8)),
        (DifferentiablePointClouds(planes=5, sigma=0.12), points(TWO_OR_THREE, opacity=0.4)),
    ],
    ids=lambda value: value.card.name if hasattr(value, "card") else "",
)
def test_gradients_to_primitives_and_camera(technique: Technique, scene: Scene) -> None:
    held = scene.parameters()
    at = camera()

    def draw(
        centres: Tensor, colours: Tensor, opacities: Tensor, move: Tensor, focal: Tensor
    ) -> Tensor:
        moved = scene.replaced("vertices", centres).replaced("attributes", colours)
        moved = moved.replaced("density", opacities)
        scale = torch.stack([focal, focal, torch.ones_like(focal)])
        seen_by = dataclasses.replace(at, translation=move, intrinsics=at.intrinsics * scale)
        drawn = technique.render(moved, seen_by)
        return torch.cat([t.reshape(-1) for t in (drawn.image, drawn.silhouette)])

    move = torch.tensor([0.013, -0.021, 0.03], dtype=torch.float64)
    focal = torch.ones((), dtype=torch.float64)
    inputs = [held["vertices"], held["attributes"], held["density"], move, focal]
    inputs = [t.clone().requires_grad_() for t in inputs]
    assert torch.autograd.gradcheck(draw, inputs, atol=1e-5, fast_mode=True)
    # Linear in the incoming picture, so that a derivative forward in a direction can be had.
    zero = torch.zeros_like(draw(*inputs), requires_grad=True)
    (back,) = torch.autograd.grad(draw(*inputs), inputs[0], zero, create_graph=True)
    (picture,) = torch.autograd.grad(back.sum(), zero)
    assert picture.abs().max() > 0


def test_content_far_behind_and_beside_the_camera_is_harmless() -> None:
    """Points at the camera's centre and behind it neither show nor break the picture."""
    places = [[0, 0, 2.0], [0, 0, 0], [0.1, 0, -2]]
    for technique, scene in [
        (GaussianSplatting3d(), splats(places)),
        (GaussianSplatting2d(), splats(places)),
        (SurfaceSplatting(), splats(places)),
        (SoftDiscs(radius=0.8), points(places)),
        (Spheres(), points(places)),
    ]:
        centres = scene.parameters()["vertices"].clone().requires_grad_()
        drawn: Rendering = technique.render(scene.replaced("vertices", centres), camera())
        one = scene.replaced("vertices", centres.detach())
        content = one.content
        first = {
            field: getattr(content, field)[:1]
            for field in (f.name for f in dataclasses.fields(content))  # type: ignore[arg-type]
        }
        alone = technique.render(
            dataclasses.replace(scene, content=type(content)(**first)), camera()
        )
        torch.testing.assert_close(drawn.image.detach(), alone.image)
        (drawn.image.sum() + drawn.silhouette.sum()).backward()
        assert centres.grad is not None
        assert centres.grad.isfinite().all(), technique


def test_boxes_of_fragments_have_no_gradient() -> None:
    pixels = torch.tensor([[2.0, 2.0]], requires_grad=True)
    entries = list_fragments(pixels, torch.ones(1, 2), torch.ones(1), (4, 4), 0.1)
    assert not entries.pixel.requires_grad
    assert entries.places(pixels).requires_grad is False
