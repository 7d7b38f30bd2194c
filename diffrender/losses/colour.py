"""sRGB to CIELAB, in which equal distances look about equally different."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["srgb_to_lab"]

# Linear sRGB to XYZ over the white of D65 (IEC 61966-2-1).
_TO_XYZ = (
    (0.4124 / 0.9505, 0.3576 / 0.9505, 0.1805 / 0.9505),
    (0.2126, 0.7152, 0.0722),
    (0.0193 / 1.0890, 0.1192 / 1.0890, 0.9505 / 1.0890),
)


def srgb_to_lab(colour: Tensor) -> Tensor:  # (..., 3)
    """CIELAB over 100: lightness in [0, 1], a and b about in [-1, 1].

    Shapes: (..., 3) sRGB in [0, 1] -> (..., 3). Differentiable.

    Source: CIE 15:2004, sec. 8.2.1, with the white point D65.
    """
    linear = torch.where(
        colour <= 0.04045, colour / 12.92, ((colour.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
    )
    xyz = linear @ torch.tensor(_TO_XYZ).to(colour).mT
    edge = (6 / 29) ** 3
    f = torch.where(xyz > edge, xyz.clamp(min=edge) ** (1 / 3), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = f.unbind(-1)
    return torch.stack([1.16 * y - 0.16, 5 * (x - y), 2 * (y - z)], dim=-1)
