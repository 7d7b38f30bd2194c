"""The same figures to the last bit, whatever the number of threads."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from kitti_scene import BACKENDS, evaluated, row

from diffrender.evaluate import report_json


def _busy(frames: int) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    draw = np.random.default_rng(5)
    labels: dict[str, list[str]] = {}
    results: dict[str, list[str]] = {}
    for frame in range(frames):
        places = [(x, 1.6, z) for x, z in draw.uniform([-9, 8], [9, 50], (4, 2)).tolist()]
        labels[f"{frame:06d}"] = [row(place=p, alpha=float(draw.uniform(-3, 3))) for p in places]
        results[f"{frame:06d}"] = [
            row(place=(x + 0.1, y, z), alpha=float(draw.uniform(-3, 3)), score=float(draw.random()))
            for x, y, z in places
        ]
    return labels, results


@pytest.mark.skipif("native" not in BACKENDS, reason="no native kernels here")
def test_bits_do_not_depend_on_threads() -> None:
    labels, results = _busy(300)  # several chunks of frames
    before = torch.get_num_threads()
    written = []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            report = report_json(evaluated(labels, results, "native"))
            written.append(json.dumps(report, sort_keys=True))
    finally:
        torch.set_num_threads(before)
    assert written[0] == written[1]
    assert '"aos"' in written[0]
