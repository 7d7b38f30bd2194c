"""Errors of one reconstructed box against its truth, and their summary over many."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.errors import InputError, check_shape
from diffrender.evaluate.overlaps import box_overlap_3d

__all__ = ["PoseError", "PoseSummary", "pose_error", "summarise"]


@dataclass(frozen=True)
class PoseError:
    """Attributes:
    iou: 3D intersection over union.
    centre: distance of the centres as a share of the true depth.
    yaw: absolute error in degrees, 0 to 180.
    axis: the same modulo half a turn, 0 to 90.
    """

    iou: float
    centre: float
    yaw: float
    axis: float


@dataclass(frozen=True)
class PoseSummary:
    """Shares and medians over `count` objects; an object that was not found counts as IoU 0.

    Attributes:
        count: objects in the truth. found: those with a reconstruction.
        iou_25, iou_50, iou_70: share of `count` with 3D IoU of at least 0.25, 0.5, 0.7.
        median_iou: over `count`.
        centre, axis, yaw: medians over the found ones (share of depth, degrees, degrees).
        yaw_10: share of `count` whose exact yaw is within 10 degrees.
        heading: share of `count` that is not flipped: whose yaw is within 90 degrees.
    """

    count: int
    found: int
    iou_25: float
    iou_50: float
    iou_70: float
    median_iou: float
    centre: float
    axis: float
    yaw: float
    yaw_10: float
    heading: float


def pose_error(box: np.ndarray, truth: np.ndarray) -> PoseError:  # (7,), (7,)
    """Compare two boxes (x, y, z, length, width, height, yaw) as `box_overlap_3d` takes them.

    Raises:
        InputError: boxes of another shape, or a true one at z = 0.
    """
    check_shape("box", box, 7)
    check_shape("truth", truth, 7)
    middle, true_middle = (b[:3] - np.array([0.0, b[5] / 2, 0.0]) for b in (box, truth))
    if truth[2] == 0:
        raise InputError("the true box lies at z = 0: errors are shares of its depth")
    turn = abs(float((box[6] - truth[6] + np.pi) % (2 * np.pi) - np.pi))
    half = min(turn, np.pi - turn)
    return PoseError(
        iou=box_overlap_3d(box, truth),
        centre=float(np.linalg.norm(middle - true_middle)) / abs(float(truth[2])),
        yaw=float(np.degrees(turn)),
        axis=float(np.degrees(half)),
    )


def summarise(errors: list[PoseError | None]) -> PoseSummary:
    """Summary of the errors of every true object; None stands for one that was not found."""
    iou = np.array([0.0 if e is None else e.iou for e in errors])
    found = [e for e in errors if e is not None]
    nothing = float("nan")

    def median(values: list[float]) -> float:
        return float(np.median(values)) if values else nothing

    def share(hits: np.ndarray) -> float:
        return float(hits.mean()) if len(errors) else nothing

    return PoseSummary(
        count=len(errors),
        found=len(found),
        iou_25=share(iou >= 0.25),
        iou_50=share(iou >= 0.5),
        iou_70=share(iou >= 0.7),
        median_iou=median(list(iou)),
        centre=median([e.centre for e in found]),
        axis=median([e.axis for e in found]),
        yaw=median([e.yaw for e in found]),
        yaw_10=share(np.array([e is not None and e.yaw <= 10.0 for e in errors])),
        heading=share(np.array([e is not None and e.yaw < 90.0 for e in errors])),
    )
