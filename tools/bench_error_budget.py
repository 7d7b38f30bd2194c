"""What boxes miss by: the shares that they would reach with one quantity of each the true one."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from diffrender.evaluate import pose_error, summarise
from diffrender.tools.bench_format import Report, Row

__all__ = ["error_budget"]

_SHARES = {"iou_50": "share with 3D IoU >= 0.5", "iou_70": "share with 3D IoU >= 0.7"}


def error_budget(
    report: Report, case: str, pairs: list[tuple[np.ndarray | None, np.ndarray]]
) -> None:
    """What share would reach 0.5 and 0.7 if one quantity of every box found were the true one.

    Truth scores only: nothing of it goes back into a reconstruction.
    """
    repairs: dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]] = {
        "nothing": lambda box, truth: box,
        "the depth along the ray": _true_depth,
        "the vertical position": lambda box, truth: _with(box, truth, [1]),
        "the size": lambda box, truth: _with(box, truth, [3, 4, 5]),
        "the yaw": lambda box, truth: _with(box, truth, [6]),
        "the place": lambda box, truth: _with(box, truth, [0, 1, 2]),
    }
    for words, mend in repairs.items():
        found = summarise([None if b is None else pose_error(mend(b, t), t) for b, t in pairs])
        for name, share in _SHARES.items():
            what = f"{share} if {words} were true"
            report.rows.append(
                Row(
                    f"{case}, error budget, {found.count} cars", what, getattr(found, name), "share"
                )
            )


def _true_depth(box: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Moved along the viewing ray of its middle to the depth of the true one."""
    lift = np.array([0.0, box[5] / 2, 0.0])
    centre = box[:3] - lift
    return np.concatenate([centre * (truth[2] / box[2]) + lift, box[3:]])


def _with(box: np.ndarray, truth: np.ndarray, places: list[int]) -> np.ndarray:
    mended = box.copy()
    mended[places] = truth[places]
    return mended
