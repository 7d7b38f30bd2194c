"""AP by distance: the same matching, counted over one band of depth at a time.

A hit belongs to the band of its truth, a false positive to its own; truths of other bands are
neutral. So nothing that is right counts against a band because it was placed just outside.
"""

from __future__ import annotations

import dataclasses

import numpy as np

from diffrender.evaluate.kitti_case import Scene, curve_of, make_case
from diffrender.evaluate.kitti_report import BandPrecision
from diffrender.evaluate.kitti_rules import COUNTS, NEUTRAL, OUTSIDE, ClassRule, Difficulty
from diffrender.evaluate.precision import average

__all__ = ["band_precision"]


def band_precision(
    scene: Scene,
    rule: ClassRule,
    metric: str,
    overlap: str,
    difficulty: Difficulty,
    edges: tuple[float, ...],
) -> list[BandPrecision]:
    """One figure per band between `edges` (metres of z, rising); the last band has no end."""
    case = make_case(scene, rule, metric, overlap, difficulty)
    rows = []
    for near, far in zip(edges, (*edges, np.inf)[1:], strict=True):
        truth_out, found_out = (
            ~((near <= rows.column("z")) & (rows.column("z") < far))
            for rows in (scene.truths, scene.founds)
        )
        banded = dataclasses.replace(
            case,
            truth_status=np.where(
                truth_out & (case.truth_status == COUNTS), NEUTRAL, case.truth_status
            ).astype(np.int8),
            found_status=np.where(
                found_out & (case.found_status == COUNTS), OUTSIDE, case.found_status
            ).astype(np.int8),
        )
        curve, _, counts = curve_of(banded, scene.backend)
        rows.append(
            BandPrecision(
                float(near),
                float(far),
                metric,
                overlap,
                case.minimum,
                difficulty.name,
                average(curve.sampled, 40),
                average(curve.sampled, 11),
                int((banded.truth_status == COUNTS).sum()),
                int(counts.hits[-1]),
                int(counts.false_positives[-1]),
            )
        )
    return rows
