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
from diffrender.reconstruct.crops import Crops
from diffrender.reconstruct.drawing import draw
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.settings import ReconstructSettings, StageSettings, StepSizes
from diffrender.shape_priors import ShapePrior

__all__ = ["Fit", "Problem", "Progress", "explore"]

Progress = Callable[[int, dict[str, float]], None]
_WINDOW = 10  # iterations over which convergence is judged
_DISTINCT = math.radians(20)  # yaws nearer than this are one hypothesis when a stage ends
_SAME = math.radians(10)  # and when it starts


@dataclass(frozen=True)
class Problem:
    """All that stays fixed while hypotheses are fitted.

    Attributes:
        prior: the shape prior, on the device of the run.
        camera: of the whole image.
        boxes: (B, 4) the masks' boxes, pixels of the image.
        crops: evidence at a window size (height, width).
        loss: the objective at a stage, with or without parts.
        settings: of the whole run.
    """

    prior: ShapePrior
    camera: Camera
    boxes: Tensor
    crops: Callable[[tuple[int, int]], Crops]
    loss: Callable[[bool], Loss]
    settings: ReconstructSettings


@dataclass(frozen=True)
class Fit:
    """The best hypothesis of every object and how it came about.

    Attributes:
        hypotheses: (B,) one per object, in order of the objects.
        terms: final unweighted terms and "total", (B,) each.
        history: per object, one dict of terms per iteration of its winning line.
        stop_reason: per object.
    """

    hypotheses: Hypotheses
    terms: dict[str, Tensor]
    history: list[list[dict[str, float]]]
    stop_reason: list[str]


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
    line = _Line(start, [[] for _ in range(len(start))], torch.zeros(len(start)), {}, [])
    done = 0
    for number, stage in enumerate(problem.settings.stages):
        if number:
            line = _with_turns(_select(line, count, stage.keep), stage.turns)
        for value in _descend(problem, line, stage):
            done += 1
            if progress is not None:
                progress(done, {k: float(v.detach().mean()) for k, v in value.terms.items()})
    line = _select(line, count, 1)
    terms = {**line.terms, "total": line.total}
    return Fit(line.hypotheses, terms, line.history, line.stop_reason)


def _descend(problem: Problem, line: _Line, stage: StageSettings) -> Iterator[LossValue]:
    """Adam on every hypothesis; afterwards `line` holds the best point each one passed."""
    crops, loss = problem.crops(stage.size), problem.loss(stage.parts)
    evidence = crops.evidence[line.hypotheses.owner]
    variables = _Variables(line.hypotheses, problem.settings)
    best, best_total = line.hypotheses, torch.full((len(line.hypotheses),), math.inf)
    best_total = best_total.to(line.hypotheses.log_depth)
    best_terms: dict[str, Tensor] = {}
    totals: list[Tensor] = []
    for iteration in range(stage.iterations):
        now = variables.hypotheses()
        rendering = draw(
            problem.prior, now, problem.camera, crops.camera, problem.boxes, stage.parts
        )
        value = loss(rendering, evidence)
        total = value.total
        variables.step(total, iteration / stage.iterations)
        with torch.no_grad():
            seen = torch.where(torch.isfinite(total), total, torch.full_like(total, math.inf))
            better = seen < best_total
            best = _where(better, now, best)
            for name, term in value.terms.items():
                best_terms[name] = torch.where(better, term, best_terms.get(name, term)).detach()
            best_total = torch.minimum(seen, best_total).detach()
            totals.append(seen.detach())
            _record(line, value)
        yield value
    line.hypotheses, line.total, line.terms = best, best_total, best_terms
    line.stop_reason = _stop_reasons(totals, problem.settings.tolerance)


