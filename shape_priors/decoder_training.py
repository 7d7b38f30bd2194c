"""Train a shape decoder with a linear encoder, its masks dynamic where it is block-sparse."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffrender._training import rising_share
from diffrender.blocksparse import GradientWatch, drop_and_grow, rigl_fraction
from diffrender.errors import InputError, check_shape
from diffrender.shape_priors.decoder import DecoderSettings, ShapeDecoder

__all__ = [
    "ShapeAutoencoder",
    "TrainingSettings",
    "mask_step",
    "standardise",
    "start_at_components",
    "train_autoencoder",
    "vertex_errors",
]


@dataclass(frozen=True)
class TrainingSettings:
    """How a decoder is trained.

    Attributes:
        steps: of Adam.
        batch: shapes a step, drawn with replacement.
        learning_rate: the highest; it rises over the first tenth and falls as a cosine.
        mask_interval: steps between changes of dynamic masks; they end at three quarters.
        drop_fraction: share of blocks that the first change replaces (see `rigl_fraction`).

    Raises:
        InputError: a number is out of range.
    """

    steps: int = 500
    batch: int = 128
    learning_rate: float = 1e-3
    mask_interval: int = 25
    drop_fraction: float = 0.3

    def __post_init__(self) -> None:
        for name in ("steps", "batch", "mask_interval"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if not self.learning_rate > 0:
            raise InputError(f"learning_rate is {self.learning_rate}, expected a positive number")
        if not 0 <= self.drop_fraction <= 1:
            raise InputError(f"drop_fraction is {self.drop_fraction}, expected 0 to 1")


class ShapeAutoencoder(nn.Module):
    """A linear encoder over vertices and a decoder; starts as principal components do.

    Attributes:
        encoder: from the free vertices' distance to the mean, flattened, to latents.
        decoder: from latents to vertices.
    """

    def __init__(self, encoder: nn.Linear, decoder: ShapeDecoder) -> None:
        super().__init__()
        self.encoder, self.decoder = encoder, decoder

    def encode(self, vertices: Tensor) -> Tensor:  # (..., V, 3)
        """Latents (..., D) of shapes in the unit box. Differentiable."""
        check_shape("vertices", vertices, "...", len(self.decoder.symmetry.source), 3)
        away = self.decoder.symmetry.free_vertices(vertices) - self.decoder.mean
        return self.encoder((away / self.decoder.spread).flatten(-2))

    def forward(self, vertices: Tensor) -> Tensor:  # (..., V, 3)
        """The shapes as the latents keep them, (..., V, 3) in the unit box."""
        return self.decoder(self.encode(vertices))


def train_autoencoder(
    shapes: Tensor,  # (N, V, 3)
    prior: tuple[Tensor, Tensor],  # (V, 3), (D, V, 3)
    mirror: Tensor,  # (V,)
    axis_weights: Tensor,  # (3,)
    settings: DecoderSettings,
    training: TrainingSettings,
    generator: torch.Generator,
) -> tuple[ShapeAutoencoder, list[float]]:
    """Fit encoder and decoder to shapes of one topology; the latents get unit variance.

    Args:
        shapes: (N, V, 3) symmetric, in the unit box.
        prior: mean (V, 3) and basis (D, V, 3) to start from, as `principal_components` finds them.
        mirror: (V,) the vertex on the other side of each.
        axis_weights: (3,) metres per unit along x, y, z; the loss is in square metres.
        settings: sizes; layers of mode "dynamic" drop and grow blocks as they learn.
        training: steps, rates.
        generator: of the weights, the first masks and the batches.

    Returns:
        The trained pair, and the loss of every step: mean square of coordinates' errors.

    Raises:
        InputError: shapes or prior do not fit, or the loss stops being finite.

    Source: drop and grow as in Evci et al., arXiv 1911.11134, section 3.
    """
    check_shape("shapes", shapes, None, None, 3)
    check_shape("axis_weights", axis_weights, 3)
    finite = torch.isfinite(shapes).flatten(1).all(1)
    if not bool(finite.all()):
        broken = int((~finite).nonzero()[0])
        raise InputError(f"shape {broken} holds coordinates that are not finite; leave it out")
    net = start_at_components(prior, mirror, axis_weights, settings, generator)
    optimizer = torch.optim.Adam(net.parameters(), training.learning_rate, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps + 1,
        pct_start=rising_share(training.steps + 1),
    )  # fmt: skip
    last_change = (3 * training.steps) // 4
    losses: list[float] = []
    for step in range(training.steps):
        batch = shapes[torch.randint(len(shapes), (training.batch,), generator=generator)]

        def loss_of(batch: Tensor = batch) -> Tensor:
            return ((net(batch) - batch) * axis_weights).square().mean()

        optimizer.zero_grad()
        if 0 < step <= last_change and step % training.mask_interval == 0:
            share = step, last_change, training.drop_fraction
            loss = mask_step(net.decoder, loss_of, share, optimizer)
        else:
            loss = loss_of()
            loss.backward()
        losses.append(float(loss.detach()))
        if not losses[-1] < float("inf"):
            raise InputError(f"the loss is {losses[-1]} at step {step}: lower learning_rate")
        optimizer.step()
        schedule.step()
    standardise(net, shapes)
    return net, losses


def vertex_errors(
    found: Tensor,  # (N, V, 3)
    shapes: Tensor,  # (N, V, 3)
    sizes: Tensor,  # (N, 3)
) -> tuple[Tensor, Tensor]:
    """Errors of each shape in metres, at its own size: vertex to vertex, and Chamfer.

    Args:
        found, shapes: (N, V, 3) in the unit box.
        sizes: (N, 3) length, width, height in metres.

    Returns:
        (N,) mean distance of a vertex from its place; (N,) mean distance of a vertex from the
        nearest vertex of the other mesh, averaged over both directions.
    """
    metric = sizes[:, None, [0, 2, 1]]
    found, shapes = found * metric, shapes * metric
    apart = torch.cdist(found, shapes, compute_mode="donot_use_mm_for_euclid_dist")
    chamfer = (apart.amin(1).mean(1) + apart.amin(2).mean(1)) / 2
    return (found - shapes).norm(dim=-1).mean(1), chamfer


def start_at_components(
    prior: tuple[Tensor, Tensor],
    mirror: Tensor,
    axis_weights: Tensor,
    settings: DecoderSettings,
    generator: torch.Generator,
) -> ShapeAutoencoder:
    """A pair that gives back what the components keep of a shape; `generator` draws weights."""
    mean, basis = prior
    # Layers draw from torch's global generator: lend it ours.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        decoder = ShapeDecoder(mean, basis, mirror, settings)
        encoder = nn.Linear(decoder.mean.numel(), len(basis))
    # The latents of least squared distance in metres; a vertex that has an image counts twice.
    symmetry = decoder.symmetry
    weights = (axis_weights.square() * (1 + symmetry.across[:, 2:])).sqrt().double().flatten()
    directions = symmetry.free_vertices(basis.double()).flatten(1) * weights
    inverse = torch.linalg.pinv(directions) * weights[:, None]  # (3 H, D)
    with torch.no_grad():
        encoder.weight.copy_(inverse.mT * decoder.spread)
        encoder.bias.zero_()
    return ShapeAutoencoder(encoder, decoder)


def mask_step(
    decoder: nn.Module,
    loss_of: Callable[[], Tensor],
    share: tuple[int, int, float],
    optimizer: torch.optim.Optimizer,
) -> Tensor:
    """One backward pass under watch; each dynamic layer then drops and grows blocks.

    `share` is what `rigl_fraction` takes: the step, the last one that changes masks, and the
    share of blocks that the first change replaces.
    """
    fraction = rigl_fraction(*share)
    with GradientWatch(decoder) as watch:
        loss = loss_of()
        loss.backward()
    for layer, gradient in watch.gradients.items():
        drop_and_grow(layer, gradient, fraction, optimizer)
    return loss


@torch.no_grad()
def standardise(net: ShapeAutoencoder, shapes: Tensor) -> tuple[Tensor, Tensor]:
    """Move scale and offset of the latents from the encoder into the decoder's first layers.

    Returns:
        Mean (D,) and deviation (D,) that the latents of the shapes had.
    """
    latents = net.encode(shapes)
    mean, deviation = latents.mean(0), latents.std(0).clamp(min=1e-6)
    first = net.decoder.network[0]
    assert isinstance(first, nn.Linear)
    for layer in (first, net.decoder.linear):
        layer.bias.add_(layer.weight @ mean)
        layer.weight.mul_(deviation)
    net.encoder.weight /= deviation[:, None]
    net.encoder.bias.copy_((net.encoder.bias - mean) / deviation)
    return mean, deviation
