"""The three descents on one car drawn from the prior, and the parts of each that can go wrong."""

from __future__ import annotations

import dataclasses
import itertools
import math
from functools import cache

import pytest
import torch
from drawn_cars import CAMERA

from diffrender.errors import InputError
from diffrender.losses import (
    Box,
    Depth,
    Evidence,
    LatentPrior,
    Loss,
    LossValue,
    Silhouette,
    SizePrior,
)
from diffrender.reconstruct import ReconstructSettings
from diffrender.reconstruct.adam import Adam
from diffrender.reconstruct.descent import Descent, Linear, Objective, mask_reach
from diffrender.reconstruct.drawing import draw
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.lbfgs import LBFGS
from diffrender.reconstruct.levenberg import LevenbergMarquardt
from diffrender.reconstruct.settings import StageSettings, StepSizes
from diffrender.reconstruct.solver_choice import choose_descent, iteration_limit
from diffrender.shape_priors import ShapePrior, load_prior

BOXES = torch.tensor([[190.0, 85.0, 300.0, 145.0]])
SIDE = 40


@cache
def car() -> ShapePrior:
    return load_prior("car")


def hypotheses(yaws: list[float], depth: float = 12.0) -> Hypotheses:
    count = len(yaws)
    angles = torch.zeros(count, 3)
    angles[:, 0] = torch.tensor(yaws)
    return Hypotheses(
        owner=torch.zeros(count, dtype=torch.int64),
        offset=torch.zeros(count, 2),
        log_depth=torch.full((count,), math.log(depth)),
        angles=angles,
        log_apparent=torch.log(torch.tensor([[4.0, 1.65, 1.5]]) / depth).repeat(count, 1),
        latent=torch.zeros(count, 8),
    )


@cache
def problem() -> Objective:
    """A car at 12 m with yaw 0.9, seen without noise."""
    frame = torch.tensor([[160.0, 65.0, 330.0, 165.0]])
    windows = CAMERA.crop_resize(frame, (SIDE, SIDE))
    seen = draw(car(), hypotheses([0.9]), CAMERA, windows, BOXES, False)
    nothing = torch.ones(1)
    evidence = Evidence(
        mask=seen.coverage, care=torch.ones_like(seen.coverage), depth=seen.depth,
        depth_sigma=0.1 * nothing, depth_floor=0.1 * nothing,
        image=torch.zeros(1, SIDE, SIDE, 3), box=seen.box,
        open_sides=torch.ones(1, 4, dtype=torch.bool),
        size_mean=seen.size, size_sigma=0.1 * seen.size,
    )  # fmt: skip
    loss = 40 * Silhouette() + 20 * Box() + Depth() + SizePrior() + 0.5 * LatentPrior()
    return Objective(
        prior=car(), camera=CAMERA, boxes=BOXES, windows=windows, evidence=evidence,
        reach=mask_reach(evidence.mask), loss=loss, parts=False, tilt=False, steps=StepSizes(),
        tolerance=1e-3,
    )  # fmt: skip


def truth_loss() -> float:
    """Of the drawn car itself: not zero, since walls seen at a glancing angle are less certain."""
    return float(problem().value(hypotheses([0.9])).total)


@pytest.mark.parametrize(
    ("descent", "iterations"), [(Adam(), 40), (LBFGS(), 30), (LevenbergMarquardt(), 12)],
    ids=["adam", "lbfgs", "lm"],
)  # fmt: skip
def test_every_descent_finds_the_pose_from_beside_it(descent: Descent, iterations: int) -> None:
    start = dataclasses.replace(hypotheses([0.65, 1.1]), log_depth=torch.tensor([2.40, 2.58]))
    iterates = list(descent.run(problem(), start, iterations))
    assert 1 < len(iterates) <= descent.iterates(iterations)
    assert torch.equal(iterates[0].hypotheses.angles, start.angles)
    totals = torch.stack([i.value.total.detach() for i in iterates])
    above = totals - truth_loss()
    assert (above.amin(0) < 0.1 * above[0]).all()
    assert set(iterates[0].value.terms) == {"silhouette", "box", "depth", "size", "latent"}
    if not isinstance(descent, Adam):
        assert (totals.diff(dim=0) <= 1e-6).all()  # what is not better is not taken
    best = iterates[-1].hypotheses
    # The size prior and a factor of the depth map leave a few per cent of depth undecided.
    assert (best.angles[:, 0] - 0.9).abs().max() < math.radians(3)
    assert (best.log_depth - math.log(12)).abs().max() < 0.03
    # The values that are reported belong to the hypotheses beside them.
    again = problem().value(best).total.detach()
    if not isinstance(descent, Adam):
        assert torch.allclose(again, totals[-1], rtol=1e-3, atol=1e-3)


