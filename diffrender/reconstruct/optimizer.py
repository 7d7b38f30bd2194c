"""Descend and explore: many short descents as one batch, the best kept, its turns tried."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.losses import Loss, LossValue
from diffrender.reconstruct.catalogue_silhouette import CatalogueSilhouette
from diffrender.reconstruct.crops import Crops
from diffrender.reconstruct.descent import Objective, mask_reach
from diffrender.reconstruct.facing import Facing
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.moves import turn_between, with_moves
from diffrender.reconstruct.settings import ReconstructSettings, StageSettings
from diffrender.reconstruct.solver_choice import choose_descent, iterations_of
from diffrender.reconstruct.traffic import against_traffic
from diffrender.shape_priors import ShapePrior

__all__ = [
    "Fit",
    "Problem",
    "Progress",
    "explore",
    "stage_objective",
]

Progress = Callable[[int, dict[str, float]], None]
_WINDOW = 10  # iterations over which convergence is judged
_DISTINCT = math.radians(20)  # yaws nearer than this are one hypothesis when a stage ends


@dataclass(frozen=True)
class Problem:
    """All that stays fixed while hypotheses are fitted.

    Attributes:
        prior: the shape prior, on the device of the run.
        camera: of the whole image.
        boxes: (B, 4) the masks' boxes, pixels of the image.
        vehicles: (B,) bool, objects that follow the traffic.
        crops: evidence at a window size (height, width).
        loss: the objective at a stage, with or without parts.
        settings: of the whole run.
        facing: what the heading network made of the objects; None leaves it out.
        together: the problem again, from one hypothesis for each object: with what hides what
            worked out from all of them drawn, and the depth factor on which they agree. None
            leaves every object to itself.
    """

    prior: ShapePrior
    camera: Camera
    boxes: Tensor
    vehicles: Tensor
    crops: Callable[[tuple[int, int]], Crops]
    loss: Callable[[bool], Loss]
    settings: ReconstructSettings
    facing: Facing | None = None
    together: Callable[[Hypotheses], Problem] | None = None


@dataclass(frozen=True)
class Fit:
    """The best hypothesis of every object and how it came about.

    Attributes:
        hypotheses: (B,) one per object, in order of the objects.
        terms: final unweighted terms and "total", (B,) each.
        history: per object, one dict of terms per iteration of its winning line; without those that
            choose between headings, which a descent does not change.
        stop_reason: per object.
        margin: per object, by how much the loss of the best other heading (more than 20 degrees
            away) is higher, in the last stage that tried one; inf where none did.
    """

    hypotheses: Hypotheses
    terms: dict[str, Tensor]
    history: list[list[dict[str, float]]]
    stop_reason: list[str]
    margin: list[float]


@dataclass
class _Line:
    """Hypotheses with the trace of their own past."""

    hypotheses: Hypotheses
    history: list[list[dict[str, float]]]
    total: Tensor
    terms: dict[str, Tensor]
    stop_reason: list[str]


def explore(problem: Problem, start: Hypotheses, progress: Progress | None = None) -> Fit:
    """Run the stages from `start`; each keeps the best hypotheses of the one before.

    `progress(iterations_done, mean_terms)` is called once per iteration.
    """
    count = len(problem.boxes)
    many = len(start)
    line = _Line(start, [[] for _ in range(many)], torch.zeros(many), {}, [""] * many)
    done = 0
    margin = [math.inf] * count
    for number, stage in enumerate(problem.settings.stages):
        if number:
            if problem.together is not None:
                problem = problem.together(_select(line, count, 1).hypotheses)
            line = _select(line, count, stage.keep)
        line = _with_moves(line, stage)
        for value in _descend(problem, line, stage):
            done += 1
            if progress is not None:
                progress(done, {k: float(v.detach().mean()) for k, v in value.terms.items()})
        rivals = _margins(line, count)
        margin = [
            new if math.isfinite(new) else old for new, old in zip(rivals, margin, strict=True)
        ]
    line = _select(line, count, 1)
    terms = {**line.terms, "total": line.total}
    return Fit(line.hypotheses, terms, line.history, line.stop_reason, margin)


def _descend(problem: Problem, line: _Line, stage: StageSettings) -> Iterator[LossValue]:
    """The chosen descent; afterwards `line` holds the best point each hypothesis passed."""
    objective = stage_objective(problem, stage, line.hypotheses)
    settings = problem.settings
    descent = choose_descent(settings.solver, problem.camera, settings.silhouette)
    best, best_total = line.hypotheses, torch.full((len(line.hypotheses),), math.inf)
    best_total = best_total.to(line.hypotheses.log_depth)
    best_terms: dict[str, Tensor] = {}
    totals: list[Tensor] = []
    for iterate in descent.run(objective, line.hypotheses, iterations_of(stage, descent)):
        value, total = iterate.value, iterate.value.total.detach()
        seen = torch.where(torch.isfinite(total), total, torch.full_like(total, math.inf))
        better = seen < best_total
        best = _where(better, iterate.hypotheses, best)
        for name, term in value.terms.items():
            best_terms[name] = torch.where(better, term, best_terms.get(name, term)).detach()
        best_total = torch.minimum(seen, best_total)
        totals.append(seen)
        _record(line, value)
        yield value
    # What follows is the same along a descent, so it needs no gradient: it weighs headings.
    if problem.facing is not None:
        nats = problem.facing.against(best, problem.camera, problem.boxes)
        best_terms["heading"] = nats
        best_total = best_total + settings.weights.heading * nats
    if settings.traffic is not None:
        against = against_traffic(best, problem.camera, problem.boxes, settings.traffic)
        best_terms["traffic"] = against * problem.vehicles[best.owner]
        best_total = best_total + settings.weights.traffic * best_terms["traffic"]
    line.hypotheses, line.total, line.terms = best, best_total, best_terms
    line.stop_reason = _stop_reasons(totals, problem.settings.tolerance)


def stage_objective(
    problem: Problem, stage: StageSettings, start: Hypotheses | None = None
) -> Objective:
    """What is minimised in a stage: the evidence at its size, the loss with or without parts.

    Args:
        start: where the stage starts; needed where a technique of the catalogue draws silhouettes.
    """
    crops, name = problem.crops(stage.size), problem.settings.silhouette
    silhouette = None
    if name is not None and start is not None:
        silhouette = CatalogueSilhouette.at(
            name, problem.prior, start, problem.camera, problem.boxes
        )
    return Objective(
        prior=problem.prior, camera=problem.camera, boxes=problem.boxes, windows=crops.camera,
        evidence=crops.evidence, reach=mask_reach(crops.evidence.mask),
        loss=problem.loss(stage.parts), parts=stage.parts, tilt=problem.settings.tilt,
        steps=problem.settings.steps, tolerance=problem.settings.tolerance, silhouette=silhouette,
    )  # fmt: skip


def _where(choice: Tensor, yes: Hypotheses, no: Hypotheses) -> Hypotheses:
    picked = {}
    for field in dataclasses.fields(yes):
        a, b = getattr(yes, field.name), getattr(no, field.name)
        mask = choice.reshape(-1, *([1] * (a.dim() - 1)))
        picked[field.name] = torch.where(mask, a, b).detach().clone()
    return Hypotheses(**picked)


def _record(line: _Line, value: LossValue) -> None:
    names = list(value.terms)
    rows = torch.stack([*value.terms.values(), value.total], dim=-1).tolist()
    for trace, row in zip(line.history, rows, strict=True):
        trace.append(dict(zip([*names, "total"], row, strict=True)))


def _select(line: _Line, count: int, keep: int) -> _Line:
    """The `keep` best hypotheses of every object whose yaws differ."""
    total, owner = line.total.tolist(), line.hypotheses.owner.tolist()
    yaw = line.hypotheses.angles[:, 0].tolist()
    picked: list[int] = []
    for index in range(count):
        mine = sorted((i for i, o in enumerate(owner) if o == index), key=lambda i: total[i])
        chosen: list[int] = []
        for i in mine:
            new = all(turn_between(yaw[i], yaw[j]) > _DISTINCT for j in chosen)
            if len(chosen) < keep and new:
                chosen.append(i)
        picked.extend(chosen)
    return _take(line, picked)


def _margins(line: _Line, count: int) -> list[float]:
    two = _select(line, count, 2)
    totals: list[list[float]] = [[] for _ in range(count)]
    for owner, total in zip(two.hypotheses.owner.tolist(), two.total.tolist(), strict=True):
        totals[owner].append(total)
    return [t[1] - t[0] if len(t) > 1 else math.inf for t in totals]


def _take(line: _Line, picked: list[int]) -> _Line:
    index = torch.tensor(picked, device=line.total.device)
    return _Line(
        line.hypotheses[index],
        [list(line.history[i]) for i in picked],
        line.total[index],
        {k: v[index] for k, v in line.terms.items()},
        [line.stop_reason[i] for i in picked],
    )


def _with_moves(line: _Line, stage: StageSettings) -> _Line:
    """The hypotheses, and what the stage's moves make of them."""
    moved, source = with_moves(line.hypotheses, stage.turns, stage.jumps, stage.swap)
    widened = _take(line, source)
    widened.hypotheses = moved
    return widened


def _stop_reasons(totals: list[Tensor], tolerance: float) -> list[str]:
    """Why each descent ended, from the losses at its start and after every iteration."""
    window = min(_WINDOW, len(totals) - 1)  # a short stage is judged by what it has
    last, reference = totals[-1], totals[-1 - window]
    reasons = []
    for now, then in zip(last.tolist(), reference.tolist(), strict=True):
        if not math.isfinite(now):
            reasons.append("diverged: the loss is not finite")
        elif window and then - now <= tolerance * max(abs(then), 1e-6):
            count = f"{window} iteration{'' if window == 1 else 's'}"
            reasons.append(f"converged: the loss fell by less than {tolerance:g} in {count}")
        else:
            reasons.append("iteration limit")
    return reasons
