"""How far to trust a reconstruction: does what was drawn agree with what was seen?"""

from __future__ import annotations

import numpy as np

from diffrender.instances import Instance

__all__ = ["confidence"]


def confidence(
    instance: Instance,
    others: list[np.ndarray],  # each (H, W)
    silhouette: np.ndarray,  # (H, W)
    drawn_depth: np.ndarray,  # (H, W)
    depth: np.ndarray | None,  # (H, W)
) -> float:
    """Mask agreement x depth agreement x 2D score, in [0, 1].

    Mask agreement is the IoU of the silhouette and the mask outside the other instances' masks.
    Depth agreement is exp(-d / (0.05 z + 0.2 m)) with d the median distance of the drawn surface
    from the depth map and z its median depth; 1 without a depth map.
    """
    mask = instance.mask
    hidden = np.zeros_like(mask)
    for other in others:
        hidden |= other
    care = ~hidden | mask
    either = int(((silhouette | mask) & care).sum())
    trust = int((silhouette & mask).sum()) / max(either, 1)
    if depth is not None:
        both = silhouette & mask & (depth > 0)
        if not both.any():
            return 0.0
        distance = float(np.median(np.abs(drawn_depth[both] - depth[both])))
        trust *= float(np.exp(-distance / (0.05 * float(np.median(depth[both])) + 0.2)))
    return float(np.clip(trust * instance.score, 0.0, 1.0))
