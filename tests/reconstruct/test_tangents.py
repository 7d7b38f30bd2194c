"""The drawing's analytic Jacobian: against the drawing itself and against finite differences."""

from __future__ import annotations

import dataclasses
import math
from functools import cache

import pytest
import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.losses import (
    Box,
    Depth,
    Evidence,
    GroundContact,
    LatentPrior,
    Loss,
    Photometric,
    Silhouette,
    SizePrior,
)
from diffrender.reconstruct.descent import Objective, mask_reach
from diffrender.reconstruct.drawing import draw
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.settings import StepSizes
from diffrender.reconstruct.tangents import Drawing, draw_with_tangents, variables
from diffrender.road import Road
from diffrender.shape_priors import ShapePrior, load_prior

DOUBLE = torch.float64
CAMERA = Camera.from_intrinsics(
    torch.tensor([[700.0, 0, 600], [0, 690, 180], [0, 0, 1]], dtype=DOUBLE),
    (360, 1200),
    pixel_centres="half",
    translation=torch.tensor([0.06, 0.01, 0.003], dtype=DOUBLE),
)
BOXES = torch.tensor([[500.0, 150, 700, 250], [640, 150, 710, 200]], dtype=DOUBLE)
SIDE = 32


PRIORS = ["car", "car-autoencoder"]  # linear in its latents, and not


@cache
def car(name: str = "car") -> ShapePrior:
    return load_prior(name).to(DOUBLE)


def windows() -> Camera:
    extent = BOXES[:, 2:] - BOXES[:, :2]
    frame = torch.cat([BOXES[:, :2] - 0.3 * extent, BOXES[:, 2:] + 0.3 * extent], dim=1)
    return CAMERA.crop_resize(frame, (SIDE, SIDE))


def some(seed: int = 0) -> Hypotheses:
    draws = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=draws, dtype=DOUBLE)

    depth = torch.tensor([14.0, 30.0, 16.0], dtype=DOUBLE)
    yaw = torch.tensor([[0.7, 0, 0], [2.0, 0, 0], [-1.0, 0, 0]], dtype=DOUBLE)
    return Hypotheses(
        owner=torch.tensor([0, 1, 0]),
        offset=0.05 * normal(3, 2),
        log_depth=depth.log(),
        angles=yaw + 0.02 * normal(3, 3),
        log_apparent=torch.log(torch.tensor([[3.9, 1.6, 1.5]], dtype=DOUBLE) / depth[:, None]),
        latent=0.5 * normal(3, 8),
    )


@cache
def drawing(prior: str = "car") -> Drawing:
    reach = torch.ones(2, SIDE, SIDE, dtype=DOUBLE)
    return draw_with_tangents(
        car(prior), some(), CAMERA, windows(), BOXES, reach, with_parts=True, tilt=True
    )


@pytest.mark.parametrize("prior", PRIORS)
def test_it_draws_what_draw_draws(prior: str) -> None:
    expected = draw(car(prior), some(), CAMERA, windows(), BOXES, True)
    for name in ("coverage", "depth", "box", "location", "size", "latent", "facing", "parts"):
        ours, theirs = getattr(drawing(prior).rendering, name), getattr(expected, name)
        assert torch.allclose(ours, theirs, atol=1e-8), name


def test_it_draws_what_draw_draws_through_a_skewed_camera() -> None:
    k = CAMERA.intrinsics.clone()
    k[0, 1] = 300.0
    camera = dataclasses.replace(CAMERA, intrinsics=k)
    cut = BOXES + torch.tensor([-40.0, -40, 40, 40], dtype=DOUBLE)
    small = camera.crop_resize(cut, (SIDE, SIDE))
    reach = torch.ones(2, SIDE, SIDE, dtype=DOUBLE)
    ours = draw_with_tangents(car(), some(), camera, small, BOXES, reach, with_parts=False)
    theirs = draw(car(), some(), camera, small, BOXES, False)
    assert (theirs.facing > 0).any()
    for name in ("coverage", "depth", "box", "facing"):
        expected = getattr(theirs, name)
        assert torch.allclose(getattr(ours.rendering, name), expected, atol=1e-8), name


