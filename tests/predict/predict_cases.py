"""Small things that the predictor's tests share: streets, samples, a tiny network."""

from __future__ import annotations

from functools import cache

import torch

from diffrender.datasets import StreetSettings
from diffrender.predict import (
    PredictorConfig,
    Samples,
    SampleSettings,
    StreetFrames,
    TrainSettings,
    samples_of,
)
from diffrender.shape_priors import ShapePrior, load_prior

TINY = PredictorConfig(backbone="test_resnet", size=32, grid=2, channels=8, hidden=32, hypotheses=4)
SETTINGS = SampleSettings(size=32, frames_per_file=1)
NEAR = StreetSettings(cars=(2, 3), distance=(6.0, 18.0), clutter=0.2)
STREETS = StreetFrames(3, seed=1, size=(96, 320), settings=NEAR)
QUICK = TrainSettings(steps=4, batch=4, every=2, check=2)


@cache
def shards() -> list[Samples]:
    """Samples of the frames of `STREETS`, one entry a frame."""
    found = [samples_of(STREETS[i], SETTINGS)[0] for i in range(len(STREETS))]
    return [one for one in found if one is not None]


@cache
def some() -> Samples:
    """Four objects."""
    return Samples.join(shards())[torch.arange(4)]


@cache
def prior() -> ShapePrior:
    return load_prior("car")
