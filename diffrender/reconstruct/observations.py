"""What is known of one object before any fitting: its box, open sides and depth points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct.classes import depth_span
from diffrender.reconstruct.windows import Window

__all__ = [
    "DepthNoise",
    "Observation",
    "UnusableInstanceError",
    "inner_mask",
    "observe",
    "open_sides",
]

_MIN_MASK_PIXELS = 40
_MIN_INNER_PIXELS = 200
_MAX_POINTS = 400
_PATCHES = 150
_TOUCH = 2  # pixels between a side of the box and what cuts it
_BEHIND = 4.0  # metres: what is seen so much farther away than an object cannot hide it


class UnusableInstanceError(InputError):
    """This instance cannot be reconstructed; the others can."""


@dataclass(frozen=True)
class DepthNoise:
    """What to believe of a depth source.

    Attributes:
        relative: standard deviation of one pixel's depth, as a share of it.
        scale: standard deviation (log) of the error common to all pixels of one object.
        floor: metres, never believe the surface more than this: shapes are not exact.
        shared: share of the variance of `scale` that all objects of an image have in common, in
            [0, 1]: then they agree on one factor while they are fitted.
        correlation: pixels over which errors are alike. None: all of an object's pixels err
            alike, as a network's do; 1: every pixel errs on its own.
    """

    relative: float = 0.05
    scale: float = 0.05
    floor: float = 0.10
    correlation: float | None = None
    shared: float = 0.0

    def __post_init__(self) -> None:
        if not 0 <= self.shared <= 1:
            raise InputError(f"DepthNoise.shared is {self.shared}, expected a share in [0, 1]")
        if not (0 <= self.relative < np.inf and 0 <= self.floor < np.inf):
            raise InputError(
                f"DepthNoise has relative {self.relative}, floor {self.floor}; expected finite "
                "numbers, at least 0"
            )
        if not (0 < self.scale < np.inf and self.relative + self.floor > 0):
            raise InputError(
                f"DepthNoise has scale {self.scale}, relative {self.relative}, floor {self.floor}; "
                "expected a finite scale above 0, and one of the others above 0: nothing is exact"
            )
        if self.correlation is not None and not 0 < self.correlation < np.inf:
            raise InputError(
                f"DepthNoise.correlation is {self.correlation}, expected pixels above 0, or None"
            )


@dataclass(frozen=True)
class Observation:
    """One instance with its evidence, all in float64.

    Attributes:
        instance: the 2D instance.
        mask_box: (4,) left, top, right, bottom of the mask, corner-based pixels.
        open_sides: (4,) bool, True where a side is the object's own edge: it touches neither the
            image's border nor an instance that may hide it.
        points: (N, 3) depth points on the object, metres, frame of the labels.
        depth: median z of those points in the camera frame, metres, or NaN without points.
        hiding: (H, W) bool, pixels of other instances that may hide this one: all but those that
            the depth map puts clearly behind it.
    """

    instance: Instance
    mask_box: np.ndarray  # (4,)
    open_sides: np.ndarray  # (4,)
    points: np.ndarray  # (N, 3)
    depth: float
    hiding: np.ndarray  # (H, W)

    def distance(self, camera: Camera, height: float) -> float:
        """`depth`, or without points the z at which `height` (metres) spans the mask's box."""
        if not np.isnan(self.depth):
            return self.depth
        pixels = float(self.mask_box[3] - self.mask_box[1])
        return float(camera.intrinsics[1, 1]) * height / pixels


def observe(
    instances: list[Instance],
    everyone: list[Instance],
    camera: Camera,
    depth: np.ndarray | None,  # (H, W)
) -> tuple[list[Observation], list[tuple[Instance, str]]]:
    """Observations of the usable instances, and the unusable ones with their reasons.

    Args:
        everyone: all instances of the image; the others hide parts of this one.
        depth: metres, 0 = unknown, or None.
    """
    usable, refused = [], []
    depths = [_median_depth(_depth_points(i, camera, depth), camera) for i in everyone]
    neighbours = list(zip(everyone, depths, strict=True))
    for instance in instances:
        try:
            usable.append(_observe_one(instance, neighbours, camera, depth))
        except UnusableInstanceError as error:
            refused.append((instance, str(error)))
    return usable, refused


def _observe_one(
    instance: Instance,
    everyone: list[tuple[Instance, float]],
    camera: Camera,
    depth: np.ndarray | None,
) -> Observation:
    mask = instance.mask
    if mask.shape != tuple(camera.size):
        raise UnusableInstanceError(
            f"its mask is {mask.shape[0]} x {mask.shape[1]} pixels, "
            f"the image is {camera.size[0]} x {camera.size[1]}: resize the mask to the image"
        )
    count = int(mask.sum())
    if count < _MIN_MASK_PIXELS:
        raise UnusableInstanceError(
            f"its mask has {count} pixels, at least {_MIN_MASK_PIXELS} are needed"
        )
    box = np.array(box_of_mask(mask))
    points = _depth_points(instance, camera, depth)
    if depth is not None and len(points) == 0:
        raise UnusableInstanceError("no depth is known inside its mask")
    middle = _median_depth(points, camera)
    hiding = np.zeros_like(mask)
    for other, its_middle in everyone:
        # An unknown depth compares as False: then the other may well be in front.
        behind = its_middle > middle + _BEHIND
        if other is not instance and other.mask.shape == mask.shape and not behind:
            hiding |= other.mask
    return Observation(instance, box, open_sides(box, mask, hiding), points, middle, hiding)


