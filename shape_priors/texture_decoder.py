"""A texture decoder: a small latent to an atlas's picture, left like right where asked."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffrender.blocksparse import SparsityConfig, linear
from diffrender.errors import InputError, check_shape
from diffrender.shape_priors.prior import ShapePrior
from diffrender.shape_priors.texture import texel_surface

__all__ = ["TextureDecoder", "TextureSettings", "mirrored_texels"]

_EDGE = 0.02  # colours are kept so far from black and white, where a logit has no end


@dataclass(frozen=True)
class TextureSettings:
    """Sizes of a texture decoder.

    Attributes:
        latent_size: number of texture latents.
        resolution: side of the atlas, texels.
        width, hidden: features and number of the hidden layers.
        sparsity: of the layers that read a hidden layer, or None for dense ones.

    Raises:
        InputError: a size is out of range, or the block size does not divide the width.
    """

    latent_size: int = 6
    resolution: int = 64
    width: int = 128
    hidden: int = 1
    sparsity: SparsityConfig | None = None

    def __post_init__(self) -> None:
        limits = {"latent_size": 64, "resolution": 512, "width": 8192, "hidden": 16}
        for name, most in limits.items():
            if not 1 <= getattr(self, name) <= most:
                raise InputError(f"{name} is {getattr(self, name)}, expected 1 to {most}")
        if self.sparsity is not None and any(self.width % b for b in self.sparsity.block_shape):
            raise InputError(
                f"width is {self.width}, expected a multiple of the block size "
                f"{self.sparsity.block_shape}"
            )


class TextureDecoder(nn.Module):
    """Latents to pictures of an atlas: a mean and directions, corrected by a network, squashed.

    Only texels that a surface covers are decoded, and of those that mirror each other only one.

    Attributes:
        settings: sizes of the network.
        linear, network: from latents to free texels; the network's last layer starts at zero.
    """

    source: Tensor  # (S, S) int64 into the free texels, plus one; 0 where the atlas is empty
    mean: Tensor  # (T, 3) logits of the free texels
    spread: Tensor  # () of the logits

    def __init__(self, source: Tensor, settings: TextureSettings | None = None) -> None:
        """Random weights, from torch's global generator.

        Args:
            source: (S, S) int64, as `mirrored_texels` finds it.

        Raises:
            InputError: `source` does not fit the settings.
        """
        super().__init__()
        self.settings = settings = settings or TextureSettings()
        side, free = settings.resolution, int(source.max()) if source.numel() else 0
        check_shape("source", source, side, side)
        if source.dtype != torch.int64 or free < 1 or int(source.min()) < 0:
            raise InputError("source must number free texels from 1, int64, with 0 for none")
        self.register_buffer("source", source.clone())
        self.register_buffer("mean", torch.zeros(free, 3))
        self.register_buffer("spread", torch.ones(()))
        self.linear = nn.Linear(settings.latent_size, 3 * free)
        width, sparsity = settings.width, settings.sparsity
        layers: list[nn.Module] = [nn.Linear(settings.latent_size, width), nn.SiLU()]
        for _ in range(settings.hidden - 1):
            layers += [linear(width, width, sparsity), nn.SiLU()]
        high = 1 if sparsity is None else sparsity.block_shape[0]
        layers.append(linear(width, -(-3 * free // high) * high, sparsity))  # whole blocks
        self.network = nn.Sequential(*layers)
        with torch.no_grad():
            for parameter in layers[-1].parameters():
                parameter.zero_()

    @property
    def latent_size(self) -> int:
        """Number of texture latents."""
        return self.settings.latent_size

    def forward(self, latent: Tensor) -> Tensor:  # (..., D)
        """Pictures (..., S, S, 3), sRGB in [0, 1], grey where the atlas is empty. Differentiable.

        Raises:
            InputError: the last dimension of `latent` is not D.
        """
        check_shape("latent", latent, "...", self.latent_size)
        moved = self.linear(latent) + self.network(latent)[..., : self.mean.numel()]
        texels = torch.sigmoid(self.mean + self.spread * moved.unflatten(-1, self.mean.shape))
        grey = torch.full_like(texels[..., :1, :], 0.5)
        return torch.cat([grey, texels], -2)[..., self.source, :]

    def logits(self, textures: Tensor) -> Tensor:  # (..., S, S, 3)
        """Logits (..., T, 3) of the free texels, each the mean of those it stands for."""
        kept = self.source.flatten()
        flat = textures.clamp(_EDGE, 1 - _EDGE).flatten(-3, -2)
        total = flat.new_zeros(*flat.shape[:-2], int(kept.max()) + 1, 3).index_add(-2, kept, flat)
        count = torch.bincount(kept, minlength=total.shape[-2]).to(flat)[:, None]
        return torch.logit((total / count.clamp(min=1))[..., 1:, :])


def mirrored_texels(prior: ShapePrior, mirror: Tensor | None, resolution: int) -> Tensor:
    """Number (S, S) of the free texel that each texel shows, from 1; 0 where the atlas is empty.

    Args:
        prior: with texture coordinates.
        mirror: (V,) the vertex on the other side of each: texels of the right half (z < 0) are
            free, the others show what lies across from them. None: every covered texel is free.

    Raises:
        InputError: the prior has no texture coordinates, or its faces do not mirror each other.
    """
    if prior.uv is None or prior.face_uv is None:
        raise InputError(f"the prior '{prior.name}' has no texture coordinates")
    face, bary = texel_surface(prior.uv, prior.face_uv, resolution)
    covered = face >= 0
    number = torch.zeros_like(face)
    if mirror is None:
        number[covered] = torch.arange(1, int(covered.sum()) + 1)
        return number
    faces, mirror = prior.faces.cpu(), mirror.cpu()
    keys = {tuple(sorted(corners)): i for i, corners in enumerate(faces.tolist())}
    images = [keys.get(tuple(sorted(corners)), -1) for corners in mirror[faces].tolist()]
    if min(images) < 0:
        raise InputError("the faces do not mirror each other: give mirror=None")
    across = torch.tensor(images)
    side = prior.mean.detach().cpu()[faces].mean(1)[:, 2]
    right = side <= 0
    own = covered & right[face.clamp(min=0)]
    number[own] = torch.arange(1, int(own.sum()) + 1)
    other = (covered & ~own).nonzero()
    where = face[other[:, 0], other[:, 1]]
    # The point across: same weights at the images of the corners, in the other face's order.
    corners = mirror[faces[where]]  # (T, 3)
    order = (faces[across[where]][:, :, None] == corners[:, None]).float().argmax(-1)
    weights = bary[other[:, 0], other[:, 1]].gather(1, order)
    uv = (prior.uv.cpu()[prior.face_uv.cpu()[across[where]]] * weights[..., None]).sum(1)
    column, row = (uv * resolution).floor().long().clamp(0, resolution - 1).unbind(-1)
    number[other[:, 0], other[:, 1]] = _nearest_number(number * own, row, column)
    return number


def _nearest_number(numbers: Tensor, row: Tensor, column: Tensor) -> Tensor:
    """Numbers at those places; where there is none, just beside a chart's edge, the nearest."""
    found = numbers[row, column]
    places = numbers.nonzero()
    lost = (found == 0).nonzero()[:, 0]
    for start in range(0, len(lost), 4096):
        some = lost[start : start + 4096]
        here = torch.stack([row[some], column[some]], -1)
        nearest = torch.cdist(here.float(), places.float()).argmin(1)
        found[some] = numbers[places[nearest, 0], places[nearest, 1]]
    return found