@pytest.mark.parametrize(
    ("prior", "index"),
    [("car", k) for k in range(17)] + [("car-autoencoder", k) for k in range(9, 17)],
)
def test_every_column_is_the_difference_quotient(prior: str, index: int) -> None:
    name, k = variables(8, tilt=True)[index]
    step, sides = 1e-6, []
    for sign in (1, -1):
        value = getattr(some(), name).clone()
        value[(..., k) if value.dim() > 1 else ...] += sign * step
        moved = dataclasses.replace(some(), **{name: value})
        sides.append(draw(car(prior), moved, CAMERA, windows(), BOXES, True))

    def quotient(field: str) -> torch.Tensor:
        return (getattr(sides[0], field) - getattr(sides[1], field)) / (2 * step)

    tangents = drawing(prior).tangents
    for field in ("box", "location", "size", "latent"):
        assert torch.allclose(getattr(tangents, field)[..., index], quotient(field), atol=1e-6)
    # Faces that change hands within the step, and outlines that pass a pixel's centre, have no
    # difference quotient: they are counted.
    both = (sides[0].depth > 0) & (sides[1].depth > 0) & (drawing(prior).rendering.depth > 0)
    inside = torch.where(both, tangents.depth[:, index] - quotient("depth"), 0.0).abs()
    assert int((inside > 1e-4 * (1 + quotient("depth").abs())).sum()) <= 4
    image = torch.cat([quotient("coverage")[..., None], quotient("parts")], dim=-1)
    pushed = tangents.outline.push(image[..., 0].numel())[..., index].view_as(image)
    outline = (pushed - image).abs()
    assert int((outline > 1e-4 * (1 + image.abs())).sum()) <= 4


def evidence() -> Evidence:
    turned = dataclasses.replace(some(), angles=some().angles + 0.1)[torch.tensor([0, 1])]
    seen = draw(car(), turned, CAMERA, windows(), BOXES, False)
    draws = torch.Generator().manual_seed(5)
    noise = torch.randn(seen.depth.shape, generator=draws, dtype=DOUBLE)
    return Evidence(
        mask=seen.coverage,
        care=torch.ones_like(seen.coverage),
        depth=torch.where(seen.depth > 0, seen.depth + 0.3 * noise, 0.0),
        depth_sigma=torch.full((2,), 0.3, dtype=DOUBLE),
        depth_floor=torch.full((2,), 0.1, dtype=DOUBLE),
        image=torch.rand(2, SIDE, SIDE, 3, generator=draws, dtype=DOUBLE),
        box=seen.box,
        open_sides=torch.ones(2, 4, dtype=torch.bool),
        size_mean=1.1 * seen.size,
        size_sigma=0.1 * seen.size,
    )


def objective(loss: Loss, parts: bool) -> Objective:
    seen = evidence()
    return Objective(
        prior=car(), camera=CAMERA, boxes=BOXES, windows=windows(), evidence=seen,
        reach=mask_reach(seen.mask), loss=loss, parts=parts, tilt=False, steps=StepSizes(),
        tolerance=1e-3,
    )  # fmt: skip


PALETTE = tuple((0.1 * k, 0.5, 1 - 0.1 * k) for k in range(8))
TERMS = [
    Silhouette(), Box(), Depth(), SizePrior(), LatentPrior(), GroundContact(),
    GroundContact(Road(slope=0.05, bank=-0.03)),
    Photometric(PALETTE, (0.3,) * 8),
]  # fmt: skip


