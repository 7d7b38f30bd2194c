"""The rendering objective over several hypotheses: the best one learns, a student learns which.

Draw all hypotheses of an object, compare each with the evidence, and let the gradient through the
best alone (the hindsight loss of multiple choice learning). A student is taught which one won, and
decides where nothing can be drawn first. Insafutdinov & Dosovitskiy, NeurIPS 2018, section 3.3, use
the same for point clouds, MonoDR (ECCV 2020) for cars. No label is an argument of anything here.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, log_softmax, softmax

from diffrender.errors import InputError
from diffrender.losses import Evidence, Loss, Rendering
from diffrender.predict.decode import Prediction
from diffrender.predict.samples import Samples
from diffrender.reconstruct.drawing import draw
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.palette import part_colour
from diffrender.shape_priors import ShapePrior

__all__ = ["Hindsight", "HindsightSettings", "all_losses", "hindsight"]

_COLOUR_NOISE = 0.1


@dataclass(frozen=True)
class HindsightSettings:
    """Attributes:
    belief: how much of the student's log probability counts when the winner is chosen: 0 is the
        plain best of K, 1 the most probable one where the objective is a log likelihood.
    temperature: of the objective's values when the student is told which hypothesis is good.
    soft: value at which the objective turns from linear to logarithmic, so that the few objects
        that cannot be explained do not outweigh the others.
    student, colour, trust: weights beside the objective.
    """

    belief: float = 1.0
    temperature: float = 2.0
    soft: float = 20.0
    student: float = 2.0
    colour: float = 2.0
    trust: float = 1.0

    def __post_init__(self) -> None:
        for name in ("belief", "student", "colour", "trust"):
            if not getattr(self, name) >= 0:
                raise InputError(
                    f"HindsightSettings.{name} is {getattr(self, name)}, expected >= 0"
                )
        for name in ("temperature", "soft"):
            if not getattr(self, name) > 0:
                raise InputError(f"HindsightSettings.{name} is {getattr(self, name)}, expected > 0")


@dataclass(frozen=True)
class Hindsight:
    """Attributes:
    total: scalar to descend.
    terms: unweighted means over the objects, for the log.
    winner: (B,) which hypothesis learned.
    losses: (B, K) objective of every hypothesis at half resolution.
    """

    total: Tensor
    terms: dict[str, Tensor]
    winner: Tensor
    losses: Tensor


def hindsight(
    prior: ShapePrior,
    samples: Samples,
    prediction: Prediction,
    loss: Loss,
    settings: HindsightSettings | None = None,
) -> Hindsight:
    """The training loss of B predicted objects.

    All hypotheses are drawn at half the windows' resolution without gradients, the winner at the
    full one with gradients. `loss` is an `objective` with its photometric term. Differentiable to
    the winner's pose, size and shape, all beliefs, colours and trusts.
    """
    settings = settings or HindsightSettings()
    losses = all_losses(prior, samples.halved(), prediction.hypotheses, loss)
    log_belief = log_softmax(prediction.belief, dim=1)
    winner = (losses - settings.belief * log_belief.detach()).argmin(dim=1)
    index = torch.arange(len(winner), device=winner.device)
    chosen = prediction.hypotheses[index * losses.shape[1] + winner]
    chosen = dataclasses.replace(chosen, owner=index)
    e = samples.evidence
    rendering = draw(prior, chosen, samples.windows, samples.windows, e.box, with_parts=True)
    value = loss(rendering, e)
    explained = settings.soft * torch.log1p(value.total.clamp(min=0) / settings.soft)

    lesson = softmax(-losses / settings.temperature, dim=1)
    student = -(lesson * log_belief).sum(1)
    colour = _colour_loss(rendering, e, prediction.colours, prior.part_names)
    agreement = (1 - value.terms["silhouette"]).detach().clamp(0, 1)
    trust = binary_cross_entropy_with_logits(prediction.trust, agreement, reduction="none")
    each = (
        explained + settings.student * student + settings.colour * colour + settings.trust * trust
    )
    picked = prediction.belief.argmax(1)
    terms = {name: term.detach().mean() for name, term in value.terms.items()}
    terms |= {
        "objective": value.total.detach().mean(),
        "student": student.detach().mean(),
        "colour": colour.detach().mean(),
        "trust": trust.detach().mean(),
        "agreed": (picked == losses.argmin(1)).to(colour).mean(),
    }
    return Hindsight(each.mean(), terms, winner, losses)


@torch.no_grad()
def all_losses(prior: ShapePrior, samples: Samples, hypotheses: Hypotheses, loss: Loss) -> Tensor:
    """(B, K) objective of B x K hypotheses, those of an object side by side; no gradients."""
    windows, box = samples.windows, samples.evidence.box
    rendering = draw(prior, hypotheses, windows, windows, box, with_parts=True)
    total = loss(rendering, samples.evidence[hypotheses.owner]).total
    total = torch.where(torch.isfinite(total), total, torch.full_like(total, 1e6))
    return total.unflatten(0, (len(samples), -1))


def _colour_loss(
    rendering: Rendering, evidence: Evidence, colours: Tensor, names: tuple[str, ...]
) -> Tensor:
    """How far predicted part colours are from the picture where the parts are drawn, (B,).

    The drawn parts are held constant: a wrong colour says nothing about the pose. What is not
    seen keeps to the colours that parts usually have.
    """
    assert rendering.parts is not None
    parts = rendering.parts.detach().flatten(1, 2)  # (B, N, P)
    weight = (evidence.mask * evidence.care * rendering.coverage.detach()).flatten(1)
    share = weight / weight.sum(1, keepdim=True).clamp(min=1)
    off = (parts @ colours - evidence.image.flatten(1, 2)) ** 2
    seen = (share * off.sum(-1)).sum(1)
    usual = [part_colour(name) for name in names]
    mean = colours.new_tensor([c.mean for c in usual])
    spread = colours.new_tensor([c.spread for c in usual])
    away = (((colours - mean) / spread[:, None]) ** 2).mean((-2, -1))
    return torch.log1p(seen / _COLOUR_NOISE**2) + 0.02 * away
