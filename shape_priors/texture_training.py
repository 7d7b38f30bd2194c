"""Train a texture decoder, and find the latent of a texture of which only a part is seen."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender._training import rising_share
from diffrender.errors import InputError, check_shape
from diffrender.shape_priors.texture_decoder import TextureDecoder, TextureSettings

__all__ = ["TextureTraining", "complete_texture", "fit_texture", "train_texture_decoder"]


@dataclass(frozen=True)
class TextureTraining:
    """How a texture decoder is trained: steps of Adam, textures a step, highest learning rate."""

    steps: int = 400
    batch: int = 32
    learning_rate: float = 2e-3

    def __post_init__(self) -> None:
        if self.steps < 1 or self.batch < 1 or not self.learning_rate > 0:
            raise InputError(f"{self}: expected positive numbers")


def train_texture_decoder(
    textures: Tensor,  # (N, S, S, 3)
    source: Tensor,  # (S, S)
    settings: TextureSettings,
    training: TextureTraining,
    generator: torch.Generator,
) -> tuple[TextureDecoder, list[float]]:
    """Fit a decoder to textures of one atlas; their latents have unit variance.

    It starts as the principal components of the logits, whose scores are the latents; latents and
    decoder are then trained together (no encoder: `fit_texture` finds the latents of others).

    Args:
        textures: (N, S, S, 3) sRGB in [0, 1].
        source: (S, S) from `mirrored_texels`; texels that stand for two are averaged.
        settings: sizes; `resolution` is S.
        training: steps, batch, learning rate.
        generator: of weights and batches.

    Returns:
        The decoder without gradients, and the mean squared error of a colour at every step.

    Raises:
        InputError: the shapes do not fit, or there are too few textures for the latents.
    """
    side, latents = settings.resolution, settings.latent_size
    check_shape("textures", textures, None, side, side, 3)
    if len(textures) <= latents:
        raise InputError(
            f"{len(textures)} textures cannot give {latents} latents, expected {latents + 1}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
        decoder = TextureDecoder(source, settings)
    logits = decoder.logits(textures.float())
    codes = _start(decoder, logits).requires_grad_()
    aims = torch.sigmoid(logits)
    optimizer = torch.optim.Adam([*decoder.parameters(), codes], training.learning_rate)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, training.learning_rate, total_steps=training.steps + 1,
        pct_start=rising_share(training.steps + 1),
    )  # fmt: skip
    losses: list[float] = []
    for step in range(training.steps):
        pick = torch.randint(len(textures), (training.batch,), generator=generator)
        found = decoder(codes[pick]).flatten(-3, -2)[..., _first(source), :]
        loss = (found - aims[pick]).square().mean()
        optimizer.zero_grad()
        (loss + 1e-4 * codes[pick].square().mean()).backward()
        losses.append(float(loss.detach()))
        if not losses[-1] < float("inf"):
            raise InputError(f"the loss is {losses[-1]} at step {step}: lower learning_rate")
        optimizer.step()
        schedule.step()
    _standardise(decoder, codes.detach())
    return decoder.requires_grad_(False).eval(), losses


def fit_texture(
    decoder: TextureDecoder,
    texture: Tensor,  # (S, S, 3)
    known: Tensor,  # (S, S)
    iterations: int = 60,
) -> Tensor:
    """Latent (D,) whose picture is nearest to the known texels, weakly pulled to the mean.

    Raises:
        InputError: the shapes do not fit, or nothing is known.
    """
    side = decoder.settings.resolution
    check_shape("texture", texture, side, side, 3)
    check_shape("known", known, side, side)
    known = known & (decoder.source > 0)
    if not bool(known.any()):
        raise InputError("no texel of the surface is known")
    with torch.inference_mode(False), torch.enable_grad():
        return _nearest(decoder, texture.detach().clone(), known.clone(), iterations)


def _nearest(decoder: TextureDecoder, texture: Tensor, known: Tensor, iterations: int) -> Tensor:
    latent = decoder.mean.new_zeros(decoder.latent_size).requires_grad_()
    optimizer = torch.optim.LBFGS([latent], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimizer.zero_grad()
        away = (decoder(latent) - texture)[known].square().mean()
        loss = away + 1e-4 * latent.square().mean()
        loss.backward()
        return loss

    optimizer.step(closure)  # type: ignore[arg-type]
    return latent.detach()


def complete_texture(decoder: TextureDecoder, texture: Tensor, known: Tensor) -> Tensor:
    """A texture (S, S, 3) with its unknown texels as the nearest decoded one has them.

    Raises:
        InputError: as `fit_texture`.
    """
    with torch.no_grad():
        whole = decoder(fit_texture(decoder, texture, known))
    return torch.where(known[..., None], texture, whole)


def _first(source: Tensor) -> Tensor:
    """Place of one texel for each free one, in their order."""
    kept = source.flatten()
    order = torch.argsort(kept, stable=True)
    numbers, counts = kept[order].unique_consecutive(return_counts=True)
    first = order[torch.cumsum(counts, 0) - counts]
    return first[numbers > 0]


@torch.no_grad()
def _start(decoder: TextureDecoder, logits: Tensor) -> Tensor:  # (N, T, 3)
    """Put the components into the decoder; returns the scores (N, D) of unit variance."""
    decoder.mean.copy_(logits.mean(0))
    away = (logits - decoder.mean).flatten(1)
    decoder.spread.copy_(away.std().clamp(min=1e-3))
    _, singular, directions = torch.linalg.svd(away, full_matrices=False)
    kept = decoder.latent_size
    deviation = singular[:kept] / (len(logits) - 1) ** 0.5
    decoder.linear.weight.copy_((directions[:kept] * deviation[:, None]).mT / decoder.spread)
    decoder.linear.bias.zero_()
    return away @ directions[:kept].mT / deviation.clamp(min=1e-6)


@torch.no_grad()
def _standardise(decoder: TextureDecoder, codes: Tensor) -> None:
    """Give the latents of the set zero mean and unit variance, by the decoder's first layers."""
    mean, deviation = codes.mean(0), codes.std(0).clamp(min=1e-6)
    first = decoder.network[0]
    for layer in (first, decoder.linear):
        assert isinstance(layer, torch.nn.Linear)
        layer.bias.add_(layer.weight @ mean)
        layer.weight.mul_(deviation)
