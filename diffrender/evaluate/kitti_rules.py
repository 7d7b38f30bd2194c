"""Who counts: classes, difficulties and overlaps of the KITTI object benchmark.

Source: the devkit's cpp/evaluate_object.cpp (cleanData and the constants at its top). The loose
overlaps are not the devkit's; papers print them after its Python ports.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.evaluate.kitti_rows import ObjectRows
from diffrender.evaluate.rows_python import TYPES

__all__ = ["CLASSES", "DIFFICULTIES", "METRICS", "ClassRule", "Difficulty"]

# Of a truth and of a detection; the native kernel has the same numbers.
OTHER, COUNTS, NEUTRAL, OUTSIDE, DONT_CARE = -1, 0, 1, 2, 3

METRICS = ("2d", "bev", "3d")


@dataclass(frozen=True)
class ClassRule:
    """Attributes:
    name: of the class.
    neighbour: truths of this class are neutral: neither missed nor wrongly found.
    strict: minimum overlap for 2D, BEV and 3D.
    loose: minimum overlap for BEV and 3D in the loose tables (2D keeps `strict`).
    in_devkit: False for a class that the devkit does not evaluate.
    """

    name: str
    neighbour: str | None
    strict: float
    loose: float
    in_devkit: bool = True


@dataclass(frozen=True)
class Difficulty:
    """Attributes:
    name: easy, moderate or hard; each includes the ones before.
    height: a truth must be higher than this many pixels in the image.
    occlusion: highest level that counts, 0 to 2.
    truncation: highest share that counts.
    """

    name: str
    height: float
    occlusion: int
    truncation: float


CLASSES = {
    rule.name: rule
    for rule in (
        ClassRule("Car", "Van", 0.7, 0.5),
        ClassRule("Pedestrian", "Person_sitting", 0.5, 0.25),
        ClassRule("Cyclist", None, 0.5, 0.25),
        ClassRule("Van", None, 0.7, 0.5, in_devkit=False),
        ClassRule("Truck", None, 0.7, 0.5, in_devkit=False),
        ClassRule("Tram", None, 0.7, 0.5, in_devkit=False),
        ClassRule("Person_sitting", None, 0.5, 0.25, in_devkit=False),
    )
}

DIFFICULTIES = (
    Difficulty("easy", 40.0, 0, 0.15),
    Difficulty("moderate", 25.0, 1, 0.30),
    Difficulty("hard", 25.0, 2, 0.50),
)


def truth_status(truths: ObjectRows, rule: ClassRule, difficulty: Difficulty) -> np.ndarray:
    """(N,) int8: COUNTS, NEUTRAL (too hard, or of the neighbouring class), DONT_CARE or OTHER."""
    own = truths.kind == TYPES.index(rule.name)
    height = truths.column("bottom") - truths.column("top")
    too_hard = (
        (truths.column("occluded") > difficulty.occlusion)
        | (truths.column("truncated") > difficulty.truncation)
        | (height <= difficulty.height)
    )
    status = np.full(len(own), OTHER, np.int8)
    status[own] = np.where(too_hard[own], NEUTRAL, COUNTS)
    if rule.neighbour is not None:
        status[truths.kind == TYPES.index(rule.neighbour)] = NEUTRAL
    status[truths.kind == TYPES.index("DontCare")] = DONT_CARE
    return status


def found_status(founds: ObjectRows, rule: ClassRule, difficulty: Difficulty) -> np.ndarray:
    """(N,) int8: COUNTS, NEUTRAL (too low in the image, whatever the class) or OTHER.

    The height is cut to a whole number first, and compared with `<`, unlike a truth's.
    """
    own = founds.kind == TYPES.index(rule.name)
    height = np.trunc(np.abs(founds.column("top") - founds.column("bottom")))
    small = height < difficulty.height
    return np.where(small, NEUTRAL, np.where(own, COUNTS, OTHER)).astype(np.int8)


def why_not_evaluated(founds: ObjectRows, rule: ClassRule, metric: str) -> str | None:
    """None where the class has a detection that the metric can use, else what is lacking."""
    own = founds.kind == TYPES.index(rule.name)
    if not own.any():
        return f"no detection of class {rule.name}"
    if metric in ("2d", "aos"):
        usable = own & (founds.column("left") >= 0)
        return None if usable.any() else f"no {rule.name} has a 2D box (left >= 0)"
    sides = ("length", "width") if metric == "bev" else ("length", "width", "height")
    axes = ("x", "z") if metric == "bev" else ("x", "y", "z")
    usable = own.copy()
    for side in sides:
        usable &= founds.column(side) > 0
    for axis in axes:
        usable &= founds.column(axis) != -1000
    return None if usable.any() else f"no {rule.name} has a size and a place ({metric})"
