"""AP by distance, errors of matched pairs, worst frames: values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from kitti_scene import BACKENDS, evaluated, perfect, row

from diffrender.evaluate import KittiSettings, kitti_average_precision
from diffrender.evaluate.precision import recall_thresholds

both = pytest.mark.parametrize("backend", BACKENDS)


@both
def test_a_hit_belongs_to_the_band_of_its_truth_and_a_false_positive_to_its_own(
    backend: str,
) -> None:
    labels = {f"{i:06d}": [row(place=(2, 1.6, 9.95))] for i in range(50)}
    labels |= {f"1{i:05d}": [row(place=(2, 1.6, 25))] for i in range(50)}
    # Found 0.15 m deeper, in the next band; the far ones with a false positive at 35 m each.
    results = {
        name: [row(place=(2, 1.6, 10.1 if name < "1" else 25), score=1 - int(name) / 1e6)]
        for name in labels
    }
    for name in labels:
        if name >= "1":
            results[name].append(row(box=(600, 0, 700, 90), place=(20, 1.6, 35), score=2))
    bands = {
        b.near: b
        for b in evaluated(labels, results, backend)["Car"].bands
        if (b.metric, b.overlap) == ("3d", "strict")
    }
    counts = {
        near: (b.truths, b.true_positives, b.false_positives, b.r40) for near, b in bands.items()
    }
    assert counts == {
        0: (50, 50, 0, 100.0),
        10: (0, 0, 0, 0.0),  # nothing is held against the band that the boxes were found in
        20: (50, 50, 0, 100.0),
        30: (0, 0, 50, 0.0),
        40: (0, 0, 0, 0.0),
    }
    assert [b.far for b in bands.values()] == [10, 20, 30, 40, math.inf]


@both
def test_errors_of_matched_pairs(backend: str) -> None:
    truth = row(place=(2, 1.6, 20), size=(1.5, 1.6, 4.0), yaw=3.1)
    moved = row(place=(2.3, 1.7, 20.4), size=(1.7, 1.8, 3.5), yaw=-3.1, score=0.5)
    turned = row(yaw=3.1 - math.pi, score=0.5)
    entry = evaluated({"0": [truth], "1": [truth]}, {"0": [moved], "1": [turned]}, backend)["Car"]
    errors = entry.errors
    assert errors is not None
    assert errors.pairs == 2
    # y is the bottom: the centre moved down by 0.1 and up by half of the 0.2 m of height.
    expected = {"x": 0.3, "y": 0.0, "z": 0.4, "centre": 0.5, "length": 0.5, "width": 0.2}
    expected |= {"height": 0.2, "iou_2d": 1.0}
    for name, value in expected.items():
        wanted = (value + (name == "iou_2d")) / 2  # the other pair is exact but for its yaw
        assert errors.mean[name] == pytest.approx(wanted, abs=1e-9), name
        assert errors.median[name] == pytest.approx(wanted, abs=1e-9), name
    small = math.degrees(2 * math.pi - 6.2)
    assert errors.mean["yaw"] == pytest.approx((small + 180) / 2, abs=1e-6)
    assert errors.mean["axis"] == pytest.approx(small / 2, abs=1e-6)
    assert errors.flipped == 0.5


@both
def test_pairs_without_a_place_have_no_errors(backend: str) -> None:
    flat = row(place=(-1000, -1000, -1000), size=(-1, -1, -1), yaw=-10, score=0.5)
    errors = evaluated({"0": [row()]}, {"0": [flat]}, backend)["Car"].errors
    assert errors is not None
    assert (errors.pairs, math.isnan(errors.mean["centre"])) == (0, True)


@both
def test_worst_frames_are_taken_where_f1_is_best(backend: str) -> None:
    labels, results = perfect(20)
    results["000003"] = [row(place=(2, 1.6, 40), score=0.9)]  # one miss, one false positive
    results["000005"] = [
        *results["000005"],
        row(box=(600, 0, 700, 90), place=(9, 1.6, 9), score=0.8),
    ]
    # A flood of false positives, all below the scores that matter.
    results["000007"] = results["000007"] + [
        row(box=(600, 0, 700, 90), place=(30, 1.6, 9 + 9 * i), score=0.01) for i in range(20)
    ]
    worst = evaluated(labels, results, backend).worst
    assert [(w.name, w.false_positives, w.misses) for w in worst] == [
        ("000003", 1, 1),
        ("000005", 1, 0),
    ]
    assert (worst[0].truth_fates, worst[0].found_fates) == (("missed",), ("false",))
    assert worst[1].found_fates == ("hit", "false")
    assert worst[0].truth_boxes.tolist() == [[2, 1.6, 20, 4.0, 1.6, 1.5, 0.3]]
    assert worst[0].scores.tolist() == [0.9]


@pytest.mark.parametrize("truths", [1, 7, 40, 41, 333, 5000])
@pytest.mark.parametrize("share", [0.01, 0.4, 1.0])
def test_thresholds_are_those_of_the_plain_walk(truths: int, share: float) -> None:
    scores = np.sort(np.random.default_rng(truths).random(max(int(truths * share), 1)))[::-1]
    kept, target = [], 0.0
    for i, score in enumerate(scores):
        left, right = (i + 1) / truths, (i + 2) / truths
        if i < len(scores) - 1 and right - target < target - left:
            continue
        kept.append(score)
        target += 1.0 / 40.0
    assert recall_thresholds(scores, truths).tolist() == kept


def test_no_score_gives_no_threshold() -> None:
    assert recall_thresholds(np.zeros(0), 0).shape == (0,)


@both
@pytest.mark.parametrize("classes", [("Car", "Van"), ("Van", "Car")])
def test_worst_frames_do_not_depend_on_the_order_of_the_classes(
    backend: str, classes: tuple[str, ...]
) -> None:
    # To Cars a Van is neutral, though a Van of its own that nothing found.
    labels = [row("Van", box=(0, 100, 90, 200), place=(-6, 1.6, 20)), row(place=(2, 1.6, 20))]
    labels.append(row("Van", box=(600, 100, 690, 200), place=(9, 1.6, 30)))
    found = [row(place=(2, 1.6, 20), score=0.9)]
    found.append(row("Van", box=(600, 100, 690, 200), place=(9, 1.6, 30), score=0.9))
    found.append(row("Car", box=(0, 100, 90, 200), place=(-6, 1.6, 20), score=0.9))
    report = evaluated({"0": labels}, {"0": found}, backend, classes)
    (worst,) = report.worst
    assert (worst.false_positives, worst.misses) == (0, 1)
    assert worst.truth_fates == ("missed", "hit", "hit")


def test_no_bands_are_none() -> None:
    label = "Car 0 0 0 100 100 200 200 1.5 1.6 3.9 0 1.6 20 0"
    report = kitti_average_precision(
        {"000000": label}, {"000000": f"{label} 0.9"}, settings=KittiSettings(bands=())
    )
    assert report.classes and all(len(one.bands) == 0 for one in report.classes)
