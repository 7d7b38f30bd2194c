"""Synthetic street scenes with exact truth: pictures, depth, masks, poses and labels.

Item i of `SyntheticStreets(seed, ...)` depends on (seed, i), the size and the settings only.
Everything in the pictures is made by this package: no photograph, scan or map is used.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from diffrender.cameras import Camera
from diffrender.datasets.kitti_calibration import KittiCalibration
from diffrender.datasets.kitti_labels import KittiLabel
from diffrender.datasets.synthetic_layout import Layout, draw_layout
from diffrender.datasets.synthetic_light import draw_light
from diffrender.datasets.synthetic_noise import add_depth_noise as add_depth_noise
from diffrender.datasets.synthetic_render import Rendering, RoadToLabel, develop, render_layout
from diffrender.datasets.synthetic_settings import DEVELOPMENT_SEED as DEVELOPMENT_SEED
from diffrender.datasets.synthetic_settings import HELD_OUT_SEED as HELD_OUT_SEED
from diffrender.datasets.synthetic_settings import TRAINING_SEED as TRAINING_SEED
from diffrender.datasets.synthetic_settings import StreetSettings as StreetSettings
from diffrender.datasets.synthetic_truth import SyntheticCar as SyntheticCar
from diffrender.datasets.synthetic_truth import car_truth
from diffrender.errors import InputError
from diffrender.instances.record import Instance, box_of_mask
from diffrender.reconstruct.usual import usual_torch

__all__ = [
    "DEVELOPMENT_SEED",
    "HELD_OUT_SEED",
    "TRAINING_SEED",
    "StreetSettings",
    "SyntheticCar",
    "SyntheticFrame",
    "SyntheticStreets",
    "add_depth_noise",
]

_FOCAL, _CENTRE, _SIZE = 721.5377, (609.5593, 172.854), (375, 1242)  # KITTI's, integer centres


@dataclass(frozen=True, eq=False)
class SyntheticFrame:
    """One synthetic frame; reads like a `KittiFrame`. The picture is shaded when first asked for.

    Attributes:
        name: "000000" and so on.
        calibration: KITTI calibration; P2 counts from pixel centres.
        truth: the cars, nearest first; entry k is row k of `labels`.
        depth: (H, W) float32 exact z in the camera's frame, metres, 0 = sky.
        minimum_pixels: see `StreetSettings`.
        camera_height: metres above the road.
    """

    name: str
    calibration: KittiCalibration
    image: np.ndarray  # (H, W, 3)
    depth: np.ndarray  # (H, W)
    truth: list[SyntheticCar]
    minimum_pixels: int
    camera_height: float

    @property
    def size(self) -> tuple[int, int]:
        """(height, width), pixels."""
        return self.depth.shape[0], self.depth.shape[1]

    @cached_property
    def camera(self) -> Camera:
        """Camera with the full P2; world = frame of the labels."""
        return self.calibration.camera(self.size)

    @cached_property
    def labels(self) -> list[KittiLabel]:
        """KITTI label rows, one per car of `truth`."""
        return [car.label for car in self.truth]

    def lidar_depth(self) -> np.ndarray:
        """(H, W) float32 exact depth on every fourth row and second column up to 80 m, else 0."""
        sparse = np.zeros_like(self.depth)
        sparse[2::4, 1::2] = self.depth[2::4, 1::2]
        return np.where(sparse <= 80.0, sparse, np.float32(0))

    def instances(self, source: str = "instance_2") -> list[Instance]:
        """Exact visible masks of the cars with enough pixels; names are those of `truth`.

        `source` is there to read like a `KittiFrame` and must be "instance_2".
        """
        if source != "instance_2":
            raise InputError(f"a synthetic frame has only 'instance_2', not {source!r}")
        return [
            Instance(car.mask, box_of_mask(car.mask), car.category, 1.0, car.name)
            for car in self.truth
            if int(car.mask.sum()) >= max(self.minimum_pixels, 1)
        ]


class SyntheticStreets:
    """A sequence of synthetic street frames.

    Args:
        seed: of every draw. Use DEVELOPMENT_SEED for trials, TRAINING_SEED to fit networks, and
            HELD_OUT_SEED for reported figures only.
        count: number of frames.
        size: (height, width) in pixels; the field of view stays KITTI's.
        settings: ranges of what is drawn.

    Raises:
        InputError: a negative seed or count, or a size under 32 pixels or over 4096.
    """

    def __init__(
        self,
        seed: int = DEVELOPMENT_SEED,
        count: int = 100,
        size: tuple[int, int] = _SIZE,
        settings: StreetSettings | None = None,
    ) -> None:
        if seed < 0 or count < 0:
            raise InputError(f"seed {seed} and count {count}: expected both to be 0 or more")
        if not all(32 <= side <= 4096 for side in size):
            raise InputError(f"size is {size}, expected (height, width) between 32 and 4096 pixels")
        self.seed = seed
        self.count = count
        self.size = size
        self.settings = settings if settings is not None else StreetSettings()

    def __len__(self) -> int:
        return self.count

    def __iter__(self) -> Iterator[SyntheticFrame]:
        return (self[index] for index in range(self.count))

    def __getitem__(self, index: int) -> SyntheticFrame:
        """Frame by position; made anew each time."""
        if not -self.count <= index < self.count:
            raise IndexError(f"frame {index} of {self.count}")
        return _make_frame(self.seed, index % self.count, self.size, self.settings)


def _draw_calibration(
    draw: np.random.Generator, size: tuple[int, int], settings: StreetSettings
) -> KittiCalibration:
    scale_x, scale_y = size[1] / _SIZE[1], size[0] / _SIZE[0]
    focal = _FOCAL * draw.uniform(*settings.focal)
    cx = (_CENTRE[0] + draw.normal(0, 3) + 0.5) * scale_x - 0.5
    cy = (_CENTRE[1] + draw.normal(0, 3) + 0.5) * scale_y - 0.5
    intrinsics = np.array([[focal * scale_x, 0, cx], [0, focal * scale_y, cy], [0, 0, 1]])
    shift = np.array([0.06 + draw.normal(0, 1e-3), draw.normal(0, 5e-4), 0.0027])
    # what a lidar above the camera would have: x forward, y left, z up
    velodyne = np.array([[0, -1, 0, 0], [0, 0, -1, -0.08], [1.0, 0, 0, -0.27]])
    return KittiCalibration(
        P2=np.hstack([intrinsics, (intrinsics @ shift)[:, None]]),
        rectification=np.eye(3),
        velodyne_to_camera=velodyne,
    )


def _draw_tilt(draw: np.random.Generator, settings: StreetSettings) -> RoadToLabel:
    """The camera's small pitch and roll over the road, and its height."""
    pitch = np.deg2rad(settings.pitch_degrees) * np.clip(draw.normal(), -2.5, 2.5)
    roll = np.deg2rad(settings.roll_degrees) * np.clip(draw.normal(), -2.5, 2.5)
    cp, sp, cr, sr = np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    tilt = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]]) @ np.array(
        [[cr, -sr, 0], [sr, cr, 0], [0, 0, 1.0]]
    )
    return RoadToLabel(tilt, tilt @ np.array([0.0, draw.uniform(*settings.camera_height), 0.0]))


@usual_torch()
def _make_frame(
    seed: int, index: int, size: tuple[int, int], settings: StreetSettings
) -> SyntheticFrame:
    # one stream for the street, another for its looks: both from (seed, index) alone
    plan, looks = (np.random.default_rng([seed, index, part]) for part in range(2))
    calibration = _draw_calibration(plan, size, settings)
    camera = calibration.camera(size)
    to_label = _draw_tilt(plan, settings)
    half_view = size[1] / 2 / float(camera.intrinsics[0, 0])
    layout: Layout = draw_layout(plan, settings, half_view)
    light = draw_light(looks, settings.sunny, settings.hard_light)
    rendering: Rendering = render_layout(layout, light, camera, to_label)
    image = develop(rendering.radiance, rendering.depth > 0, looks, settings.photometry)
    truth = car_truth(layout.cars, rendering.owner, camera, to_label)
    height = float(np.linalg.norm(to_label.translation))
    return SyntheticFrame(
        f"{index:06d}", calibration, image, rendering.depth, truth, settings.minimum_pixels, height
    )
