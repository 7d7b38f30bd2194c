"""Synthetic streets as frames to learn from: pictures, masks and depth with a network's noise."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from diffrender.datasets.synthetic import (
    TRAINING_SEED,
    StreetSettings,
    SyntheticStreets,
    add_depth_noise,
)
from diffrender.predict.cache import Frame
from diffrender.reconstruct.observations import DepthNoise

__all__ = ["StreetFrames"]


@dataclass(frozen=True)
class StreetFrames:
    """Frames 0 .. count - 1 of a seed; of the truth only masks, classes and noisy depth are given.

    Half of the frames have independent noise at every pixel, up to 12 %, half a smooth field as a
    depth network errs, 2 to 10 %. What the noise is, is told with the frame, and the height of the
    camera in the mean over the streets. Pictures are two thirds of KITTI's size by default, which
    halves the time to make them.
    """

    count: int
    seed: int = TRAINING_SEED
    size: tuple[int, int] = (250, 828)
    settings: StreetSettings = field(default_factory=StreetSettings)

    @property
    def description(self) -> str:
        return (
            f"synthetic streets, seed {self.seed}, {self.size[1]} x {self.size[0]}, {self.settings}"
        )

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Frame:
        frame = SyntheticStreets(self.seed, self.count, self.size, self.settings)[index]
        draw = np.random.default_rng([self.seed, index, 7])
        scale = self.size[1] / 1242
        if draw.random() < 0.5:
            sigma = draw.uniform(0.01, 0.12)
            depth = add_depth_noise(frame.depth, sigma, draw)
            noise = DepthNoise(relative=sigma, scale=0.02, correlation=1.0)
        else:
            sigma = draw.uniform(0.02, 0.10)
            depth = add_depth_noise(frame.depth, sigma, draw, draw.uniform(40, 160) * scale)
            noise = DepthNoise(relative=sigma / 2, scale=sigma / 2)
        told = float(np.mean(self.settings.camera_height))  # as a calibration would
        return Frame(frame.name, frame.image, frame.camera, frame.instances(), depth, noise, told)
