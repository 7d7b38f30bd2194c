"""Random crowded scenes: both back-ends against the devkit's counting written out plainly."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from kitti_scene import BACKENDS, evaluated, region, row

pytest.importorskip("shapely")
from plain_devkit import Evaluation, read

CLASSES = ("Car", "Pedestrian", "Cyclist")
KINDS = ["Car", "car", "Van", "Pedestrian", "Person_sitting", "Cyclist", "Truck", "Tram"]


def crowded(seed: int, frames: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Frames whose truths and detections overlap in many ways, in the image and on the ground."""
    draw = np.random.default_rng(seed)
    labels: dict[str, list[str]] = {}
    results: dict[str, list[str]] = {}
    for frame in range(frames):
        truths, found = [], []
        for _ in range(draw.integers(0, 7)):
            kind = str(draw.choice(KINDS))
            left, top = draw.uniform(0, 60, 2)
            box = np.array([left, top, left + draw.uniform(20, 90), top + draw.uniform(18, 70)])
            place = draw.uniform([-4, 1, 10], [4, 2, 18])
            size = draw.uniform([1, 1, 2], [2, 2, 5])
            yaw, alpha = draw.uniform(-4, 4, 2)
            hard = (float(draw.choice([0, 0.1, 0.2, 0.4, 0.6])), int(draw.integers(0, 4)))
            truths.append(row(kind, tuple(box), tuple(place), tuple(size), yaw, alpha, hard))
            for _ in range(draw.integers(0, 4)):
                # Scores of one decimal, so that many are equal.
                found.append(
                    row(
                        str(draw.choice(KINDS)) if draw.random() < 0.3 else kind,
                        tuple(box + draw.normal(0, 4, 4)),
                        tuple(place + draw.normal(0, 0.2, 3)),
                        tuple(size * draw.uniform(0.8, 1.2, 3)),
                        yaw + draw.normal(0, 0.2),
                        alpha + draw.normal(0, 1),
                        score=float(np.round(draw.uniform(0, 1), 1)),
                    )
                )
        if draw.random() < 0.5:
            left, top = draw.uniform(0, 60, 2)
            truths.append(region(left, top, left + 80, top + 60))
        order = draw.permutation(len(found))
        labels[f"{frame:06d}"] = [truths[i] for i in draw.permutation(len(truths))]
        results[f"{frame:06d}"] = [found[i] for i in order]
    return labels, results


@pytest.mark.parametrize("backend", BACKENDS)
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(seed=st.integers(0, 2**32), frames=st.integers(1, 14))
def test_every_count_agrees_with_the_plain_devkit(backend: str, seed: int, frames: int) -> None:
    labels, results = crowded(seed, frames)
    report = evaluated(labels, results, backend, CLASSES)
    scene = [(read("\n".join(labels[n])), read("\n".join(results[n]))) for n in labels]
    compared = 0
    for entry in report.classes:
        for line in entry.rows:
            metric = "2d" if line.metric == "aos" else line.metric
            plain = Evaluation(scene, entry.name.lower(), line.difficulty, metric, line.minimum)
            assert line.truths == plain.truths
            tp, fp, fn, _ = plain.count(-np.inf)
            assert (line.true_positives, line.false_positives, line.misses) == (tp, fp, fn)
            assert line.curve.scores.tolist() == plain.thresholds
            for points in (40, 11):
                expected = plain.average(points, orientation=line.metric == "aos")
                assert line.ap(points) == pytest.approx(expected, abs=1e-9)
            compared += 1
    assert compared == sum(len(entry.rows) for entry in report.classes)