def test_levenberg_needs_fewer_iterations_than_the_others() -> None:
    start = dataclasses.replace(hypotheses([0.65]), log_depth=torch.tensor([2.42]))
    lowest = {}
    for descent in (Adam(), LBFGS(), LevenbergMarquardt()):
        iterates = list(descent.run(problem(), start, 6))
        total = min(float(i.value.total.detach()) for i in iterates)
        lowest[type(descent).__name__] = total - truth_loss()
    assert lowest["LevenbergMarquardt"] < 0.5 * lowest["LBFGS"]
    assert lowest["LevenbergMarquardt"] < 0.5 * lowest["Adam"]


def test_settled_hypotheses_end_the_run_early() -> None:
    iterates = list(LevenbergMarquardt().run(problem(), hypotheses([0.9]), 60))
    assert len(iterates) < 30


def test_a_hopeless_rival_leaves_the_batch() -> None:
    start = hypotheses([0.9, -0.5])
    patient = LevenbergMarquardt(hopeless=math.inf)
    hasty = LevenbergMarquardt(hopeless=3.0, patience=2)
    full, cut = (list(d.run(problem(), start, 12))[-1] for d in (patient, hasty))
    assert float(cut.value.total[1]) >= float(full.value.total[1])
    assert torch.allclose(cut.value.total[0], full.value.total[0], rtol=0.05)


class Points(torch.Tensor):
    """Points that answer for their own owners, one each."""

    @property
    def owner(self) -> torch.Tensor:
        return torch.arange(len(self))


