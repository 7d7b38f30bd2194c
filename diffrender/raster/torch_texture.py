"""The readable twin of the native texture look-up, and the mip pyramid: plain torch."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["level_sizes", "mip_levels", "sample_texture"]


def level_sizes(height: int, width: int) -> list[tuple[int, int]]:
    """Sizes of the levels below the base: halves, rounded down, until one texel is left."""
    sizes = []
    while height > 1 or width > 1:
        height, width = max(1, height // 2), max(1, width // 2)
        sizes.append((height, width))
    return sizes


def _halve(texels: Tensor, dim: int) -> Tensor:
    """Box filter to half the size along `dim`; an odd size n = 2 m + 1 shares texels exactly.

    Output i covers [i n / m, (i + 1) n / m): all of texel 2 i + 1 and, of its two neighbours, the
    shares (m - i) / m and (i + 1) / m.
    """
    size = texels.shape[dim]
    if size == 1:
        return texels
    half = size // 2
    if size % 2 == 0:
        return texels.unflatten(dim, (half, 2)).mean(dim + 1)
    turned = texels.movedim(dim, 0)
    first, second, third = (turned[i : size - 1 + (i > 0) : 2].movedim(0, dim) for i in range(3))
    step = torch.arange(half, dtype=texels.dtype, device=texels.device)
    step = step.reshape(-1, *([1] * (texels.ndim - 1 - dim)))
    return ((half - step) * first + half * second + (step + 1) * third) / size


def mip_levels(texture: Tensor) -> Tensor:  # (T, h, w, C)
    """All levels below the base, one after the other. Shape (T, texels, C)."""
    levels, level = [], texture
    for _ in level_sizes(texture.shape[1], texture.shape[2]):
        level = _halve(_halve(level, 1), 2)
        levels.append(level.flatten(1, 2))
    return torch.cat(levels, 1) if levels else texture.new_zeros(len(texture), 0, texture.shape[-1])


def _place(coordinate: Tensor, size: int, repeat: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper texel and the share of the upper one."""
    u = coordinate.double()
    if repeat:
        u = u - torch.floor(u).detach()
    x = u * size - 0.5
    if repeat:
        x = torch.where(x < 0, x + size, x)
        low = x.detach().long().clamp(0, size - 1)
        return low, (low + 1) % size, x - low
    last = float(size - 1)
    low_end, high_end = x <= 0, x >= last
    x = torch.where(low_end, 0.0, torch.where(high_end, last, x))
    low = x.detach().long()
    return low, (low + 1).clamp_max(size - 1), x - low


def _bilinear(texels: Tensor, size: tuple[int, int], uv: Tensor, repeat: bool) -> Tensor:
    """Look-up in one level. Shapes: (T, h w, C), (T, N, 2) -> (T, N, C)."""
    x0, x1, f = _place(uv[..., 0], size[1], repeat)
    y0, y1, g = _place(uv[..., 1], size[0], repeat)
    row = torch.arange(len(texels), device=texels.device)[:, None]
    f, g = f[..., None].to(texels.dtype), g[..., None].to(texels.dtype)
    top = (1 - f) * texels[row, y0 * size[1] + x0] + f * texels[row, y0 * size[1] + x1]
    low = (1 - f) * texels[row, y1 * size[1] + x0] + f * texels[row, y1 * size[1] + x1]
    return (1 - g) * top + g * low


def sample_texture(
    texture: Tensor,  # (T, h, w, C)
    mips: Tensor,  # (T, texels of the smaller levels, C), empty without mip maps
    uv: Tensor,  # (T, N, 2)
    level: Tensor | None,  # (T, N)
    repeat: bool,
) -> Tensor:
    """Bilinear, or trilinear where there are levels. Shape (T, N, C)."""
    height, width = texture.shape[1:3]
    base = _bilinear(texture.flatten(1, 2), (height, width), uv, repeat)
    if level is None:
        return base
    sizes = level_sizes(height, width)
    level = level.clamp(0, len(sizes))
    whole = level.detach().long()
    share = (level - whole)[..., None]
    out = torch.where((whole == 0)[..., None], (1 - share) * base, 0.0)
    first = 0
    for k, size in enumerate(sizes, start=1):
        texels = mips[:, first : first + size[0] * size[1]]
        first += size[0] * size[1]
        here, below = (whole == k)[..., None], (whole == k - 1)[..., None]
        weight = torch.where(here, 1 - share, torch.where(below, share, 0.0))
        out = out + weight * _bilinear(texels, size, uv, repeat)
    return out
