"""RoIAlign: feature maps resampled over boxes, in a few lines of grid_sample."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample

from diffrender.errors import InputError, check_shape

__all__ = ["roi_align"]


def roi_align(
    features: Tensor,  # (N, C, H, W)
    boxes: Tensor,  # (N, 4)
    size: tuple[int, int],
    scale: float = 1.0,
    samples: int = 2,
) -> Tensor:
    """Mean of `samples` x `samples` bilinear look-ups in each cell of a grid over a box.

    Args:
        features: one map per box.
        boxes: left, top, right, bottom in pixels of the image, corner based.
        size: (height, width) of the grid.
        scale: pixels of the map per pixel of the image, 1/16 at stride 16.
        samples: look-ups per side of a cell.

    Returns:
        (N, C, height, width). Differentiable to features and boxes. As torchvision's in plain
        torch with `aligned=True`: look-ups outside the map take its border.

    Raises:
        InputError: shapes that do not fit, or a grid without cells.
    Source: He et al., "Mask R-CNN", ICCV 2017, section 3.
    """
    check_shape("features", features, None, None, None, None)
    check_shape("boxes", boxes, len(features), 4)
    if min(*size, samples) < 1:
        raise InputError(f"size is {size} and samples {samples}, expected at least 1 of each")
    height, width = features.shape[-2:]
    left, top, right, bottom = (boxes * scale).to(features).unbind(-1)
    x = _positions(left, right, size[1] * samples)  # (N, w)
    y = _positions(top, bottom, size[0] * samples)  # (N, h)
    grid = torch.stack(
        [
            (2 * x / width - 1)[:, None].expand(-1, y.shape[1], -1),
            (2 * y / height - 1)[:, :, None].expand(-1, -1, x.shape[1]),
        ],
        dim=-1,
    )
    fine = grid_sample(features, grid, padding_mode="border", align_corners=False)
    return avg_pool2d(fine, samples)


def _positions(low: Tensor, high: Tensor, count: int) -> Tensor:
    """Middles of `count` equal shares of each interval, (N, count)."""
    share = (torch.arange(count, device=low.device, dtype=low.dtype) + 0.5) / count
    return low[:, None] + share * (high - low)[:, None]
