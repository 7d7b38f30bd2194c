"""Which objects a step learns from and how they are altered: from (seed, step) alone.

So a run that goes on from a checkpoint sees what it would have seen, without any stored state.
"""

from __future__ import annotations

import dataclasses

import torch
from torch import Tensor

from diffrender._seeds import stream
from diffrender._training import epoch_places
from diffrender.predict.samples import Samples

__all__ = ["altered", "indices_of"]


def indices_of(count: int, batch: int, step: int, seed: int) -> Tensor:
    """(batch,) positions of a step: every epoch is a new permutation, run through without gaps."""
    return epoch_places(count, batch, step, lambda epoch: stream(seed, 2 * epoch))


def altered(samples: Samples, step: int, seed: int) -> tuple[Samples, Samples]:
    """The batch of a step as the loss compares it, and as the network sees it.

    Half of the objects are mirrored and the class's mean size is moved by 3 %, for both: neither
    has a label that would have to follow. Colours change in what the network sees.
    """
    draw = stream(seed, 2 * step + 1)
    count = len(samples)
    flip = torch.rand(count, generator=draw) < 0.5
    mean = samples.evidence.size_mean * torch.exp(0.03 * torch.randn(count, 3, generator=draw))
    gain = 1 + 0.15 * torch.randn(count, 1, 1, 3, generator=draw).clamp(-2, 2)
    shift = 0.08 * torch.randn(count, 1, 1, 1, generator=draw)
    noise = 0.03 * torch.randn(samples.evidence.image.shape, generator=draw)
    plain = dataclasses.replace(
        samples, evidence=dataclasses.replace(samples.evidence, size_mean=mean)
    ).mirrored(flip)
    image = (plain.evidence.image * gain + shift + noise).clamp(0, 1)
    seen = dataclasses.replace(plain, evidence=dataclasses.replace(plain.evidence, image=image))
    return plain, seen
