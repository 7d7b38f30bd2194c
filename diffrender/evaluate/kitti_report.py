"""What an evaluation returns: plain records, with the numbers of every table."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate.kitti_settings import KittiSettings
from diffrender.evaluate.precision import SAMPLES, Curve

__all__ = ["AveragePrecision", "BandPrecision", "ClassReport", "InputFacts", "KittiReport"]
__all__ += ["MatchErrors", "WorstFrame"]


@dataclass(frozen=True)
class AveragePrecision:
    """One figure of the benchmark with what it was counted from.

    Attributes:
        metric: "2d", "aos" (orientation similarity), "bev" or "3d".
        overlap: "strict" or "loose".
        minimum: an overlap must be greater than this.
        difficulty: "easy", "moderate" or "hard", each including the ones before.
        r40, r11: average precision in per cent, 0 to 100, over 40 and over 11 recalls.
        truths: ground truths that count.
        detections: detections that count, of any score.
        true_positives, false_positives, misses: with every detection, whatever its score. The
            remaining detections lie on neutral truths or DontCare regions.
        curve: the precision-recall curve.
    """

    metric: str
    overlap: str
    minimum: float
    difficulty: str
    r40: float
    r11: float
    truths: int
    detections: int
    true_positives: int
    false_positives: int
    misses: int
    curve: Curve

    @property
    def reachable_r40(self) -> float:
        """R40 of perfect detections: below 100 where fewer than 41 truths count."""
        return 100.0 * min(max(self.truths - 1, 0), SAMPLES - 1) / (SAMPLES - 1)

    def ap(self, points: int) -> float:
        """R40 or R11."""
        return self.r40 if points == 40 else self.r11


@dataclass(frozen=True)
class BandPrecision:
    """AP over the truths of one band of depth; see `kitti_bands`.

    Attributes:
        near, far: metres, near <= z < far.
        others as in `AveragePrecision`.
    """

    near: float
    far: float
    metric: str
    overlap: str
    minimum: float
    difficulty: str
    r40: float
    r11: float
    truths: int
    true_positives: int
    false_positives: int


@dataclass(frozen=True)
class MatchErrors:
    """Errors of the detections that hit a truth in the image.

    Attributes:
        difficulty: which truths count.
        pairs: how many; every figure is NaN for none.
        mean, median: quantity -> figure. "iou_2d", "iou_bev", "iou_3d" are overlaps; "centre"
            (distance), "x", "y", "z" (of the box centre) and "length", "width", "height" are
            absolute errors in metres; "yaw" in degrees, 0 to 180, "axis" the same modulo half
            a turn, 0 to 90.
        flipped: share of pairs whose yaw is more than 90 degrees off.
    """

    difficulty: str
    pairs: int
    mean: dict[str, float]
    median: dict[str, float]
    flipped: float


@dataclass(frozen=True)
class ClassReport:
    """Attributes:
    name: of the class.
    rows: every metric, overlap and difficulty that was evaluated.
    not_evaluated: metric -> why, such as "no detection of class Cyclist".
    bands: AP by distance, [] where BEV and 3D were not evaluated.
    errors: of matched pairs, or None without 2D detections.
    """

    name: str
    rows: tuple[AveragePrecision, ...]
    not_evaluated: dict[str, str]
    bands: tuple[BandPrecision, ...]
    errors: MatchErrors | None

    def row(self, metric: str, difficulty: str, overlap: str = "strict") -> AveragePrecision:
        """One figure.

        Raises:
            InputError: it was not evaluated.
        """
        for row in self.rows:
            if (row.metric, row.difficulty, row.overlap) == (metric, difficulty, overlap):
                return row
        reason = self.not_evaluated.get(metric, "no such metric, difficulty or overlap")
        raise InputError(f"{self.name} {metric} {difficulty} {overlap} was not evaluated: {reason}")


@dataclass(frozen=True)
class WorstFrame:
    """A frame with many errors at the score where a class's F1 is best.

    Attributes:
        name: of the frame.
        false_positives, misses: summed over the classes.
        truth_boxes, found_boxes: (N, 7), (M, 7) x, y, z, length, width, height, yaw.
        truth_fates: (N,) "hit", "missed" or "neutral".
        found_fates: (M,) "hit", "false" or "neutral".
        scores: (M,).
    """

    name: str
    false_positives: int
    misses: int
    truth_boxes: np.ndarray
    truth_fates: tuple[str, ...]
    found_boxes: np.ndarray
    found_fates: tuple[str, ...]
    scores: np.ndarray


@dataclass(frozen=True)
class InputFacts:
    """Attributes:
    labels, results: what was opened.
    frames: how many were evaluated.
    missing: frames without a result file; they count as frames without detections.
    without_labels: result files that no label belongs to; they were left out.
    empty: frames whose result file has no row.
    truth_rows, found_rows: rows read.
    dropped: rows that were left out, each with file, line and column.
    """

    labels: str
    results: str
    frames: int
    missing: tuple[str, ...]
    without_labels: tuple[str, ...]
    empty: int
    truth_rows: int
    found_rows: int
    dropped: tuple[str, ...]


@dataclass(frozen=True)
class KittiReport:
    """The whole evaluation; `kitti_tables` and `kitti_json` write it down.

    Attributes:
        classes: in the order that was asked for.
        inputs: what was read.
        settings: what was chosen.
        warnings: what a reader of the numbers must know, one sentence each.
        worst: frames with the most errors, worst first.
    """

    classes: tuple[ClassReport, ...]
    inputs: InputFacts
    settings: KittiSettings
    warnings: tuple[str, ...]
    worst: tuple[WorstFrame, ...]

    def __getitem__(self, name: str) -> ClassReport:
        """A class by its name.

        Raises:
            InputError: it was not evaluated.
        """
        for found in self.classes:
            if found.name == name:
                return found
        raise InputError(
            f"{name} was not evaluated, only {', '.join(c.name for c in self.classes)}"
        )
