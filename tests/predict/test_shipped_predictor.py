"""The shipped predictor on streets of the development seed: near the truth, heading included."""

from __future__ import annotations

import math

import numpy as np

from diffrender.datasets import DEVELOPMENT_SEED, StreetSettings, SyntheticStreets
from diffrender.evaluate import pose_error
from diffrender.predict import (
    Prediction,
    PredictorStart,
    load_start,
    shipped_predictor,
    short_settings,
)
from diffrender.reconstruct import ReconstructSettings, Run, StartRequest, reconstruct
from diffrender.shape_priors import load_prior

SETTINGS = StreetSettings(cars=(4, 5), distance=(7.0, 24.0), van_share=0.0, clutter=0.5)


def test_it_is_small_and_has_a_log() -> None:
    path = shipped_predictor()
    assert path.stat().st_size < 4 * 2**20
    assert path.with_suffix(".csv").read_text().startswith("step,")


def test_streets() -> None:
    start = load_start()
    errors, turns, depths = [], [], []
    for frame in SyntheticStreets(DEVELOPMENT_SEED, 2, (250, 828), SETTINGS):
        cars = {c.name: c for c in frame.truth if c.visible > 0.6 and c.truncated < 0.1}
        instances = [i for i in frame.instances() if i.name in cars]
        seen: list[Prediction] = []

        class Watched(PredictorStart):
            def predict(self, request: StartRequest) -> Prediction:
                seen.append(super().predict(request))  # noqa: B023 (called within the loop)
                return seen[-1]  # noqa: B023

        scene = reconstruct(
            frame.image,
            frame.camera,
            instances,
            frame.depth,
            load_prior("car"),
            short_settings(ReconstructSettings(texture_size=16)),
            Run("street", depth_source="file", start=Watched(start.net)),
        )
        hypotheses = seen[0].best(4)
        for index, found in enumerate(scene.objects):
            pose = cars[found.name].pose
            truth = np.array([*pose.location, *pose.size, pose.yaw])
            box = np.array([*found.pose.location, *found.size, found.yaw])
            errors.append(pose_error(box, truth))
            mine = hypotheses.angles[hypotheses.owner == index, 0].tolist()
            turns.append(min(abs(math.remainder(yaw - pose.yaw, 2 * math.pi)) for yaw in mine))
            z = float(hypotheses.log_depth[hypotheses.owner == index].exp()[0])
            depths.append(abs(z / pose.location[2] - 1))
    assert len(errors) >= 3
    assert float(np.median([e.iou for e in errors])) > 0.6
    assert float(np.median(turns)) < math.radians(25)
    assert float(np.median(depths)) < 0.06
