"""The error budget: one quantity at a time replaced by the truth."""

from __future__ import annotations

import numpy as np
import pytest

from diffrender.tools.bench_error_budget import error_budget
from diffrender.tools.bench_format import Report

TRUTH = np.array([2.0, 1.6, 20.0, 4.0, 1.6, 1.5, 0.3])


def shares(box: np.ndarray | None) -> dict[str, float]:
    report = Report(rows=[])
    error_budget(report, "case", [(box, TRUTH), (TRUTH, TRUTH)])
    found = {row.operation: row.value for row in report.rows}
    return {
        words.removeprefix("share with 3D IoU >= 0.7 if ").removesuffix(" were true"): value
        for words, value in found.items()
        if "0.7" in words
    }


def test_the_wrong_quantity_is_the_one_that_mends() -> None:
    # 10 % too far along the ray of the middle, which is 0.75 m above the bottom.
    middle = TRUTH[:3] - [0, 0.75, 0]
    far = np.concatenate([1.1 * middle + [0, 0.75, 0], TRUTH[3:]])
    assert shares(far) == {
        "nothing": 0.5, "the depth along the ray": 1.0, "the vertical position": 0.5,
        "the size": 0.5, "the yaw": 0.5, "the place": 1.0,
    }  # fmt: skip
    turned = TRUTH + [0, 0, 0, 0, 0, 0, 0.9]
    assert {words for words, share in shares(turned).items() if share == 1.0} == {"the yaw"}
    small = TRUTH * [1, 1, 1, 0.6, 1, 1, 1]
    assert {words for words, share in shares(small).items() if share == 1.0} == {"the size"}


def test_a_car_that_was_not_found_stays_missed() -> None:
    assert all(share == pytest.approx(0.5) for share in shares(None).values())
