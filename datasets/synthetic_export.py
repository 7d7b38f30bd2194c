"""Synthetic streets as files: the layout of the KITTI object data set."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from diffrender._files import write_bytes_atomic
from diffrender.datasets.kitti_calibration import KittiCalibration
from diffrender.datasets.kitti_labels import KittiLabel
from diffrender.datasets.synthetic import SyntheticFrame
from diffrender.errors import InputError

__all__ = ["calibration_text", "depth_png", "instance_png", "label_text", "write_kitti"]

_DEPTH_UNITS = 256.0  # per metre, as in KITTI's depth maps
_BASELINE = 0.5327  # metres between KITTI's left and right cameras


def write_kitti(frames: Iterable[SyntheticFrame], folder: str | os.PathLike[str]) -> Path:
    """Write frames as FOLDER/training/{image_2,calib,label_2,instance_2,depth_2}/NAME and
    FOLDER/ImageSets/{trainval,val}.txt, so that `KittiObject(folder)` reads them.

    label_2 has the official 15 columns (yaw only, two decimals); instance_2 is 16-bit, id k is
    row k of the labels counted from 1; depth_2 is 16-bit in 1/256 m, 0 = sky or over 255.99 m.
    Frames are written one by one, each file under a temporary name that is then moved.

    Returns:
        The folder.

    Raises:
        InputError: FOLDER/training is there and not empty, or two frames have one name: nothing
            is overwritten. Of a list or tuple that is seen before anything is written, of a stream
            before its second frame of that name is.
    """
    root = Path(folder)
    split = root / "training"
    if split.exists() and any(split.iterdir()):
        raise InputError(
            f"{split} is not empty; name a new folder, synthetic frames overwrite nothing"
        )
    if isinstance(frames, list | tuple):
        known: set[str] = set()
        for frame in frames:
            _claim(frame.name, known)
    try:
        (split / "image_2").mkdir(parents=True)  # another writer may have looked at the same time
    except FileExistsError:
        raise InputError(f"{split} is being written by another run; name a new folder") from None
    names: list[str] = []
    taken: set[str] = set()
    for frame in frames:
        _claim(frame.name, taken)
        files = {
            "image_2": (".png", _png(frame.image[..., ::-1])),
            "calib": (".txt", calibration_text(frame.calibration).encode()),
            "label_2": (".txt", label_text(frame.labels).encode()),
            "instance_2": (".png", instance_png(frame)),
            "depth_2": (".png", depth_png(frame.depth)),
        }
        for part, (suffix, content) in files.items():
            write_file(split / part / f"{frame.name}{suffix}", content)
        names.append(frame.name)
    listing = "".join(f"{name}\n" for name in names).encode()
    for list_name in ("trainval", "val"):
        write_file(root / "ImageSets" / f"{list_name}.txt", listing)
    return root


def _claim(name: str, taken: set[str]) -> None:
    """Add a name that no frame has yet."""
    if name in taken:
        raise InputError(
            f"two frames are called {name!r}, expected a name of its own for each; rename one "
            "(dataclasses.replace(frame, name=...)) or write them to two folders"
        )
    taken.add(name)


def write_file(path: Path, content: bytes) -> None:
    """Write under a temporary name in the same folder, then move; makes the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes_atomic(path, content)


def _png(picture: np.ndarray) -> bytes:
    """PNG of a grey or BGR picture of 8 or 16 bits."""
    import cv2

    return cv2.imencode(".png", picture, [cv2.IMWRITE_PNG_COMPRESSION, 9])[1].tobytes()


def instance_png(frame: SyntheticFrame) -> bytes:
    """16-bit PNG of ids: row of the labels, from 1; 0 = none. Cars with fewer pixels than the
    frame's minimum are left out, as from `frame.instances()`."""
    ids = np.zeros(frame.size, np.uint16)
    rows = {car.name: number for number, car in enumerate(frame.truth, start=1)}
    for one in frame.instances():
        ids[one.mask] = rows[one.name]
    return _png(ids)


def depth_png(depth: np.ndarray) -> bytes:  # (H, W)
    """16-bit PNG of a depth map in 1/256 m; 0 = unknown or beyond 255.99 m."""
    units = np.round(depth * _DEPTH_UNITS)
    return _png(np.where(units <= 65535, units, 0).astype(np.uint16))


def label_text(labels: Iterable[KittiLabel]) -> str:
    """Rows of a KITTI label file, 15 columns with two decimals."""
    lines = []
    for row in labels:
        numbers = (row.alpha, *row.box, row.height, row.width, row.length, *row.location)
        values = " ".join(f"{value:.2f}" for value in (*numbers, row.rotation_y))
        lines.append(f"{row.type} {row.truncated:.2f} {row.occluded} {values}\n")
    return "".join(lines)


def calibration_text(calibration: KittiCalibration) -> str:
    """A KITTI calibration file; P0, P1 and P3 are placed as on KITTI's car."""
    p2 = calibration.P2
    focal = p2[0, 0]

    def beside(shift: float) -> np.ndarray:
        matrix = np.hstack([p2[:, :3], np.zeros((3, 1))])
        matrix[0, 3] = focal * shift
        return matrix

    to_camera = calibration.velodyne_to_camera
    rectification = calibration.rectification
    matrices = {
        "P0": beside(0.0),
        "P1": beside(-_BASELINE),
        "P2": p2,
        "P3": beside(0.06 - _BASELINE),
        "R0_rect": np.eye(3) if rectification is None else rectification,
        "Tr_velo_to_cam": np.eye(4)[:3] if to_camera is None else to_camera,
        "Tr_imu_to_velo": np.eye(4)[:3],
    }
    return "".join(
        f"{name}: {' '.join(f'{value:.12e}' for value in matrix.ravel())}\n"
        for name, matrix in matrices.items()
    )
