"""KITTI rows made by hand for the evaluator's tests."""

from __future__ import annotations

from collections.abc import Mapping

from diffrender.evaluate import KittiReport, KittiSettings, kitti_average_precision
from diffrender.native import reason_missing

BACKENDS = ["python"] + ["native"] * (reason_missing() is None)

Rows = Mapping[str, list[str]]


def row(
    kind: str = "Car",
    box: tuple[float, float, float, float] = (100.0, 100.0, 200.0, 180.0),  # left top right bottom
    place: tuple[float, float, float] = (2.0, 1.6, 20.0),
    size: tuple[float, float, float] = (1.5, 1.6, 4.0),  # height, width, length
    yaw: float = 0.3,
    alpha: float = 0.2,
    hard: tuple[float, float] = (0.0, 0.0),  # truncated, occluded
    score: float | None = None,
) -> str:
    """A label row, or with a score a result row."""
    numbers = [*hard, alpha, *box, *size, *place, yaw] + [score] * (score is not None)
    return " ".join([kind, *(repr(float(n)) for n in numbers if n is not None)])


def region(left: float, top: float, right: float, bottom: float) -> str:
    """A DontCare row, as the label files have them."""
    return f"DontCare -1 -1 -10 {left} {top} {right} {bottom} -1 -1 -1 -1000 -1000 -1000 -10"


def evaluated(
    labels: Rows, results: Rows, backend: str, classes: tuple[str, ...] = ("Car",)
) -> KittiReport:
    """The report of rows in memory."""
    texts = [
        {name: "".join(f"{line}\n" for line in lines) for name, lines in rows.items()}
        for rows in (labels, results)
    ]
    settings = KittiSettings(classes=classes, backend=backend)
    return kitti_average_precision(texts[0], texts[1], list(labels), settings)


def perfect(count: int, kind: str = "Car") -> tuple[Rows, Rows]:
    """`count` frames of one object, found exactly, each with a score of its own."""
    labels = {f"{i:06d}": [row(kind)] for i in range(count)}
    results = {f"{i:06d}": [row(kind, score=1 - i / (2 * count))] for i in range(count)}
    return labels, results
