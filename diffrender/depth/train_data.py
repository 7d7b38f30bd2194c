"""Training frames for a depth network: a folder of .npz files, and how they are varied.

The files are described in `diffrender.datasets.depth_frames`, which renders synthetic ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffrender._recolour import Augmentation, recolour
from diffrender._training import read_arrays, training_files
from diffrender.depth.dpt import DptConfig
from diffrender.errors import InputError
from diffrender.road import CAMERA_HEIGHT

__all__ = ["Batch", "FrameSet", "load_frames", "make_batch", "whole_frames"]

_MAX_BYTES = 12 << 30
_MISTOLD = 0.02  # standard deviation of log height: mounts are measured, and loads sink cars


@dataclass(frozen=True)
class FrameSet:
    """Frames in memory.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        depth: (N, H, W) float16 metres, 0 = unknown, inf = sky.
        focal: (N,) float32 pixels.
        height: (N,) float32 metres of the camera above the road.
        owner: (N, H, W) uint8, vehicles of a frame by number, 0 and 255 none that counts.
    """

    images: np.ndarray  # (N, H, W, 3)
    depth: np.ndarray  # (N, H, W)
    focal: np.ndarray  # (N,)
    height: np.ndarray  # (N,)
    owner: np.ndarray  # (N, H, W)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class Batch:
    """What a step is taken on; depth is as the reference camera of the network would see it.

    Attributes:
        image: (B, 3, h, w) float32 in [0, 1].
        depth: (B, 1, h/2, w/2) float32 metres, 0 = unknown, inf = sky.
        factor: (B,) metres per metre of `depth`: multiply by it for the true depth.
        owner: (B, 1, h/2, w/2) uint8, as the frames have it.
        height: (B,) float32 metres of the camera above the road, as the network is told.
    """

    image: Tensor  # (B, 3, h, w)
    depth: Tensor  # (B, 1, h/2, w/2)
    factor: Tensor  # (B,)
    owner: Tensor  # (B, 1, h/2, w/2)
    height: Tensor  # (B,)


def load_frames(*folders: Path, limit: int | None = None) -> FrameSet:
    """All `frames_*.npz` of the folders, or the first `limit` frames.

    Raises:
        InputError: no files, files of unlike sizes, cameras without a focal length or a height,
            more than fits in memory, or a limit of less than a frame.
    """
    if limit is not None and limit < 1:
        raise InputError(f"limit is {limit}, expected at least one frame")
    paths = training_files(folders, "frames_*.npz", "diffrender.datasets.depth_frames")
    images, depths, focals, heights, owners, total, size = [], [], [], [], [], 0, 0
    for path in paths:
        size += path.stat().st_size
        if size > _MAX_BYTES:
            raise InputError(f"{path}: more than {_MAX_BYTES} bytes of frames; use a limit")
        arrays = read_arrays(path, ("image", "depth", "focal"), ("height", "owner"))
        images.append(arrays["image"])
        depths.append(arrays["depth"].astype(np.float16))
        focals.append(arrays["focal"].astype(np.float32))
        usual = np.full(focals[-1].shape, CAMERA_HEIGHT, np.float32)
        heights.append(arrays.get("height", usual).astype(np.float32))
        owners.append(arrays.get("owner", np.zeros(depths[-1].shape, np.uint8)))
        image, depth = images[-1], depths[-1]
        same = image.shape[1:] == images[0].shape[1:] and depth.shape == image.shape[:3]
        same = same and focals[-1].shape == heights[-1].shape == image.shape[:1]
        same = same and owners[-1].shape == depth.shape
        bytes_ = image.dtype == owners[-1].dtype == np.uint8
        if not bytes_ or image.ndim != 4 or image.shape[3] != 3 or not same:
            raise InputError(
                f"{path}: image is {image.dtype} of shape {image.shape}, depth {depth.shape}, "
                f"focal {focals[-1].shape}, height {heights[-1].shape}, owner {owners[-1].dtype} "
                f"{owners[-1].shape}; expected (N, H, W, 3) uint8, (N, H, W), (N,), (N,) and "
                "(N, H, W) uint8, alike in all files"
            )
        for name, values in (("focal", focals[-1]), ("height", heights[-1])):
            if not (np.isfinite(values) & (values > 0)).all():
                raise InputError(f"{path}: {name} is {values.tolist()}, expected positive numbers")
        total += len(image)
        if limit is not None and total >= limit:
            break
    joined = (np.concatenate(part)[:limit] for part in (images, depths, focals, heights, owners))
    return FrameSet(*joined)


def make_batch(
    frames: FrameSet,
    config: DptConfig,
    augmentation: Augmentation,
    count: int,
    draw: np.random.Generator,
) -> Batch:
    """Draw `count` frames, crop, mirror and recolour them."""
    import cv2

    height, width = config.size
    images = np.empty((count, height, width, 3), np.float32)
    depths = np.empty((count, 1, height // 2, width // 2), np.float32)
    factors, heights = np.empty(count, np.float32), np.empty(count, np.float32)
    owners = np.empty((count, 1, height // 2, width // 2), np.uint8)
    frame_height, frame_width = frames.images.shape[1:3]
    for row, index in enumerate(draw.integers(0, len(frames), count)):
        aspect = width / height * np.exp(draw.uniform(*np.log(augmentation.stretch)))
        widest = min(frame_width, frame_height * aspect)
        across = widest * draw.uniform(*augmentation.crop)
        down = across / aspect
        left, top = draw.uniform(0, frame_width - across), draw.uniform(0, frame_height - down)
        rows = slice(int(top), max(int(top) + 2, round(top + down)))
        columns = slice(int(left), max(int(left) + 2, round(left + across)))
        image = frames.images[index, rows, columns]
        depth = frames.depth[index, rows, columns].astype(np.float32)
        owner = frames.owner[index, rows, columns]
        if draw.random() < 0.5:
            image, depth, owner = image[:, ::-1], depth[:, ::-1], owner[:, ::-1]
        focal = frames.focal[index] * width / (columns.stop - columns.start)
        factors[row] = config.metres(focal, frames.height[index])
        smaller = width <= image.shape[1]
        images[row] = cv2.resize(
            np.ascontiguousarray(image),
            (width, height),
            interpolation=cv2.INTER_AREA if smaller else cv2.INTER_LINEAR,
        )
        depths[row, 0] = _nearest(depth, (height // 2, width // 2)) / factors[row]
        owners[row, 0] = _nearest(owner, (height // 2, width // 2))
        images[row] = recolour(images[row] / 255.0, augmentation, draw)
        heights[row] = frames.height[index]
        if config.height_input:
            heights[row] *= np.exp(_MISTOLD * draw.standard_normal())
    return Batch(
        torch.from_numpy(images).permute(0, 3, 1, 2),
        torch.from_numpy(depths),
        torch.from_numpy(factors),
        torch.from_numpy(owners),
        torch.from_numpy(heights),
    )


def whole_frames(frames: FrameSet, config: DptConfig, indices: np.ndarray) -> Batch:  # (B,)
    """Frames resized whole to the network's input, unvaried: for validation."""
    import cv2

    height, width = config.size
    images = np.stack(
        [
            cv2.resize(frames.images[k], (width, height), interpolation=cv2.INTER_AREA)
            for k in indices
        ]
    )
    focals = frames.focal[indices] * width / frames.images.shape[2]
    heights = frames.height[indices]
    metres = [config.metres(f, h) for f, h in zip(focals, heights, strict=True)]
    factors = np.array(metres, np.float32)
    depths = np.stack(
        [_nearest(frames.depth[k].astype(np.float32), (height // 2, width // 2)) for k in indices]
    )
    owners = np.stack([_nearest(frames.owner[k], (height // 2, width // 2)) for k in indices])
    return Batch(
        torch.from_numpy(images.astype(np.float32) / 255.0).permute(0, 3, 1, 2),
        torch.from_numpy(depths[:, None] / factors[:, None, None, None]),
        torch.from_numpy(factors),
        torch.from_numpy(owners[:, None]),
        torch.from_numpy(heights),
    )


def _nearest(depth: np.ndarray, size: tuple[int, int]) -> np.ndarray:  # (H, W)
    """Nearest sample: a mean over an edge would be a depth where nothing is."""
    rows = ((np.arange(size[0]) + 0.5) * depth.shape[0] / size[0]).astype(int)
    columns = ((np.arange(size[1]) + 0.5) * depth.shape[1] / size[1]).astype(int)
    return depth[np.ix_(rows, columns)]
