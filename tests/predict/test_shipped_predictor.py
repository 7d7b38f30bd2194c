"""The shipped predictor on a street of the development seed: near the truth in one pass."""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from diffrender.datasets import DEVELOPMENT_SEED, SyntheticStreets
from diffrender.datasets.synthetic import SyntheticFrame
from diffrender.evaluate import pose_error
from diffrender.predict import Prediction, load_start, shipped_predictor, short_settings
from diffrender.reconstruct import ReconstructSettings, Run, StartRequest, reconstruct
from diffrender.shape_priors import load_prior


@cache
def frame() -> SyntheticFrame:
    return SyntheticStreets(DEVELOPMENT_SEED, 1)[0]


def test_it_is_small_and_has_a_log() -> None:
    path = shipped_predictor()
    assert path.stat().st_size < 4 * 2**20
    assert path.with_suffix(".csv").read_text().startswith("step,")


def test_a_street() -> None:
    start = load_start()
    seen: list[Prediction] = []

    class Watched(type(start)):  # type: ignore[misc]
        def predict(self, request: StartRequest) -> Prediction:
            seen.append(super().predict(request))
            return seen[-1]

    cars = [c for c in frame().truth if c.visible > 0.8 and c.truncated < 0.05]
    names = {car.name for car in cars}
    instances = [i for i in frame().instances() if i.name in names]
    scene = reconstruct(
        frame().image,
        frame().camera,
        instances,
        frame().depth,
        load_prior("car"),
        short_settings(ReconstructSettings(texture_size=16)),
        Run("street", depth_source="file", start=Watched(start.net)),
    )
    assert len(scene.objects) == len(instances) >= 3
    hypotheses = seen[0].best(4)
    errors, turns = [], []
    for index, found in enumerate(scene.objects):
        car = next(c for c in cars if c.name == found.name)
        truth = np.array([*car.pose.location, *car.pose.size, car.pose.yaw])
        box = np.array([*found.pose.location, *found.size, found.yaw])
        errors.append(pose_error(box, truth))
        mine = hypotheses.angles[hypotheses.owner == index, 0].tolist()
        off = [abs((yaw - car.pose.yaw + math.pi) % (2 * math.pi) - math.pi) for yaw in mine]
        turns.append(min(off))
        z = hypotheses.log_depth[hypotheses.owner == index].exp()
        assert float(abs(z[0] / car.pose.location[2] - 1)) < 0.12
    assert float(np.median([e.iou for e in errors])) > 0.6
    assert float(np.median(turns)) < math.radians(25)
