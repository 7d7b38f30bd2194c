"""Rows and goals of poses against truth, the same for synthetic streets and real frames."""

from __future__ import annotations

import math

import numpy as np

from diffrender.evaluate import PoseSummary
from diffrender.reconstruct import Scene
from diffrender.tools.bench_format import Report, Row, Target

__all__ = ["MEDIANS", "SHARES", "add_rows", "add_target", "boxes_of"]

SHARES = {
    "iou_50": "share with 3D IoU >= 0.5",
    "iou_25": "share with 3D IoU >= 0.25",
    "iou_70": "share with 3D IoU >= 0.7",
    "median_iou": "median 3D IoU",
    "yaw_10": "share with exact yaw within 10 degrees",
    "heading": "share with the heading not flipped (yaw within 90 degrees)",
}
MEDIANS = {
    "centre": ("median centre error", "share of depth"),
    "axis": ("median yaw error modulo 180 degrees", "degrees"),
    "yaw": ("median yaw error", "degrees"),
}


def boxes_of(scene: Scene) -> dict[str, np.ndarray]:
    """(x, y, z, length, width, height, yaw) of every object, by its name."""
    return {o.name: np.array([*o.pose.location, *o.size, o.yaw]) for o in scene.objects}


def add_rows(report: Report, case: str, ours: PoseSummary, box: PoseSummary | None) -> None:
    """One row a figure; the peer is the render-free baseline on the same instances."""
    case = f"{case}, {ours.count} cars"
    for name, operation in SHARES.items():
        _row(report, case, operation, "share", getattr(ours, name), getattr(box, name, None))
    for name, (operation, unit) in MEDIANS.items():
        _row(report, case, operation, unit, getattr(ours, name), getattr(box, name, None))


def _row(
    report: Report, case: str, operation: str, unit: str, value: float, peer: float | None
) -> None:
    if math.isnan(value):
        return
    known = peer is not None and not math.isnan(peer)
    text = f"method box: {peer:.3f}" if known else ""
    ratio = value / peer if known and peer else None
    report.rows.append(Row(case, operation, value, unit, peer=text, ratio=ratio))


def add_target(report: Report, name: str, goal: str, value: float | None, least: float) -> None:
    """A share that is to be at least so much; not met where it was not measured."""
    met = value is not None and value >= least
    report.targets.append(Target(name, goal, value, met))
