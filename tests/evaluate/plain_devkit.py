"""The devkit's counting written out plainly, with shapely for the polygons: a second opinion.

It shares no code with the evaluator: text goes in, counts and averages come out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from shapely.geometry import Polygon

NEIGHBOUR = {"car": "van", "pedestrian": "person_sitting"}
MIN_HEIGHT = {"easy": 40, "moderate": 25, "hard": 25}
MAX_OCCLUSION = {"easy": 0, "moderate": 1, "hard": 2}
MAX_TRUNCATION = {"easy": 0.15, "moderate": 0.3, "hard": 0.5}


@dataclass
class Thing:
    kind: str
    cut: float
    hidden: float
    alpha: float
    left: float
    top: float
    right: float
    bottom: float
    h: float
    w: float
    l: float
    x: float
    y: float
    z: float
    ry: float
    score: float = 0.0

    def ground(self) -> Any:
        c, s = math.cos(self.ry), math.sin(self.ry)
        corners = []
        for a, b in ((1, 1), (1, -1), (-1, -1), (-1, 1)):
            along, across = a * self.l / 2, b * self.w / 2
            corners.append((self.x + c * along + s * across, self.z - s * along + c * across))
        return Polygon(corners)


def read(text: str) -> list[Thing]:
    things = []
    for line in text.splitlines():
        kind, *numbers = line.split()
        things.append(Thing(kind.lower(), *map(float, numbers)))
    return things


def overlap(metric: str, detection: Thing, truth: Thing, of_detection: bool) -> float:
    if metric == "2d":
        width = min(detection.right, truth.right) - max(detection.left, truth.left)
        height = min(detection.bottom, truth.bottom) - max(detection.top, truth.top)
        if width <= 0 or height <= 0:
            return 0.0
        common = width * height
        own, other = ((t.right - t.left) * (t.bottom - t.top) for t in (detection, truth))
    else:
        a, b = detection.ground(), truth.ground()
        common = a.intersection(b).area
        own, other = a.area, b.area
        if metric == "3d":
            low = min(detection.y, truth.y)
            high = max(detection.y - detection.h, truth.y - truth.h)
            common *= max(0.0, low - high)
            own, other = (t.h * t.w * t.l for t in (detection, truth))
    if common <= 0:
        return 0.0
    return common / (own if of_detection else own + other - common)


class Evaluation:
    """Counts of one class, difficulty and metric over frames of (truths, detections)."""

    def __init__(
        self,
        frames: list[tuple[list[Thing], list[Thing]]],
        kind: str,
        difficulty: str,
        metric: str,
        minimum: float,
    ) -> None:
        self.frames, self.kind, self.difficulty = frames, kind, difficulty
        self.metric, self.minimum = metric, minimum
        scores = sorted((s for f in frames for s in self._recall(*f)), reverse=True)
        self.truths = sum(self._truth(t) == 0 for truths, _ in frames for t in truths)
        self.thresholds = self._thresholds(scores)
        self.curve = [self.count(t) for t in self.thresholds]

    def _truth(self, t: Thing) -> int:
        """0 counts, 1 neutral, -1 another class."""
        if t.kind == NEIGHBOUR.get(self.kind):
            return 1
        if t.kind != self.kind:
            return -1
        hard = (
            t.hidden > MAX_OCCLUSION[self.difficulty]
            or t.cut > MAX_TRUNCATION[self.difficulty]
            or t.bottom - t.top <= MIN_HEIGHT[self.difficulty]
        )
        return 1 if hard else 0

    def _detection(self, d: Thing) -> int:
        if int(abs(d.top - d.bottom)) < MIN_HEIGHT[self.difficulty]:
            return 1
        return 0 if d.kind == self.kind else -1

    def _recall(self, truths: list[Thing], detections: list[Thing]) -> list[float]:
        used: set[int] = set()
        scores = []
        for truth in truths:
            if self._truth(truth) == -1:
                continue
            best = None
            for i, d in enumerate(detections):
                if i in used or self._detection(d) == -1:
                    continue
                if overlap(self.metric, d, truth, False) > self.minimum and (
                    best is None or d.score > detections[best].score
                ):
                    best = i
            if best is None:
                continue
            used.add(best)
            if self._truth(truth) == 0 and self._detection(detections[best]) == 0:
                scores.append(detections[best].score)
        return scores

    def _thresholds(self, scores: list[float]) -> list[float]:
        kept, target = [], 0.0
        for i, score in enumerate(scores):
            left = (i + 1) / self.truths
            right = (i + 2) / self.truths if i < len(scores) - 1 else left
            if right - target < target - left and i < len(scores) - 1:
                continue
            kept.append(score)
            target += 1 / 40.0
        return kept

    def count(self, threshold: float) -> tuple[int, int, int, float]:
        """True positives, false positives, misses, summed similarity."""
        tp = fp = fn = 0
        similarity = 0.0
        for truths, detections in self.frames:
            used: set[int] = set()
            low = {i for i, d in enumerate(detections) if d.score < threshold}
            for truth in truths:
                if self._truth(truth) == -1:
                    continue
                chosen, largest, is_ignored = None, 0.0, False
                for i, d in enumerate(detections):
                    state = self._detection(d)
                    if state == -1 or i in used or i in low:
                        continue
                    value = overlap(self.metric, d, truth, False)
                    if value <= self.minimum:
                        continue
                    if state == 0 and (value > largest or is_ignored):
                        chosen, largest, is_ignored = i, value, False
                    elif state == 1 and chosen is None:
                        chosen, is_ignored = i, True
                if chosen is None:
                    fn += self._truth(truth) == 0
                    continue
                used.add(chosen)
                if self._truth(truth) == 0 and self._detection(detections[chosen]) == 0:
                    tp += 1
                    similarity += (1 + math.cos(truth.alpha - detections[chosen].alpha)) / 2
            left = [
                i
                for i, d in enumerate(detections)
                if i not in used and i not in low and self._detection(d) == 0
            ]
            for i in left:
                fp += not any(
                    overlap(self.metric, detections[i], region, True) > self.minimum
                    for region in truths
                    if region.kind == "dontcare"
                )
        return tp, fp, fn, similarity

    def average(self, points: int, orientation: bool = False) -> float:
        values = [0.0] * 41
        for i, (tp, fp, _, similarity) in enumerate(self.curve):
            values[i] = (similarity if orientation else tp) / (tp + fp) if tp + fp else 0.0
        best = [max(values[i:]) for i in range(41)]
        chosen = best[1:] if points == 40 else best[::4]
        return 100 * sum(chosen) / points
