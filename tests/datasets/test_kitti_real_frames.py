"""The loader against real KITTI frames (needs DIFFRENDER_SHARED)."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrender.cameras import Camera
from diffrender.datasets import KittiObject
from diffrender.instances import load_instances
from diffrender.reconstruct.scene import Pose


@pytest.fixture(scope="module")
def frames(shared: Path) -> KittiObject:
    return KittiObject(shared / "data" / "kitti")


def _box_errors(frames: KittiObject, fourth_column: bool, half_pixel: bool) -> np.ndarray:
    """Projected 3D box minus 2D box (left, top, right, bottom) of whole, untruncated cars."""
    errors = []
    for frame in frames:
        height, width = frame.size
        projection = torch.tensor(frame.calibration.P2)
        if not fourth_column:
            projection[:, 3] = 0
        camera = Camera.from_projection(projection, frame.size, pixel_centres="integer")
        for row in frame.labels:
            if row.type not in ("Car", "Van") or row.truncated > 0:
                continue
            corners = torch.tensor(Pose(row.location, row.size_lwh, row.rotation_y).corners())
            pixels = camera.project(corners)[0].numpy()
            box = np.concatenate([pixels.min(axis=0), pixels.max(axis=0)])
            if box[0] > 2 and box[2] < width - 2 and box[3] < height - 2:
                errors.append(box - (row.box_corner if half_pixel else row.box))
    return np.array(errors)


def test_convention_fourth_column_of_p2(frames: KittiObject) -> None:
    full = _box_errors(frames, fourth_column=True, half_pixel=True)
    without = _box_errors(frames, fourth_column=False, half_pixel=True)
    assert len(full) > 50
    assert (np.abs(np.median(full, axis=0)) < 0.4).all()
    # 6 cm to the side are about a pixel and a half at 25 m.
    shift = np.median((full - without)[:, [0, 2]], axis=0)
    assert (shift > 0.8).all()


def test_convention_boxes_of_labels_count_from_pixel_centres(frames: KittiObject) -> None:
    # The right and top edges of the 3D box bound the car tightly, so they show half a pixel.
    right = np.array([2, 1])
    corner = np.median(_box_errors(frames, True, half_pixel=True)[:, right], axis=0)
    index = np.median(_box_errors(frames, True, half_pixel=False)[:, right], axis=0)
    assert (np.abs(corner) < 0.15).all()
    assert (index > 0.35).all()


def test_lidar_depth_agrees_with_the_labels(frames: KittiObject) -> None:
    """Lidar points in the middle of a whole car's box lie on the car's near side.

    Not for all: poles, which the labels do not count as occlusion, stand before some cars.
    """
    agrees = []
    for frame in frames:
        if not (frame.folder / "velodyne" / f"{frame.name}.bin").exists():
            continue
        depth = frame.lidar_depth()
        assert 0.01 < (depth > 0).mean() < 0.1
        for row in frame.labels:
            left, top, right, bottom = row.box_corner
            if row.type != "Car" or row.occluded or row.truncated > 0 or bottom - top < 40:
                continue
            middle = depth[
                int(top * 0.4 + bottom * 0.6) : int(top * 0.2 + bottom * 0.8),
                int(left * 0.7 + right * 0.3) : int(left * 0.3 + right * 0.7),
            ]
            points = middle[middle > 0]
            corners = Pose(row.location, row.size_lwh, row.rotation_y).corners()
            nearest, farthest = corners[:, 2].min(), corners[:, 2].max()
            agrees.append(nearest - 0.5 < np.median(points) < (nearest + farthest) / 2 + 0.5)
    assert len(agrees) >= 8
    assert np.mean(agrees) > 0.8


def test_masks_lie_in_their_boxes(frames: KittiObject) -> None:
    count = 0
    for frame in frames:
        for one in frame.instances():
            left, top, right, bottom = (round(side) for side in one.box)
            grown = one.mask[max(top - 3, 0) : bottom + 3, max(left - 3, 0) : right + 3]
            assert grown.sum() > 0.95 * one.mask.sum()
            count += 1
    assert count == 60


def test_grabcut_agrees_with_the_network_masks(frames: KittiObject) -> None:
    """Masks from the label boxes alone against those of a segmentation network."""
    overlaps = []
    for frame in itertools.islice(frames, 10):
        found, rejected = load_instances(
            frame.folder / "label_2" / f"{frame.name}.txt", frame.image
        )
        assert not rejected
        masks = {one.name: one.mask for one in found}
        for one in frame.instances():
            row = frame.labels[int(one.name.rsplit("_", 1)[1]) - 1]
            if row.occluded < 2 and row.truncated <= 0.3 and row.box[3] - row.box[1] >= 30:
                both = (one.mask & masks[one.name]).sum()
                overlaps.append(both / (one.mask | masks[one.name]).sum())
    assert len(overlaps) > 8
    assert np.median(overlaps) > 0.75


def test_split_lists_of_the_benchmark(frames: KittiObject) -> None:
    lists = {name: frames.split_list(name) for name in ("train", "val", "trainval")}
    assert (len(lists["train"]), len(lists["val"])) == (3712, 3769)
    assert sorted(lists["train"] + lists["val"]) == lists["trainval"]
    assert frames.split_list("val", present_only=True) == ["000002"]
