"""Ray consistency as a loss: the expected cost of where a ray stops, against an observation."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.catalogue.scene import Rendering
from diffrender.catalogue.voxels._rays import RaySamples, stop_chances
from diffrender.errors import InputError

__all__ = ["consistency", "expected_cost"]


def consistency(met: RaySamples, seen: Rendering) -> Tensor:
    """Mean over the rays of the expected cost of what was observed along them: scalar.

    Stopping costs 1 where the silhouette is empty, escaping costs 1 where it is full, as
    differences in between. Where depth is known, stopping costs its distance to that depth instead
    of nothing, in metres, and at most one.

    Args:
        met: P = H W rays, row by row.
        seen: silhouette (H, W) and depth (H, W), 0 where unknown; its image is not used.

    Raises:
        InputError: the observation has another number of pixels.
    """
    silhouette, depth = seen.silhouette.reshape(-1, 1), seen.depth.reshape(-1, 1)
    if len(silhouette) != len(met.depth):
        raise InputError(
            f"the observation has {len(silhouette)} pixels, the camera {len(met.depth)}: "
            "resize one of them"
        )
    off = (met.depth - depth).abs().clamp(max=1)
    stopping = 1 - silhouette + torch.where(depth > 0, silhouette * off, 0)
    costs = torch.cat([stopping.expand_as(met.depth), silhouette], dim=1)
    return expected_cost(stop_chances(met.occupancy), costs).mean()


def expected_cost(chances: Tensor, costs: Tensor) -> Tensor:  # (P, S + 1), (P, S + 1)
    """L = Σ_i p_i ψ_i for each ray. Shape (P,)."""
    return (chances * costs).sum(-1)
