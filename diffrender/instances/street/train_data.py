"""Training pictures of the street segmenter: a folder of .npz files, and how they are varied.

The files are described in `diffrender.datasets.instance_frames`, which renders synthetic ones.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffrender._recolour import Augmentation, recolour
from diffrender._training import read_arrays, training_files
from diffrender.errors import InputError
from diffrender.instances.street.train_loss import Target, target_of

__all__ = ["OwnedSet", "load_owned", "make_street_batch"]

_MAX_BYTES = 12 << 30
_STRETCH = 0.1  # log, of a crop's aspect


@dataclass(frozen=True)
class OwnedSet:
    """Pictures in memory.

    Attributes:
        images: (N, H, W, 3) uint8 RGB.
        owner: (N, H, W) uint8, whose pixel it is.
    """

    images: np.ndarray  # (N, H, W, 3)
    owner: np.ndarray  # (N, H, W)

    def __len__(self) -> int:
        return len(self.images)


def load_owned(*folders: Path) -> OwnedSet:
    """All `frames_*.npz` of the folders.

    Raises:
        InputError: no files, files of unlike sizes, or more than fits in memory.
    """
    paths = training_files(folders, "frames_*.npz", "diffrender.datasets.instance_frames")
    if sum(path.stat().st_size for path in paths) > _MAX_BYTES:
        raise InputError(f"{folders}: more than {_MAX_BYTES} bytes of frames; name fewer")
    images: list[np.ndarray] = []
    owners: list[np.ndarray] = []
    for path in paths:
        arrays = read_arrays(path, ("image", "owner"))
        image, owner = arrays["image"], arrays["owner"]
        alike = not images or image.shape[1:] == images[0].shape[1:]
        fits = image.ndim == 4 and image.shape[3] == 3 and owner.shape == image.shape[:3]
        if image.dtype != np.uint8 or owner.dtype != np.uint8 or not (fits and alike):
            raise InputError(
                f"{path}: image is {image.dtype} {image.shape}, owner {owner.dtype} {owner.shape}; "
                "expected uint8 (N, H, W, 3) and uint8 (N, H, W), alike in all files"
            )
        images.append(image)
        owners.append(owner)
    return OwnedSet(np.concatenate(images), np.concatenate(owners))


def make_street_batch(
    frames: OwnedSet,
    size: tuple[int, int],
    scale: tuple[float, float],
    places: np.ndarray,  # (B,)
    draw: np.random.Generator,
) -> tuple[Tensor, Target]:
    """Crops of the frames at `places`, mirrored and recoloured: (B, 3, h, w), and their targets.

    Args:
        size: (h, w) of the crops.
        scale: pixels of a crop per pixel of the frame, (low, high).
    """
    import cv2

    height, width = size
    images = np.empty((len(places), height, width, 3), np.float32)
    targets = []
    for row, index in enumerate(places):
        rows, columns = _window(frames.owner.shape[1:], size, scale, draw)
        image = frames.images[index, rows, columns]
        owner = frames.owner[index, rows, columns]
        if draw.random() < 0.5:
            image, owner = image[:, ::-1], owner[:, ::-1]
        fewer = width <= image.shape[1]
        way = cv2.INTER_AREA if fewer else cv2.INTER_LINEAR
        resized = cv2.resize(np.ascontiguousarray(image), (width, height), interpolation=way)
        images[row] = recolour(np.asarray(resized, np.float32) / 255, Augmentation(), draw)
        owner = cv2.resize(
            np.ascontiguousarray(owner), (width, height), interpolation=cv2.INTER_NEAREST_EXACT
        )
        targets.append(target_of(np.asarray(owner)))
    return torch.from_numpy(images).permute(0, 3, 1, 2), _stack(targets)


def _window(
    frame: tuple[int, ...],
    size: tuple[int, int],
    scale: tuple[float, float],
    draw: np.random.Generator,
) -> tuple[slice, slice]:
    """A crop's rows and columns in a frame of that (height, width)."""
    zoom = float(np.exp(draw.uniform(*np.log(scale))))
    stretch = float(np.exp(draw.uniform(-_STRETCH, _STRETCH) / 2))
    down = min(size[0] / zoom * stretch, frame[0])
    across = min(size[1] / zoom / stretch, frame[1])
    top, left = draw.uniform(0, frame[0] - down), draw.uniform(0, frame[1] - across)
    return (
        slice(int(top), max(int(top) + 2, round(top + down))),
        slice(int(left), max(int(left) + 2, round(left + across))),
    )


def _stack(targets: list[Target]) -> Target:
    names = [field.name for field in fields(Target)]
    return Target(*(torch.stack([getattr(t, name) for t in targets]) for name in names))
