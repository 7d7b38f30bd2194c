"""How well a depth network does on frames whose depth is exact."""

from __future__ import annotations

import math

import numpy as np
import torch

from diffrender.depth.dpt import DptNet
from diffrender.depth.train_data import FrameSet, whole_frames
from diffrender.depth.train_loss import object_errors

__all__ = ["check_errors"]


def check_errors(net: DptNet, frames: FrameSet, cap: float = 80.0) -> dict[str, float]:
    """Mean errors over frames whose depth is exact, truth below `cap` metres.

    "abs_rel" uses the depth as predicted, "abs_rel_scaled" after median scaling, "delta1" is the
    share within 25 %, and "object_error" how far the log depth of a vehicle is off in the mean over
    its pixels, the median of all vehicles (NaN without any).
    """
    rows, objects = [], []
    was_training = net.training
    net.eval()
    for start in range(0, len(frames), 8):
        batch = whole_frames(frames, net.config, np.arange(start, min(start + 8, len(frames))))
        with torch.inference_mode():
            predicted = net(batch.image, batch.height)
        d = torch.where(batch.depth > 0, (predicted / batch.depth).log(), 0.0)
        known = (batch.depth > 0) & torch.isfinite(batch.depth)
        objects.append(object_errors(d, known, batch.owner).abs())
        for p, z, factor in zip(predicted, batch.depth, batch.factor, strict=True):
            known = (z > 0) & (z * factor < cap)
            ratio = (p / z)[known]
            scaled = ratio / (p[known].median() / z[known].median())
            within = torch.maximum(ratio, 1 / ratio) < 1.25
            rows.append(
                [(ratio - 1).abs().mean(), (scaled - 1).abs().mean(), within.float().mean()]
            )
    net.train(was_training)
    every = torch.cat(objects)
    means = torch.tensor(rows).mean(dim=0).tolist()
    errors = dict(zip(("abs_rel", "abs_rel_scaled", "delta1"), means, strict=True))
    return errors | {"object_error": float(every.median()) if len(every) else math.nan}
