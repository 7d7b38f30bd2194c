"""What every optimizer of hypotheses shares: the problem of one stage, and the answer step by step.

`Objective` is the problem, a `Descent` the method, an `Iterate` its answer after each iteration.
Methods are `Adam`, `LBFGS` and `LevenbergMarquardt`; `choose_descent` picks one by name.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor
from torch.nn.functional import max_pool2d

from diffrender.cameras import Camera
from diffrender.losses import Evidence, Loss, LossValue, Rendering
from diffrender.reconstruct.catalogue_silhouette import CatalogueSilhouette
from diffrender.reconstruct.drawing import draw
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.settings import StepSizes
from diffrender.reconstruct.tangents import draw_with_tangents, variables
from diffrender.shape_priors import ShapePrior

__all__ = ["Descent", "Iterate", "Linear", "Objective", "mask_reach"]

_REACH = 12  # pixels of the window, how far the distance from the outline is counted


@dataclass(frozen=True)
class Iterate:
    """Hypotheses and their loss, all of them, after one iteration."""

    hypotheses: Hypotheses
    value: LossValue


class Descent(Protocol):
    """A way down from many hypotheses at once, each on its own."""

    @property
    def share(self) -> float:
        """Iterations that it needs, as a share of Adam's."""
        ...

    def iterates(self, iterations: int) -> int:
        """How many an undisturbed `run` yields, at least one."""
        ...

    def run(self, objective: Objective, start: Hypotheses, iterations: int) -> Iterator[Iterate]:
        """The start first, then as it moves; may end early, once nothing does."""
        ...


@dataclass(frozen=True)
class Linear:
    """The loss at a point (N,), its gradient (N, K) and Gauss-Newton curvature (N, K, K)."""

    value: LossValue
    gradient: Tensor
    curvature: Tensor


@dataclass(frozen=True)
class Objective:
    """The loss of one stage as a function of hypotheses, or of their K variables.

    Attributes:
        prior: the shape prior. camera: of the whole image. boxes: (B, 4) the masks' boxes.
        windows: cameras of the B windows. evidence: of the B objects.
        reach: (B, H, W), see `mask_reach`.
        loss: what is summed. parts: whether it needs the parts drawn.
        tilt: pitch and roll are variables too. steps: what counts as one step of each variable.
        tolerance: relative fall of the loss that no longer counts.
        silhouette: draws the coverage instead of `draw`; None leaves it to that.
    """

    prior: ShapePrior
    camera: Camera
    boxes: Tensor
    windows: Camera
    evidence: Evidence
    reach: Tensor
    loss: Loss
    parts: bool
    tilt: bool
    steps: StepSizes
    tolerance: float
    silhouette: CatalogueSilhouette | None = None

    def value(self, hypotheses: Hypotheses) -> LossValue:
        """Differentiable to the hypotheses' fields."""
        drawn = draw(self.prior, hypotheses, self.camera, self.windows, self.boxes, self.parts)
        if self.silhouette is not None:
            pose = hypotheses.pose(self.camera, self.boxes)
            rotation, location, size = pose
            vertices = self.prior.place(hypotheses.latent, size, rotation, location)
            windows = self.windows[hypotheses.owner]
            coverage = self.silhouette.coverage(vertices, self.prior.faces, pose, windows)
            drawn = dataclasses.replace(drawn, coverage=coverage)
        return self.loss(drawn, self.evidence[hypotheses.owner])

    def linear(self, hypotheses: Hypotheses) -> Linear:
        """Value, gradient and curvature, by the analytic Jacobian of the drawing."""
        drawing = draw_with_tangents(
            self.prior, hypotheses, self.camera, self.windows, self.boxes, self.reach,
            with_parts=self.parts, tilt=self.tilt,
        )  # fmt: skip
        evidence = self.evidence[hypotheses.owner]
        names = ["coverage", "depth", "box", "location", "size", "latent"]
        names += ["parts"] if self.parts else []
        leaves = [getattr(drawing.rendering, n).detach().requires_grad_() for n in names]
        moved = dataclasses.replace(drawing.rendering, **dict(zip(names, leaves, strict=True)))
        with torch.enable_grad():
            value = self.loss(moved, evidence)
            total = value.total.sum()
            slopes = torch.autograd.grad(total, leaves, allow_unused=True)
        known = {
            n: torch.zeros_like(leaf) if s is None else s
            for n, leaf, s in zip(names, leaves, slopes, strict=True)
        }
        gradient = drawing.tangents.gradient(Rendering(**known))
        curvature = self.loss.curvature(drawing.rendering, evidence, drawing.tangents)
        terms = {n: t.detach() for n, t in value.terms.items()}
        return Linear(LossValue(value.total.detach(), terms), gradient, curvature)

    def pack(self, hypotheses: Hypotheses) -> Tensor:
        """The variables of every hypothesis, (N, K)."""
        columns = []
        for name, k in self._variables():
            field = getattr(hypotheses, name)
            columns.append(field if field.dim() == 1 else field[:, k])
        return torch.stack(columns, dim=1).detach()

    def unpack(self, values: Tensor, like: Hypotheses) -> Hypotheses:
        """Hypotheses with these variables; what is no variable stays as in `like`."""
        fields = {f.name: getattr(like, f.name).clone() for f in dataclasses.fields(like)}
        for column, (name, k) in enumerate(self._variables()):
            if fields[name].dim() == 1:
                fields[name] = values[:, column]
            else:
                fields[name][:, k] = values[:, column]
        return Hypotheses(**fields)

    def step_sizes(self) -> Tensor:
        """(K,) one step of every variable, in its own unit."""
        s = self.steps
        size = {"offset": s.offset, "log_depth": s.log_depth, "log_apparent": s.log_apparent}
        size["latent"] = s.latent
        rows = [
            (s.tilt if k else s.yaw) if name == "angles" else size[name]
            for name, k in self._variables()
        ]
        return torch.tensor(rows, dtype=self.boxes.dtype, device=self.boxes.device)

    def _variables(self) -> list[tuple[str, int]]:
        return variables(self.prior.latent_size, self.tilt)


def mask_reach(mask: Tensor) -> Tensor:  # (B, H, W)
    """Pixels from the outline of each mask (chessboard distance), from 0.5 up. (B, H, W)."""
    inside = (mask > 0.5).to(mask.dtype)[:, None]
    near, far = inside, 1 - inside
    steps = torch.full_like(mask, 0.5)
    for _ in range(_REACH):
        near, far = max_pool2d(near, 3, 1, 1), max_pool2d(far, 3, 1, 1)
        steps = steps + ((near * far)[:, 0] < 0.5)
    return steps
