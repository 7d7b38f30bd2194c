"""How far to trust a reconstruction: what it agrees with, and what that was worth on known truth.

`Agreement` says how well what was drawn agrees with what was seen and with what was known before;
`probability` turns it into the chance that the box is right, by a logistic regression fitted on
synthetic streets whose truth is exact (`benchmarks/confidence.py`, which also draws the reliability
of the result on streets of another seed). No label of a real frame was used.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct.observations import open_sides
from diffrender.reconstruct.windows import Drawn, Window

__all__ = ["CALIBRATION", "Agreement", "Calibration", "agreement", "probability"]

_MOST_MARGIN = 10.0  # nats: a heading that much better is certain


@dataclass(frozen=True)
class Agreement:
    """What is known about a fit without its truth.

    Attributes:
        mask: IoU of the drawn silhouette and the mask outside the other instances' masks; 0 where
            the image cuts the mask on every side: whatever fills the image would agree with it.
        depth: median of drawn minus observed depth inside both, as a share of depth; 0 without.
        visible: share of the drawn silhouette's pixels that are in the mask; 0 likewise.
        height: of the mask's box, pixels.
        margin: by how much the loss of the best other heading is higher, nats; inf untried.
        size, latent, ground, photometric: the terms of the loss, 0 where it has none.
        belief: standard deviation of the depth map's error on a whole object, as a share.
    """

    mask: float
    depth: float
    visible: float
    height: float
    margin: float
    size: float
    latent: float
    ground: float
    photometric: float
    belief: float

    def features(self) -> np.ndarray:
        """(10,) numbers of a size near one, in which the log odds are about linear."""
        return np.array(
            [
                -math.log(1 - self.mask + 0.02),
                math.log(abs(self.depth) + 0.002),
                math.log(max(self.visible, 0.02)),
                math.log(max(self.height, 1.0)),
                math.log1p(min(max(self.margin, 0.0), _MOST_MARGIN)),
                math.sqrt(max(self.size, 0.0)),
                math.sqrt(max(self.latent, 0.0)),
                math.sqrt(max(self.ground, 0.0)),
                self.photometric,
                math.log(max(self.belief, 0.002)),
            ]
        )


@dataclass(frozen=True)
class Calibration:
    """Logistic regression: log odds = bias + weights . (features - mean) / spread."""

    bias: float
    weights: tuple[float, ...]
    mean: tuple[float, ...]
    spread: tuple[float, ...]


CALIBRATION = Calibration(
    bias=1.133,
    weights=(1.119, -0.721, 0.571, 0.831, 0.252, -0.114, -0.137, -0.085, -0.028, -1.373),
    mean=(2.691, -4.852, -0.568, 3.762, 2.036, 0.631, 0.755, 0.374, 1.537, -4.843),
    spread=(0.742, 1.409, 0.809, 0.758, 0.529, 0.479, 0.477, 0.445, 0.332, 1.657),
)


def agreement(
    instance: Instance,
    others: list[np.ndarray],  # each (H, W)
    drawn: Drawn,
    depth: np.ndarray | None,  # (H, W)
    terms: dict[str, float],
    margin: float,
    belief: float,
) -> Agreement:
    """Compare the drawn depth with mask and depth map; the rest is carried over."""
    box = np.array(box_of_mask(instance.mask))
    window = drawn.window.joined(Window.of_box(box, instance.mask.shape))
    mask, z = instance.mask[window.pixels], drawn.within(window)
    silhouette = z > 0
    hidden = np.zeros_like(mask)
    for other in others:
        hidden |= other[window.pixels]
    care = ~hidden | mask
    either = int(((silhouette | mask) & care).sum())
    shared = int((silhouette & mask).sum())
    away = 0.0
    if depth is not None:
        seen = depth[window.pixels]
        both = silhouette & mask & (seen > 0)
        if both.any():
            away = float(np.median(z[both] - seen[both]) / np.median(seen[both]))
    whole = instance.mask
    if not open_sides(box, whole, np.zeros_like(whole)).any():  # the image cuts it on every side
        shared = 0
    return Agreement(
        mask=shared / max(either, 1),
        depth=away,
        visible=shared / max(int(silhouette.sum()), 1),
        height=float(box[3] - box[1]),
        margin=margin,
        size=terms.get("size", 0.0),
        latent=terms.get("latent", 0.0),
        ground=terms.get("ground", 0.0),
        photometric=terms.get("photometric", 0.0),
        belief=belief,
    )


def probability(found: Agreement, calibration: Calibration = CALIBRATION) -> float:
    """Chance in (0, 1) that the 3D IoU with the truth is at least 0.7."""
    scaled = (found.features() - np.array(calibration.mean)) / np.array(calibration.spread)
    odds = calibration.bias + float(scaled @ np.array(calibration.weights))
    return 1 / (1 + math.exp(-min(max(odds, -30.0), 30.0)))
