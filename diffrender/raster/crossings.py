"""`find_crossings`: where outlines pass between pixel centres, and what they blend there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.native.operators import plain
from diffrender.raster._precision import full_precision
from diffrender.raster._topology import topology
from diffrender.raster.backends import choose_backend
from diffrender.raster.fragments import Fragments, check_images

__all__ = ["Crossings", "find_crossings"]


@dataclass(frozen=True, eq=False)
class Crossings:
    """All C blends of `antialias`: image[target] += alpha (image[inside] - image[outside]).

    Those along rows come first and are applied first, all at once; those along columns see their
    result. Pixels are indices into (B * H * W), vertices into the packed vertices. An edge crosses
    a line of pixel centres at v = (1 - along) v_start + along v_end + slope (...), and
    d alpha = sign ((1 - along) (dv_start - slope du_start) + along (dv_end - slope du_end)),
    where v is the coordinate along the line: x for rows, y for columns (`upright`).

    Attributes:
        image: (C,) int64, which image, ascending within rows and within columns.
        inside, outside: (C,) int64, the pixel that shows the surface and its neighbour.
        start, end: (C,) int64, the edge's vertices.
        along, slope, sign, alpha: (C,) as above.
        upright: (C,) bool, along columns.
        difference: (C, channels) `image[inside] - image[outside]` when the blend was made.
    """

    image: Tensor  # (C,)
    inside: Tensor  # (C,)
    outside: Tensor  # (C,)
    start: Tensor  # (C,)
    end: Tensor  # (C,)
    along: Tensor  # (C,)
    slope: Tensor  # (C,)
    sign: Tensor  # (C,)
    alpha: Tensor  # (C,)
    upright: Tensor  # (C,)
    difference: Tensor  # (C, channels)

    @property
    def target(self) -> Tensor:
        """(C,) int64, the pixel that each blend changes."""
        return torch.where(self.alpha > 0, self.outside, self.inside)

    def rates(self, pixels: Tensor) -> Tensor:  # (sum V, 2, K)
        """How fast every alpha changes with K variables, (C, K).

        Args:
            pixels: (sum V, 2, K) how fast the vertices' x and y in the image change, pixels.
        """
        v = self.upright.long()  # x along rows, y along columns
        start, end = 2 * self.start, 2 * self.end
        flat, slope = pixels.reshape(-1, pixels.shape[-1]), self.slope[:, None]
        moved_start = flat[start + v] - slope * flat[start + 1 - v]
        moved_end = flat[end + v] - slope * flat[end + 1 - v]
        moved = torch.lerp(moved_start, moved_end, self.along[:, None])
        return self.sign[:, None] * moved


@torch.no_grad()
def find_crossings(
    image: Tensor,  # (B, H, W, C)
    fragments: Fragments,
    *,
    backend: str | None = None,
) -> tuple[Tensor, Crossings]:
    """The antialiased image, as `antialias` gives it, and the list of blends behind it.

    Nothing here is differentiable: the list is for derivatives that are put together by hand, such
    as a Jacobian to a few variables (`Crossings.rates`), where backpropagation would need one pass
    for every pixel.

    Shapes: (B, H, W, C) -> (B, H, W, C); fragments of a batch of B meshes, one image each.

    Raises:
        InputError: image and fragments differ in shape or dtype.

    Source: the blends of Laine et al., Modular primitives for high-performance differentiable
    rendering, 2020, sec. 3.5, differentiated by hand.
    """
    expected = fragments.face.shape[:-1]
    if image.ndim != 4 or image.shape[:-1] != expected:
        raise InputError(
            f"image has shape {tuple(image.shape)}, expected (B, H, W, C) with (B, H, W) = "
            f"{tuple(expected)} as the fragments"
        )
    check_images(fragments)
    h = fragments.homogeneous.detach()
    if image.dtype != h.dtype:
        raise InputError(f"image is {image.dtype}, the fragments are {h.dtype}: convert one")
    table = topology(fragments.faces, fragments.vertex_offsets, fragments.face_offsets)
    depth = full_precision(fragments.depth.detach())
    if choose_backend(backend, image) == "native":
        from diffrender.raster._antialias_ops import _forward

        out, index, weight, difference, counts = _forward(
            plain(image),
            h,
            plain(fragments.face),
            plain(depth),
            fragments.vertex_offsets,
            *table.tensors(),
            True,
        )
        return out, _from_native(index, weight, difference, counts, fragments)
    from diffrender.raster import torch_antialias

    found: list[Crossings] = []
    out = torch_antialias.antialias(
        image, h, fragments.face[..., 0], depth[..., 0], fragments.vertex_offsets, table, found
    )
    fields = Crossings.__dataclass_fields__
    joined = {name: torch.cat([getattr(part, name) for part in found]) for name in fields}
    return out, Crossings(**joined)


def _from_native(
    index: Tensor,  # (C, 4)
    weight: Tensor,  # (C, 4)
    difference: Tensor,  # (C, channels)
    counts: Tensor,  # (B, 2)
    fragments: Fragments,
) -> Crossings:
    """The kernel's list is image by image and local to each; ours is rows first and packed."""
    count = len(counts)
    per = counts.flatten()
    upright = torch.repeat_interleave(torch.tensor([0, 1]).repeat(count), per)
    image = torch.repeat_interleave(torch.arange(count).repeat_interleave(2), per)
    order = torch.sort(upright, stable=True).indices
    image, index, weight = image[order], index[order].long(), weight[order].to(difference.dtype)
    pixels = math.prod(fragments.face.shape[-3:-1])
    inside, outside, start, end = index.unbind(-1)
    along, slope, sign, alpha = weight.unbind(-1)
    vertex = fragments.vertex_offsets[image]
    return Crossings(
        image=image,
        inside=inside + image * pixels,
        outside=outside + image * pixels,
        start=start + vertex,
        end=end + vertex,
        along=along,
        slope=slope,
        sign=sign,
        alpha=alpha,
        upright=upright[order].bool(),
        difference=difference[order],
    )
