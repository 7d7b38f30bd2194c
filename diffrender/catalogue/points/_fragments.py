"""Fragments: which primitive touches which pixel, and how they blend there.

In place of tiles or of K layers there is one flat list with an entry for each primitive at each
pixel that it touches, sorted by pixel and within a pixel by depth. Everything else is arithmetic
on that list.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.catalogue.scene import Rendering
from diffrender.errors import InputError

__all__ = ["Fragments", "blend_over", "list_fragments"]

_MOST_FRAGMENTS = 2**26


@dataclass(frozen=True)
class Fragments:
    """M entries, sorted by pixel, nearest first.

    Attributes:
        primitive: (M,) int64.
        pixel: (M,) int64, row times width plus column.
        size: of the image, (height, width).
    """

    primitive: Tensor  # (M,)
    pixel: Tensor  # (M,)
    size: tuple[int, int]

    def places(self, like: Tensor) -> Tensor:
        """(M, 2) the entries' pixel centres."""
        width = self.size[1]
        row = torch.div(self.pixel, width, rounding_mode="floor")
        return torch.stack([self.pixel - row * width, row], dim=-1).to(like) + 0.5

    def kept(self, mask: Tensor) -> Fragments:  # (M,)
        """The entries where the mask is set."""
        return Fragments(self.primitive[mask], self.pixel[mask], self.size)

    def first(self) -> Tensor:
        """(M,) index of the entry that is the nearest of the same pixel."""
        begins = torch.ones_like(self.pixel, dtype=torch.bool)
        begins[1:] = self.pixel[1:] != self.pixel[:-1]
        every = torch.arange(len(self.pixel), device=self.pixel.device)
        return torch.cummax(torch.where(begins, every, 0), dim=0).values if len(every) else every

    def layer(self) -> Tensor:
        """(M,) how many entries of the same pixel are nearer."""
        return torch.arange(len(self.pixel), device=self.pixel.device) - self.first()

    def sum(self, values: Tensor) -> Tensor:  # (M, C)
        """(P, C) sums over the entries of each pixel."""
        total = values.new_zeros(self.size[0] * self.size[1], values.shape[1])
        return total.index_add(0, self.pixel, values)

    def visible(self, alpha: Tensor) -> Tensor:  # (M,)
        """(M,) T_i = Π_{j nearer} (1 - α_j) in the entry's pixel, for α < 1. Differentiable.

        One running sum of logarithms over the whole list, less what came before the pixel; in
        double precision, since that sum grows long.
        """
        clear = torch.log1p(-alpha.double())
        before = clear.cumsum(0) - clear
        return torch.exp(before - before[self.first()]).to(alpha.dtype)


@torch.no_grad()
def list_fragments(
    pixels: Tensor,  # (N, 2)
    extent: Tensor,  # (N, 2)
    depth: Tensor,  # (N,)
    size: tuple[int, int],
    near: float,
) -> Fragments:
    """Every pixel whose centre lies in a primitive's box, for primitives beyond `near`.

    Args:
        pixels: (N, 2) middles of the boxes.
        extent: (N, 2) half their width and height, pixels; nothing is drawn where it is 0.
        depth: (N,) metres, by which they are sorted.
        size: of the image, (height, width).
        near: metres.

    Raises:
        InputError: the list would have more than 67 million entries.
    """
    height, width = size
    limit = pixels.new_tensor([width, height])
    drawn = (depth > near) & (extent > 0).all(1) & torch.isfinite(pixels + extent).all(1)
    shown = drawn.nonzero().squeeze(1)
    shown = shown[depth[shown].argsort(stable=True)]
    middle, half = pixels[shown], extent[shown]
    low = (middle - half - 0.5).ceil().clamp(min=0).minimum(limit).long()
    high = ((middle + half - 0.5).floor() + 1).clamp(min=0).minimum(limit).long()
    span = (high - low).clamp(min=0)
    count = span.prod(1)
    total = int(count.sum())
    if total > _MOST_FRAGMENTS:
        raise InputError(
            f"the primitives touch {total} pixels in all, at most {_MOST_FRAGMENTS} are blended: "
            "draw a smaller image, or fewer and smaller primitives"
        )
    owner = torch.arange(len(shown), device=shown.device).repeat_interleave(count)
    rank = torch.arange(total, device=shown.device) - (count.cumsum(0) - count)[owner]
    across = span[owner, 0]
    row = torch.div(rank, across, rounding_mode="floor")
    pixel = (low[owner, 1] + row) * width + low[owner, 0] + rank - row * across
    pixel, order = pixel.sort(stable=True)
    return Fragments(shown[owner[order]], pixel, size)


def blend_over(
    fragments: Fragments,
    weights: Tensor,  # (M,)
    colours: Tensor,  # (M, 3)
    depth: Tensor,  # (M,)
    background: Tensor,  # (3,)
) -> Rendering:
    """The picture of entries that count with `weights`; what is left of one is the background.

    Depth is the mean over what counts.
    """
    drawn = torch.cat([colours, depth[:, None], torch.ones_like(depth[:, None])], dim=1)
    sums = fragments.sum(weights[:, None] * drawn)
    silhouette = sums[:, 4]
    image = sums[:, :3] + (1 - silhouette)[:, None] * background
    some = silhouette > 1e-6
    mean = torch.where(some, sums[:, 3] / torch.where(some, silhouette, 1), 0)
    size = fragments.size
    return Rendering(image.view(*size, 3), silhouette.view(size), mean.view(size))
