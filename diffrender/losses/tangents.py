"""How a rendering moves with a few variables: the Jacobian that second-order methods need.

A loss L(R(x)) of a rendering R has gradient J^T dL/dR and, near its minimum, a curvature that is
well described by J^T D J with D the positive curvature of the loss in R alone (generalised
Gauss-Newton; Schraudolph, Fast curvature matrix-vector products, 2002). `Tangents` is that J;
terms that have a `curvature` method bring their share of J^T D J.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.losses.records import Rendering

__all__ = ["Outline", "Tangents"]


@dataclass(frozen=True, eq=False)
class Outline:
    """Motion of the outline: blends of a drawn pixel with its neighbour (`raster.Crossings`).

    Attributes:
        image: (C,) int64, which of the B images.
        target, inside, outside: (C,) int64 pixels in (B * H * W): `image[target] +=
            alpha (image[inside] - image[outside])`, those along rows before those along columns.
        alpha: (C,) share that was blended.
        rate: (C, K) d alpha / d variables.
        difference: (C, channels) what was blended; channel 0 is coverage, then the parts.
        columns: (C,) bool, blends along columns, which see the result of those along rows.
    """

    image: Tensor  # (C,)
    target: Tensor  # (C,)
    inside: Tensor  # (C,)
    outside: Tensor  # (C,)
    alpha: Tensor  # (C,)
    rate: Tensor  # (C, K)
    difference: Tensor  # (C, channels)
    columns: Tensor  # (C,)

    def push(self, pixels: int) -> Tensor:
        """J of the blended image: (pixels, channels, K) with pixels = B * H * W."""
        moved = self.rate.new_zeros(pixels, self.difference.shape[1], self.rate.shape[1])
        own = self.difference[:, :, None] * self.rate[:, None]
        rows, columns = ~self.columns, self.columns
        moved.index_add_(0, self.target[rows], own[rows])
        change = moved[self.inside[columns]] - moved[self.outside[columns]]
        through = self.alpha[columns, None, None] * change
        return moved.index_add_(0, self.target[columns], own[columns] + through)

    def pull(self, gradient: Tensor, images: int) -> Tensor:  # (pixels, channels)
        """J^T: the gradient to the variables, (images, K), of a gradient to the blended image."""
        columns = self.columns
        earlier = gradient.clone()
        back = self.alpha[columns, None] * gradient[self.target[columns]]
        earlier.index_add_(0, self.inside[columns], back)
        earlier.index_add_(0, self.outside[columns], -back)
        seen = torch.where(columns[:, None], gradient[self.target], earlier[self.target])
        rows = (seen * self.difference).sum(-1, keepdim=True) * self.rate
        return rows.new_zeros(images, rows.shape[1]).index_add_(0, self.image, rows)

    def normal(self, rows: Tensor, images: int) -> Tensor:  # (C, ..., K)
        """Sum of the outer products of every image's rows, (images, K, K)."""
        per = rows[0].numel() // rows.shape[-1] if len(rows) else 1
        flat = rows.reshape(-1, rows.shape[-1])
        owner = self.image.repeat_interleave(per)
        count = torch.bincount(owner, minlength=images)
        order = torch.argsort(owner, stable=True)
        place = torch.arange(len(owner), device=owner.device)
        place = place - (count.cumsum(0) - count)[owner[order]]
        longest = int(count.max()) if len(owner) else 0
        padded = flat.new_zeros(images, longest, flat.shape[1])
        padded[owner[order], place] = flat[order]
        return padded.mT @ padded


@dataclass(frozen=True, eq=False)
class Tangents:
    """J of a `Rendering` of B objects to K variables each.

    Attributes:
        outline: of coverage and parts.
        depth: (B, K, H, W) inside the surface: the pixel stays, the surface moves.
        box: (B, 4, K). location: (B, 3, K). size: (B, 3, K). latent: (B, D, K).
        reach: (B, H, W) pixels from the outline of the mask, at least 0.5: how far an outline that
            passes here has to go.
    """

    outline: Outline
    depth: Tensor  # (B, K, H, W)
    box: Tensor  # (B, 4, K)
    location: Tensor  # (B, 3, K)
    size: Tensor  # (B, 3, K)
    latent: Tensor  # (B, D, K)
    reach: Tensor  # (B, H, W)

    def gradient(self, to: Rendering) -> Tensor:
        """J^T g for a gradient to the rendering, (B, K). A missing `parts` counts as zero."""
        count = len(to.box)
        image = to.coverage.reshape(-1, 1)
        if to.parts is not None:
            image = torch.cat([image, to.parts.reshape(len(image), -1)], dim=-1)
        outline = self.outline
        if image.shape[1] != outline.difference.shape[1]:
            used = outline.difference[:, : image.shape[1]]
            outline = dataclasses.replace(outline, difference=used)
        total = outline.pull(image, count)
        total = total + (self.depth.flatten(2) @ to.depth.flatten(1)[..., None])[..., 0]
        for name in ("box", "location", "size", "latent"):
            total = total + (getattr(to, name)[:, None] @ getattr(self, name))[:, 0]
        return total
