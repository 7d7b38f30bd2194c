"""Basins, cost, and the files in which what was measured is kept."""

from __future__ import annotations

import base64
import dataclasses
import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from diffrender.catalogue import car_scene, find_technique, standard_camera
from diffrender.catalogue.evaluate import (
    BasinSettings,
    CostSettings,
    Plan,
    bias_of,
    find_pose,
    levels_of,
    load_measured,
    measure,
    measure_cost,
    starts,
)
from diffrender.catalogue.evaluate.basin import Start, Trial, posed
from diffrender.errors import InputError

PIXEL_PAIRS = "pixel-pair-antialiasing"
SMALL = BasinSettings(size=(36, 48), yaw_errors=(10.0,), shift_errors=(0.1,), trials=1)
QUICK = Plan(
    size=(16, 24),
    shown=(12, 16),
    seconds_per_claim=0.5,
    basin=SMALL,
    cost=CostSettings(heights=(8, 16), subdivisions=(1,), repeats=2),
)


def test_every_level_comes_once_before_any_comes_twice() -> None:
    settings = BasinSettings()
    bias, *drawn = starts(settings)
    assert (bias.kind, bias.yaw, bias.shift) == ("bias", 0.0, (0.0, 0.0, 0.0))
    levels = len(settings.yaw_errors) + len(settings.shift_errors)
    assert len(drawn) == levels * settings.trials
    first = drawn[:levels]
    assert len({(s.kind, s.error) for s in first}) == levels
    for start in drawn:
        distance = math.hypot(*start.shift)
        if start.kind == "yaw":
            assert abs(math.degrees(start.yaw)) == pytest.approx(start.error)
            assert distance <= 0.0201
        else:
            assert start.yaw == 0 and distance == pytest.approx(start.error, rel=1e-5)
    assert {math.copysign(1, s.yaw) for s in drawn if s.kind == "yaw"} == {1.0, -1.0}


def test_a_pose_is_that_of_the_object() -> None:
    """A car turned and shifted before a still camera, against a still car before a moved one."""
    camera = standard_camera((12, 16))
    yaw, shift = torch.tensor(0.4), torch.tensor([0.1, -0.2, 0.3])
    points = car_scene().parameters()["vertices"]
    c, s = math.cos(0.4), math.sin(0.4)
    turned = points @ torch.tensor([[c, 0.0, s], [0.0, 1.0, 0.0], [-s, 0.0, c]]).T
    expected = camera.world_to_camera(turned) + shift
    torch.testing.assert_close(posed(camera, yaw, shift).world_to_camera(points), expected)


def test_a_near_pose_is_recovered_and_a_far_one_is_not() -> None:
    technique = find_technique(PIXEL_PAIRS)
    sharp, near, _ = (find_pose(technique, start, SMALL) for start in starts(SMALL))
    assert near.recovered and near.degrees < 2 and near.shift < 0.02
    # Its own picture is anti-aliased, so that the sharp one is as good a target for it.
    assert sharp.kind == "bias" and sharp.degrees < 2 and sharp.shift < 0.02
    behind = Start("yaw", 180, 0, math.pi, (0.0, 0.0, 0.0))
    assert not find_pose(technique, behind, dataclasses.replace(SMALL, steps=10)).recovered


def test_a_blurred_technique_finds_its_own_picture_and_shows_its_bias() -> None:
    technique = find_technique("soft-rasterizer")
    sharp, near, _ = (find_pose(technique, start, SMALL) for start in starts(SMALL))
    assert near.recovered
    assert sharp.shift > 2 * near.shift  # the blurred outline fits the sharp one from elsewhere


def test_rates_are_by_level() -> None:
    trials = [
        Trial("bias", 0, 0, 3.0, 0.1, False, 1.0),
        Trial("yaw", 5, 0, 0.1, 0.0, True, 1.0),
        Trial("yaw", 60, 0, 60.0, 0.0, False, 1.0),
        Trial("yaw", 5, 1, 9.0, 0.0, False, 1.0),
    ]
    found = [(level.kind, level.error, level.trials, level.rate) for level in levels_of(trials)]
    assert found == [("yaw", 5, 2, 0.5), ("yaw", 60, 1, 0.0)]
    assert bias_of(trials) == trials[0] and bias_of(trials[1:]) is None


def test_cost_is_measured_and_grows() -> None:
    settings = CostSettings(heights=(16, 128), subdivisions=(1,), repeats=2)
    small, ball, large = measure_cost(PIXEL_PAIRS, settings)
    assert (small.against, small.value, large.value) == ("height", 16, 128)
    assert (ball.against, ball.value) == ("faces", 80)
    # Three channels and a coverage of 128 x 170 floats at least.
    assert large.memory > max(small.memory, 128 * 170 * 4 * 4)
    assert small.forward > 0 and small.backward > 0


def test_a_failing_measurement_says_why() -> None:
    with pytest.raises(RuntimeError, match="no technique named 'nothing'"):
        measure_cost("nothing", CostSettings())


def test_what_was_measured_is_kept_and_gone_on_from(tmp_path: Path) -> None:
    said: list[str] = []
    first = measure(PIXEL_PAIRS, tmp_path, QUICK, {"cpu": "a"}, said.append)
    assert [line.split()[1].strip(",") for line in said] == ["picture", "claims", "trials", "cells"]
    assert first.claims is not None and len(first.claims) == 6
    assert first.trials is not None and len(first.trials) == 3
    again = measure(PIXEL_PAIRS, tmp_path, QUICK, {"cpu": "b"}, said.append)
    assert len(said) == 4 and again == load_measured(tmp_path / f"{PIXEL_PAIRS}.json") == first
    dataclasses.replace(first, trials=None).write(tmp_path)
    third = measure(PIXEL_PAIRS, tmp_path, QUICK, {"cpu": "b"}, said.append)
    assert len(said) == 5 and said[-1].startswith(f"{PIXEL_PAIRS}: trials")
    assert third.claims == first.claims and third.machine == {"cpu": "b"}


NOT_PNG = base64.b64encode(b"<script>").decode()


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"schema": 2}, "expected schema 1"),
        ({"picture": "<script>"}, "not base64"),
        ({"picture": NOT_PNG}, "not a PNG"),
        ({"surprise": 1}, "surprise"),
        ({"trials": [{"kind": "yaw"}]}, "missing"),
        ({"trials": [["yaw", 5, 0, "<b>", 0, True, 1]]}, "mapping"),
        ({"claims": 3}, "not iterable"),
    ],
)
def test_strange_files_are_refused(tmp_path: Path, change: dict[str, Any], complaint: str) -> None:
    good = {"schema": 1, "technique": "x", "machine": {}, "claims": None, "trials": None}
    path = tmp_path / "x.json"
    path.write_text(json.dumps({**good, "cells": None}))
    assert load_measured(path).technique == "x"
    path.write_text(json.dumps({**good, "cells": None, **change}))
    with pytest.raises(InputError, match=f"x.json is no file of .*{complaint}"):
        load_measured(path)


def test_text_where_a_number_belongs_is_refused(tmp_path: Path) -> None:
    trial = dataclasses.asdict(Trial("yaw", 5, 0, 0.1, 0.0, True, 1.0)) | {"degrees": "<b>"}
    path = tmp_path / "x.json"
    rest = {"machine": {}, "claims": None, "trials": [trial], "cells": None}
    path.write_text(json.dumps({"schema": 1, "technique": "x", **rest}))
    with pytest.raises(InputError, match="degrees is '<b>', expected a number"):
        load_measured(path)