class Bowl:
    """A quadratic in the variables with a curvature that is told wrong by a factor."""

    tolerance = 1e-6

    def __init__(self, told: float) -> None:
        self.told = told
        self.stiff = torch.diag(torch.tensor([1.0, 10.0, 100.0]))

    def pack(self, point: torch.Tensor) -> torch.Tensor:
        return point.clone()

    def unpack(self, values: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
        return values

    def step_sizes(self) -> torch.Tensor:
        return torch.full((3,), 0.5)

    def value(self, point: torch.Tensor) -> LossValue:
        total = 0.5 * (point @ self.stiff * point).sum(-1)
        return LossValue(total, {"bowl": total})

    def linear(self, point: torch.Tensor) -> Linear:
        curvature = self.told * self.stiff.expand(len(point), 3, 3).clone()
        return Linear(self.value(point), point @ self.stiff, curvature)


@pytest.mark.parametrize("told", [0.2, 1.0, 5.0])
def test_damping_mends_a_wrong_curvature(told: float) -> None:
    start = torch.tensor([[3.0, -2.0, 1.0], [0.5, 0.5, -4.0]]).as_subclass(Points)
    iterates = list(LevenbergMarquardt().run(Bowl(told), start, 40))  # type: ignore[arg-type]
    assert float(iterates[-1].value.total.max()) < 1e-2


@pytest.mark.parametrize("descent", [Adam(), LBFGS(), LevenbergMarquardt()])
def test_no_iterations_only_weigh_the_start(descent: Descent) -> None:
    start = hypotheses([0.65, 1.1])
    (only,) = descent.run(problem(), start, 0)
    assert descent.iterates(0) == 1
    assert torch.equal(only.hypotheses.angles, start.angles)
    weighed = problem().value(start).total
    assert torch.allclose(only.value.total.detach(), weighed, rtol=1e-4)


@pytest.mark.parametrize("steps", [0, 1, 3])
def test_levenberg_draws_a_jacobian_for_every_step_and_none_after_the_last(steps: int) -> None:
    drawn = []

    class Counted(Bowl):
        def linear(self, point: torch.Tensor) -> Linear:
            drawn.append(len(point))
            return super().linear(point)

    start = torch.tensor([[3.0, -2.0, 1.0]]).as_subclass(Points)
    descent = LevenbergMarquardt()
    iterates = list(descent.run(Counted(1.0), start, steps))  # type: ignore[arg-type]
    assert len(iterates) == descent.iterates(steps) == steps + 1
    assert len(drawn) == max(steps, 1)
    totals = [float(i.value.total) for i in iterates]
    assert all(after < before for before, after in itertools.pairwise(totals))
    reached = Bowl(1.0).value(iterates[-1].hypotheses)  # type: ignore[arg-type]
    assert float(reached.total) == totals[-1]


def test_lbfgs_learns_the_curvature_of_a_bowl() -> None:
    start = torch.tensor([[3.0, -2.0, 1.0], [0.5, 0.5, -4.0]]).as_subclass(Points)
    iterates = list(LBFGS().run(Bowl(1.0), start, 40))  # type: ignore[arg-type]
    assert float(iterates[-1].value.total.max()) < 1e-6


def test_a_loss_that_is_not_finite_stops_only_its_own_hypothesis() -> None:
    class Hole(Bowl):
        def value(self, point: torch.Tensor) -> LossValue:
            total = super().value(point).total
            total = torch.where(point[:, 0] > 2, torch.nan, total)
            return LossValue(total, {"bowl": total})

    start = torch.tensor([[3.0, -2.0, 1.0], [0.5, 0.5, -4.0]]).as_subclass(Points)
    for descent in (LBFGS(), LevenbergMarquardt()):
        last = list(descent.run(Hole(1.0), start, 40))[-1]  # type: ignore[arg-type]
        assert float(last.value.total[1]) < 1e-2


def test_names_choose_the_method() -> None:
    kinds = {name: type(choose_descent(name, CAMERA)) for name in ("adam", "lbfgs", "lm")}
    assert list(kinds.values()) == [Adam, LBFGS, LevenbergMarquardt]
    assert isinstance(choose_descent("auto", CAMERA), LevenbergMarquardt)
    lens = dataclasses.replace(CAMERA, distortion=torch.zeros(5))
    assert isinstance(choose_descent("auto", lens), Adam)
    with pytest.raises(InputError, match="use solver='adam' or 'lbfgs'"):
        choose_descent("lm", lens)
    with pytest.raises(InputError, match="solver is 'newton', expected 'auto'"):
        ReconstructSettings(solver="newton")  # type: ignore[arg-type]


def test_the_limit_counts_what_the_method_takes() -> None:
    stages = tuple(StageSettings(n, (32, 32), 1) for n in (40, 1, 0))
    settings = ReconstructSettings(stages=stages, solver="adam")
    assert iteration_limit(settings, CAMERA) == 40 + 1 + 1
    # 7 of 32 iterations, at least one where there are any, and the start of each stage
    assert iteration_limit(dataclasses.replace(settings, solver="lm"), CAMERA) == 10 + 2 + 1
    assert iteration_limit(dataclasses.replace(settings, method="box"), CAMERA) == 0


def test_a_loss_without_curvature_still_descends() -> None:
    class Plain:
        name = "plain"

        def value(self, rendering: object, evidence: object) -> torch.Tensor:
            return 0.5 * ((rendering.location - 5.0) ** 2).sum(-1)  # type: ignore[attr-defined]

    plain = dataclasses.replace(problem(), loss=Loss(((1.0, Plain()),)))  # type: ignore[arg-type]
    iterates = list(LevenbergMarquardt().run(plain, hypotheses([0.9]), 6))
    totals = [float(i.value.total) for i in iterates]
    assert totals[-1] < totals[0]
