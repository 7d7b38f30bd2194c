"""Ellipses on the screen, blended from front to back: the last step of splatting Gaussians."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.catalogue.points._fragments import blend_over, list_fragments
from diffrender.catalogue.points._splats import NEAR, inverse_form, reach
from diffrender.catalogue.scene import Rendering

__all__ = ["LEAST", "MOST", "NEAR", "blend_ellipses", "soft_end"]

LEAST, MOST = 1 / 255, 0.99  # opacities that are not drawn, and that none exceeds


def soft_end(alpha: Tensor) -> Tensor:
    """Opacity at most MOST, less what is not drawn, so that a Gaussian ends without a jump."""
    return (alpha.clamp(max=MOST) - LEAST).clamp(min=0)


def blend_ellipses(
    projected: tuple[Tensor, Tensor, Tensor],  # (N, 2), (N,), (N, 2, 2)
    opacities: Tensor,  # (N,)
    colours: Tensor,  # (N, 3)
    background: Tensor,  # (3,)
    size: tuple[int, int],
) -> Rendering:
    """The picture of Gaussians on the screen; its depth is the blended depth of the centres.

    Args:
        projected: pixels and depth of the centres, and covariances in px².
        opacities: at the centres.
        colours: linear RGB.
        background: linear RGB.
        size: of the image, (height, width).
    """
    pixels, depth, covariance = projected
    deviation = covariance.diagonal(dim1=-2, dim2=-1).sqrt()
    extent = reach(opacities, LEAST)[:, None] * deviation
    touched = list_fragments(pixels, extent, depth, size, NEAR)
    own = touched.primitive
    offset = touched.places(pixels) - pixels[own]
    fall = torch.exp(-0.5 * inverse_form(covariance[own], offset))
    alpha = soft_end(opacities[own] * fall)
    weights = alpha * touched.visible(alpha)
    return blend_over(touched, weights, colours[own], depth[own], background)
