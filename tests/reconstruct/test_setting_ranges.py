"""Settings out of range are refused where they are made, not after the fit or never."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from test_descents import car, hypotheses, problem

from diffrender.errors import InputError
from diffrender.reconstruct import (
    DepthNoise,
    LossWeights,
    ReconstructSettings,
    StageSettings,
)
from diffrender.reconstruct.classes import ClassSize
from diffrender.reconstruct.lbfgs import LBFGS
from diffrender.reconstruct.settings import StepSizes
from diffrender.shape_priors import default_texture

STAGE = {"iterations": 4, "size": (32, 32), "keep": 1}


@pytest.mark.parametrize(
    ("kind", "change", "message"),
    [
        (ReconstructSettings, {"texture_size": 8}, "texture_size is 8, expected 16 to 8192"),
        (ReconstructSettings, {"tolerance": math.nan}, "tolerance is nan"),
        (ReconstructSettings, {"camera_height": 0.0}, "camera_height is 0.0"),
        (ReconstructSettings, {"colour_space": "hsv"}, "colour_space is 'hsv'"),
        (ReconstructSettings, {"colour_bend": 0.0}, "colour_bend is 0.0"),
        (ReconstructSettings, {"hypotheses": 2.5}, "hypotheses is 2.5, expected a whole number"),
        (StageSettings, STAGE | {"iterations": -1}, "iterations -1, keep 1"),
        (StageSettings, STAGE | {"keep": 0}, "iterations 4, keep 0"),
        (StageSettings, STAGE | {"size": (3, 32)}, r"size is \(3, 32\), expected .* at least 4"),
        (StageSettings, STAGE | {"jumps": (-1.0,)}, "shares of the depth above -1"),
        (StageSettings, STAGE | {"turns": (math.inf,)}, "expected degrees"),
        (StepSizes, {"yaw": -0.1}, "StepSizes.yaw is -0.1"),
        (LossWeights, {"silhouette": math.nan}, "LossWeights.silhouette is nan"),
        (DepthNoise, {"relative": math.nan}, "DepthNoise has relative nan"),
        (DepthNoise, {"scale": 0.0}, "DepthNoise has scale 0.0"),
        (DepthNoise, {"relative": 0.0, "floor": 0.0}, "nothing is exact"),
        (DepthNoise, {"correlation": 0.0}, "DepthNoise.correlation is 0.0"),
        (ClassSize, {"mean": (4, 2, 1), "sigma": (0, 1, 1)}, r"ClassSize.sigma is \(0, 1, 1\)"),
        (ClassSize, {"mean": (4, -2, 1), "sigma": (1, 1, 1)}, "ClassSize.mean"),
    ],
)
def test_what_no_run_could_use_is_refused(kind: Any, change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        kind(**change)


def test_the_textures_that_settings_allow_are_those_that_can_be_made() -> None:
    for side in (15, 8193):
        with pytest.raises(InputError):
            default_texture(car(), resolution=side)
        with pytest.raises(InputError):
            ReconstructSettings(texture_size=side)
    assert default_texture(car(), resolution=16).shape == (16, 16, 3)
    assert ReconstructSettings(texture_size=16).texture_size == 16


def test_a_variable_without_a_step_stays_where_it_starts() -> None:
    held = dataclasses.replace(problem(), steps=StepSizes(yaw=0.0))
    start = hypotheses([0.7], depth=11.0)
    *_, last = LBFGS().run(held, start, 8)
    assert torch.equal(last.hypotheses.angles, start.angles)
    assert last.value.total < held.value(start).total
    assert not torch.equal(last.hypotheses.log_depth, start.log_depth)