def _median_depth(points: np.ndarray, camera: Camera) -> float:  # (N, 3)
    """Median z in the camera frame, NaN without points."""
    if not len(points):
        return float("nan")
    world = torch.from_numpy(points)
    return float(camera.to(torch.float64).world_to_camera(world)[:, 2].median())


def open_sides(box: np.ndarray, mask: np.ndarray, others: np.ndarray) -> np.ndarray:
    """A side is closed where the border or another mask lies just beyond the mask's own edge."""
    height, width = mask.shape
    left, top, right, bottom = box.astype(int)
    inside = np.array(
        [left > _TOUCH, top > _TOUCH, right < width - _TOUCH, bottom < height - _TOUCH]
    )
    band = 2 * _TOUCH
    strips = [
        others[top:bottom, max(left - band, 0) : left + band],
        others[max(top - band, 0) : top + band, left:right],
        others[top:bottom, max(right - band, 0) : right + band],
        others[max(bottom - band, 0) : bottom + band, left:right],
    ]
    lengths = np.array([bottom - top, right - left, bottom - top, right - left])
    # A side is hidden when the other mask lines more than a tenth of it.
    lined = np.array([s.any(axis=1 - i % 2).sum() for i, s in enumerate(strips)])
    return inside & (lined <= 0.1 * lengths)


def _depth_points(instance: Instance, camera: Camera, depth: np.ndarray | None) -> np.ndarray:
    mask = instance.mask
    if depth is None or depth.shape != mask.shape or not mask.any():
        return np.zeros((0, 3))
    around, eroded = inner_mask(mask, box_of_mask(mask))
    depth = depth[around.pixels]
    rows, columns = np.nonzero(eroded & (depth > 0) & np.isfinite(depth))
    if len(rows) == 0:
        return np.zeros((0, 3))
    z = depth[rows, columns].astype(np.float64)
    if len(z) > 0.5 * eroded.sum():
        rows, columns, z = _patch_medians(rows, columns, z)
    keep = _densest_window(z, depth_span(instance.category))
    rows, columns, z = rows[keep], columns[keep], z[keep]
    if len(z) > _MAX_POINTS:
        pick = np.linspace(0, len(z) - 1, _MAX_POINTS).astype(int)
        rows, columns, z = rows[pick], columns[pick], z[pick]
    across, down = columns + around.left + 0.5, rows + around.top + 0.5
    pixels = torch.from_numpy(np.stack([across, down], axis=-1))
    return camera.to(torch.float64).unproject(pixels, torch.from_numpy(z)).numpy()


def inner_mask(
    mask: np.ndarray,  # (H, W)
    box: Sequence[float] | np.ndarray,  # (4,)
) -> tuple[Window, np.ndarray]:
    """The mask without its outermost pixels, where depth maps bleed; small masks stay whole.

    Args:
        box: of the mask, left, top, right, bottom.

    Returns:
        The part of the image around the mask, and the inner mask there, (h, w).
    """
    around = Window.of_box(box, mask.shape, margin=1)
    mask = mask[around.pixels]
    inner = mask.copy()
    inner[1:] &= mask[:-1]
    inner[:-1] &= mask[1:]
    inner[:, 1:] &= mask[:, :-1]
    inner[:, :-1] &= mask[:, 1:]
    return around, inner if inner.sum() > _MIN_INNER_PIXELS else mask


def _patch_medians(
    rows: np.ndarray, columns: np.ndarray, z: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A dense map thinned to the median of every patch: averages noise, keeps edges."""
    side = max(1.0, float(np.sqrt(len(z) / _PATCHES)))
    i = ((rows - rows.min()) // side).astype(int)
    j = ((columns - columns.min()) // side).astype(int)
    patch = i * (int(j.max()) + 1) + j
    order = np.argsort(patch, kind="stable")
    starts = np.flatnonzero(np.r_[True, np.diff(patch[order]) > 0])
    groups = np.split(order, starts[1:])
    middle_row = np.array([rows[g].mean() for g in groups])
    middle_column = np.array([columns[g].mean() for g in groups])
    return middle_row, middle_column, np.array([np.median(z[g]) for g in groups])


def _densest_window(z: np.ndarray, span: float) -> np.ndarray:
    """Members of the interval of length `span` that holds most of `z`: drops the background."""
    ordered = np.sort(z)
    counts = np.searchsorted(ordered, ordered + span, side="right") - np.arange(len(z))
    start = ordered[int(counts.argmax())]
    return (z >= start) & (z <= start + span)