class _Variables:
    """Adam with one step size per variable, one state per hypothesis."""

    def __init__(self, start: Hypotheses, settings: ReconstructSettings) -> None:
        steps: StepSizes = settings.steps
        self._owner = start.owner
        self._names = [f.name for f in dataclasses.fields(start) if f.name != "owner"]
        self._leaves = [getattr(start, n).detach().clone().requires_grad_() for n in self._names]
        tilt = steps.tilt if settings.tilt else 0.0
        angle = torch.tensor([steps.yaw, tilt, tilt]).to(start.angles)
        sizes: dict[str, float | Tensor] = {
            "offset": steps.offset, "log_depth": steps.log_depth, "angles": angle,
            "log_apparent": steps.log_apparent, "latent": steps.latent,
        }  # fmt: skip
        self._rates = [sizes[n] for n in self._names]
        self._first = [torch.zeros_like(v) for v in self._leaves]
        self._second = [torch.zeros_like(v) for v in self._leaves]
        self._count = 0

    def hypotheses(self) -> Hypotheses:
        return Hypotheses(self._owner, **dict(zip(self._names, self._leaves, strict=True)))

    def step(self, total: Tensor, share: float) -> None:
        gradients = torch.autograd.grad(total.sum(), self._leaves, allow_unused=True)
        self._count += 1
        slow = 0.5 * (1 + math.cos(math.pi * share)) * 0.95 + 0.05
        b1, b2 = 0.9, 0.99
        with torch.no_grad():
            for leaf, g, m, v, rate in zip(
                self._leaves, gradients, self._first, self._second, self._rates, strict=True
            ):
                if g is None:
                    continue
                g = torch.nan_to_num(g, nan=0.0, posinf=0.0, neginf=0.0)
                m.mul_(b1).add_(g, alpha=1 - b1)
                v.mul_(b2).addcmul_(g, g, value=1 - b2)
                ahead = m / (1 - b1**self._count)
                spread = torch.sqrt(v / (1 - b2**self._count)) + 1e-8
                leaf.sub_(slow * rate * ahead / spread)


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
            new = all(_turn(yaw[i], yaw[j]) > _DISTINCT for j in chosen)
            if len(chosen) < keep and new:
                chosen.append(i)
        picked.extend(chosen)
    return _take(line, picked)


def _turn(first: float, second: float) -> float:
    """Angle between two headings, 0 to pi."""
    return abs((first - second + math.pi) % (2 * math.pi) - math.pi)


def _take(line: _Line, picked: list[int]) -> _Line:
    index = torch.tensor(picked, device=line.total.device)
    return _Line(
        line.hypotheses[index],
        [list(line.history[i]) for i in picked],
        line.total[index],
        {k: v[index] for k, v in line.terms.items()},
        [line.stop_reason[i] for i in picked],
    )


def _with_turns(line: _Line, turns: tuple[float, ...]) -> _Line:
    """Every hypothesis, and each turned by `turns` (degrees) where no other one stands there."""
    owner = line.hypotheses.owner.tolist()
    yaws = line.hypotheses.angles[:, 0].tolist()
    source, angle = list(range(len(owner))), [0.0] * len(owner)
    taken = [(o, yaw) for o, yaw in zip(owner, yaws, strict=True)]
    for degrees in turns:
        for i in range(len(owner)):
            yaw = yaws[i] + math.radians(degrees)
            if all(o != owner[i] or _turn(yaw, other) > _SAME for o, other in taken):
                taken.append((owner[i], yaw))
                source.append(i)
                angle.append(math.radians(degrees))
    widened = _take(line, source)
    widened.hypotheses = widened.hypotheses.turned(torch.tensor(angle))
    return widened


def _stop_reasons(totals: list[Tensor], tolerance: float) -> list[str]:
    last = totals[-1]
    reference = totals[max(len(totals) - 1 - _WINDOW, 0)]
    reasons = []
    for now, then in zip(last.tolist(), reference.tolist(), strict=True):
        if not math.isfinite(now):
            reasons.append("diverged: the loss is not finite")
        elif then - now <= tolerance * max(abs(then), 1e-6):
            fell = f"the loss fell by less than {tolerance:g} in {_WINDOW} iterations"
            reasons.append(f"converged: {fell}")
        else:
            reasons.append("iteration limit")
    return reasons
