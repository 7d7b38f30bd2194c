"""`diffrender bench predictor`: shares of iterations, rows and goals, without running it all."""

from __future__ import annotations

import dataclasses

import pytest

from diffrender.evaluate import PoseError
from diffrender.predict import short_settings
from diffrender.reconstruct import ReconstructSettings
from diffrender.tools.bench_predictor import Outcome, Start, _shared, report_of

WHOLE = ReconstructSettings()
SHORT = short_settings(WHOLE)
FIFTH = sum(stage.iterations for stage in SHORT.stages)


@pytest.mark.parametrize("count", [4, 13, 25, 50, 128])
def test_iterations_are_shared_by_the_stages(count: int) -> None:
    for settings in (WHOLE, SHORT):
        shared = _shared(settings, count)
        assert sum(stage.iterations for stage in shared.stages) == count
        assert min(stage.iterations for stage in shared.stages) >= 1
        changed = zip(shared.stages, settings.stages, strict=True)
        assert all(dataclasses.replace(a, iterations=b.iterations) == b for a, b in changed)


def outcome(iou: float, yaw: float) -> Outcome:
    good, bad = PoseError(iou, 0.01, yaw, yaw), PoseError(0.1, 0.2, 170.0, 10.0)
    return Outcome([good, good, bad], [good, good], [10.0, 20.0, 30.0], [0.3, 0.2])


def test_goals_compare_a_fifth_with_the_whole() -> None:
    ways = [Start("box fit", 130, WHOLE, None), Start("predictor", FIFTH, SHORT, None)]
    report = report_of(ways, [outcome(0.8, 2.0), outcome(0.72, 2.0)], scenes=4)
    found = {target.name.split(": ")[-1]: target for target in report.targets}
    iou = found["median 3D IoU over the box fit's in all"]
    assert iou.value == pytest.approx(0.9)
    assert not iou.met
    assert found["share with 3D IoU >= 0.7 over the box fit's in all"].value == pytest.approx(1.0)
    assert found["time an object, predictor's start"].met
    rows = {(row.case.split(", ")[2], row.operation): row.value for row in report.rows}
    assert rows["predictor", "median objective"] == 20.0
    assert rows["box fit", "share with 3D IoU >= 0.5"] == pytest.approx(2 / 3)