@pytest.mark.parametrize("term", TERMS, ids=lambda term: term.name)
def test_gradient_is_that_of_backpropagation_and_curvature_is_positive(term: object) -> None:
    problem = objective(2.0 * term, isinstance(term, Photometric))  # type: ignore[operator]
    leaf = problem.pack(some()).requires_grad_()
    total = problem.value(problem.unpack(leaf, some())).total
    (expected,) = torch.autograd.grad(total.sum(), leaf)
    linear = problem.linear(some())
    assert torch.allclose(linear.value.total, total.detach())
    assert torch.allclose(linear.gradient, expected, atol=1e-5 * float(expected.abs().max() + 1))
    values = torch.linalg.eigvalsh(linear.curvature)
    assert (values >= -1e-9 * values.amax()).all()
    assert (values.amax(-1) > 0).all()


def test_curvature_of_quadratic_terms_is_their_hessian() -> None:
    problem = objective(0.7 * LatentPrior() + GroundContact(), parts=False)

    def total(x: torch.Tensor) -> torch.Tensor:
        return problem.value(problem.unpack(x[None], some()[torch.tensor([0])])).total[0]

    point = problem.pack(some())[0]
    hessian = torch.autograd.functional.hessian(total, point)
    ours = problem.linear(some()).curvature[0]
    latents = slice(7, None)
    assert torch.allclose(ours[latents, latents], hessian[latents, latents], atol=1e-9)
    # The height is linear in the row of the centre: there the Gauss-Newton part is the whole.
    assert float(ours[1, 1]) == pytest.approx(float(hessian[1, 1]), rel=1e-6)


@pytest.mark.parametrize("depth", [1.2, 2.2])
def test_an_object_that_reaches_behind_the_camera_is_drawn_as_draw_draws_it(depth: float) -> None:
    size = torch.log(torch.tensor([[3.9, 1.6, 1.5]], dtype=DOUBLE) / depth)
    place = torch.full((3,), depth, dtype=DOUBLE).log()
    near = dataclasses.replace(some(), log_depth=place, log_apparent=size.repeat(3, 1))
    reach = torch.ones(2, SIDE, SIDE, dtype=DOUBLE)
    ours = draw_with_tangents(car(), near, CAMERA, windows(), BOXES, reach, with_parts=False)
    theirs = draw(car(), near, CAMERA, windows(), BOXES, False)
    assert torch.allclose(ours.rendering.box, theirs.box)
    problem = objective(2.0 * Box(), parts=False)
    leaf = problem.pack(near).requires_grad_()
    (expected,) = torch.autograd.grad(problem.value(problem.unpack(leaf, near)).total.sum(), leaf)
    assert expected.abs().max() > 1
    assert torch.allclose(problem.linear(near).gradient, expected)


def test_packing_and_unpacking_are_inverse() -> None:
    problem = objective(1.0 * LatentPrior(), parts=False)
    packed = problem.pack(some())
    assert packed.shape == (3, 15)
    again = problem.unpack(packed + 1, some())
    assert torch.equal(problem.pack(again), packed + 1)
    assert torch.equal(again.angles[:, 1:], some().angles[:, 1:])  # tilt is not free


def test_reach_counts_pixels_from_the_outline() -> None:
    mask = torch.zeros(1, 9, 9)
    mask[:, 3:6, 3:6] = 1
    reach = mask_reach(mask)[0]
    assert reach[4].tolist() == [2.5, 1.5, 0.5, 0.5, 1.5, 0.5, 0.5, 1.5, 2.5]


def test_a_lens_is_refused_with_the_way_out() -> None:
    lens = dataclasses.replace(CAMERA, distortion=torch.zeros(5, dtype=DOUBLE))
    reach = torch.ones(2, SIDE, SIDE, dtype=DOUBLE)
    with pytest.raises(InputError, match="use solver='adam', or undistort"):
        draw_with_tangents(car(), some(), lens, windows(), BOXES, reach, with_parts=False)


def test_convention_log_depth_leaves_the_picture() -> None:
    column = [name for name, _ in variables(8, tilt=False)].index("log_depth")
    assert drawing().tangents.box[..., column].abs().max() < 1e-9
    depth = drawing().rendering.depth
    assert torch.allclose(drawing().tangents.depth[:, column], depth)
    assert math.isclose(float(drawing().tangents.size[0, 0, column]), 3.9, rel_tol=1e-6)
