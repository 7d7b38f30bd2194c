"""KITTI object detection: frames with image, calibration, labels, velodyne and instances.

Source: Geiger et al., "Are we ready for autonomous driving?", CVPR 2012. The data is licensed
CC BY-NC-SA 3.0 and is not part of this package.
"""

from __future__ import annotations

import operator
import os
import re
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Final, SupportsIndex

import numpy as np

from diffrender.cameras import Camera
from diffrender.datasets.kitti_calibration import KittiCalibration, load_calibration
from diffrender.datasets.kitti_labels import KittiLabel, load_labels
from diffrender.errors import InputError
from diffrender.instances.load import load_instances, named_after
from diffrender.instances.reading import read_bytes, read_image, read_text
from diffrender.instances.record import Instance, Rejected

__all__ = ["TRAFFIC", "KittiFrame", "KittiObject", "load_velodyne", "project_velodyne"]

TRAFFIC: Final = "right"  # the side of the road on which KITTI's streets are driven
VELODYNE_LIMIT = 128 * 2**20
_IMAGE_SUFFIXES = (".png", ".jpg", ".jpeg")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
_NAMED = "names of frames are ASCII letters, digits, _ and -, and begin with a letter or digit"


class KittiObject:
    """The KITTI object data set, or a part of it: a sequence of `KittiFrame`.

    Expects ROOT/SPLIT/image_2 and calib; label_2, velodyne, instance_2 and others where they
    are used. A frame is asked for by name ("000003") or by position in `names`.

    Raises:
        InputError: the folders are not there.
    """

    def __init__(self, root: str | os.PathLike[str], split: str = "training") -> None:
        self.root = Path(root)
        self.split = split
        self.folder = self.root / split
        images = self.folder / "image_2"
        if not images.is_dir():
            raise InputError(_layout_hint(self.root, split))
        there = [p for p in sorted(images.iterdir()) if p.suffix.lower() in _IMAGE_SUFFIXES]
        self._images = {path.stem: path for path in there if _NAME.fullmatch(path.stem)}
        odd = [path.name for path in there if path.stem not in self._images]
        if not self._images:
            found = f", {odd[0]!r} is none: {_NAMED}" if odd else ""
            raise InputError(f"{images} holds no image such as 000003.png{found}")
        if odd:
            warnings.warn(
                f"{len(odd)} images of {images} are left out, the first is {odd[0]!r}: {_NAMED}",
                stacklevel=2,
            )

    @property
    def names(self) -> list[str]:
        """Names of the frames that have an image, sorted."""
        return list(self._images)

    def __len__(self) -> int:
        return len(self._images)

    def __iter__(self) -> Iterator[KittiFrame]:
        return (KittiFrame(self.folder, name, path) for name, path in self._images.items())

    def __getitem__(self, key: str | SupportsIndex) -> KittiFrame:
        """Frame by name, or by position in `names`.

        Raises:
            InputError: no frame of that name.
            IndexError: the position is out of range.
        """
        name = key if isinstance(key, str) else self.names[operator.index(key)]
        if name not in self._images:
            names = self.names
            why = "" if _NAME.fullmatch(name) else f"; {_NAMED}"
            raise InputError(
                f"{self.folder / 'image_2'} has no frame {name!r}; it holds {len(names)} frames "
                f"from {names[0]} to {names[-1]}{why}"
            )
        return KittiFrame(self.folder, name, self._images[name])

    def split_list(self, name: str, *, present_only: bool = False) -> list[str]:
        """Frame names of a split list such as "train" or "val", in the file's order.

        Read from ROOT/ImageSets/NAME.txt or ROOT/NAME.txt. A list may name frames that this
        folder lacks: `present_only` leaves those out.

        Raises:
            InputError: no such list, a line that is no frame name, or a name given twice.
        """
        candidates = (self.root / "ImageSets" / f"{name}.txt", self.root / f"{name}.txt")
        path = next((path for path in candidates if path.is_file()), None)
        if path is None or not _NAME.fullmatch(name):
            raise InputError(f"no split list {name!r}: expected {candidates[0]} or {candidates[1]}")
        lines: dict[str, int] = {}
        for number, line in enumerate(read_text(path, "a split list").split("\n"), start=1):
            frame = line.strip()
            if not frame:
                continue
            if not _NAME.fullmatch(frame):
                raise InputError(f"{path} line {number}: {frame[:40]!r} is not a frame name")
            if frame in lines:
                raise InputError(
                    f"{path} line {number}: {frame} is given twice, first on line {lines[frame]}"
                )
            lines[frame] = number
        return [frame for frame in lines if not present_only or frame in self._images]


def _layout_hint(root: Path, split: str) -> str:
    expected = f"expected {root / split / 'image_2'}"
    if not root.is_dir():
        return f"{root} is not a folder; {expected}"
    if (root / "image_2").is_dir():
        folder = root.absolute()
        return (
            f"{root} holds image_2 itself, so it is a split; "
            f"give its parent {folder.parent} with split={folder.name!r}"
        )
    if (root / split).is_dir():
        return f"{root / split} has no folder image_2"
    there = sorted(path.name for path in root.iterdir() if path.is_dir())[:8]
    return f"{root} has no folder {split}/image_2; its folders are: {', '.join(there) or 'none'}"


class KittiFrame:
    """One frame; everything is read when first asked for, and then kept.

    Attributes:
        folder: the split's folder, such as kitti/training.
        name: "000003".
        image_path: file of the left colour image.
    """

    def __init__(self, folder: Path, name: str, image_path: Path) -> None:
        self.folder = folder
        self.name = name
        self.image_path = image_path

    def __repr__(self) -> str:
        return f"KittiFrame({str(self.folder)!r}, {self.name!r})"

    @cached_property
    def image(self) -> np.ndarray:
        """(H, W, 3) uint8 RGB, left colour camera."""
        return read_image(self.image_path)

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the image, pixels."""
        return self.image.shape[0], self.image.shape[1]

    @cached_property
    def calibration(self) -> KittiCalibration:
        """Calibration of the frame, float64."""
        return load_calibration(self.folder / "calib" / f"{self.name}.txt")

    @cached_property
    def camera(self) -> Camera:
        """Camera of the image with the full P2, float32; world = frame of the labels."""
        return self.calibration.camera(self.size)

    @cached_property
    def labels(self) -> list[KittiLabel]:
        """Rows of the label file, "DontCare" included; [] where there is no label_2 folder.

        Raises:
            InputError: the folder exists but the frame's file is absent or malformed.
        """
        folder = self.folder / "label_2"
        return load_labels(folder / f"{self.name}.txt") if folder.is_dir() else []

    @cached_property
    def velodyne(self) -> np.ndarray:
        """(N, 4) float32: x forward, y left, z up in metres, and reflectance."""
        return load_velodyne(self.folder / "velodyne" / f"{self.name}.bin")

    def lidar_depth(self) -> np.ndarray:
        """(H, W) float32 sparse depth of the image in metres, 0 = unknown."""
        return project_velodyne(self.velodyne, self.calibration, self.size)

    def instances(self, source: str | os.PathLike[str] = "instance_2") -> list[Instance]:
        """Instances of the image; warns of the ones that cannot be used.

        See `load_frame_instances`, which returns those too.
        """
        found, rejected = self.load_frame_instances(source)
        for one in rejected:
            warnings.warn(
                f"frame {self.name}: instance {one.name} left out: {one.reason}", stacklevel=2
            )
        return found

    def load_frame_instances(
        self,
        source: str | os.PathLike[str] = "instance_2",
        depth: np.ndarray | None = None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        """Instances of the image and the ones that cannot be used, with reasons.

        Args:
            source: a folder beside image_2, any file that `load_instances` reads, or a folder
                with such files named after the frame; never one of single masks. In a PNG of the
                split's own folders, id k is row k of the labels, which says its class and box;
                elsewhere ids are numbers.
            depth: (H, W) metres, 0 = unknown; helps where masks are made from boxes.

        Raises:
            InputError: nothing for this frame there, or a malformed file.
        """
        inside = self.folder / source
        path = inside if inside.exists() else Path(source)
        if not path.exists():
            raise InputError(f"no instances: neither {inside} nor {path} exists")
        if path.is_dir():
            named = named_after(path, self.name)
            if named is None:  # single masks, which `load_instances` takes, are of other frames
                raise InputError(
                    f"{path} holds no file {self.name}.png, .json or .txt: expected one named "
                    "after the frame, or name the file itself"
                )
            path = named
        own = Path(os.path.abspath(self.folder)) in Path(os.path.abspath(path)).parents
        # An empty label file is no missing one: then no id has a row, and each is refused.
        labels = self.labels if own and (self.folder / "label_2").is_dir() else None
        return load_instances(path, self.image, depth=depth, labels=labels, image_name=self.name)


def load_velodyne(path: str | os.PathLike[str]) -> np.ndarray:
    """Points of a velodyne file, (N, 4) float32: x, y, z in metres, and reflectance.

    Raises:
        InputError: absent, over 128 MiB, cut short, or with non-finite values.
    """
    content = read_bytes(path, VELODYNE_LIMIT, "a velodyne file")
    if len(content) % 16:
        raise InputError(
            f"{path} has {len(content)} bytes, expected a multiple of 16 "
            "(four float32 a point); the file is cut short or of another format"
        )
    points = np.frombuffer(content, dtype="<f4").reshape(-1, 4).astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(points).all(axis=1))
    if len(broken):
        raise InputError(
            f"{path} point {broken[0]}: {points[broken[0]].tolist()} is not finite "
            f"({len(broken)} of {len(points)} points); expected x y z reflectance as float32"
        )
    return points


def project_velodyne(
    points: np.ndarray,  # (N, 3 or 4)
    calibration: KittiCalibration,
    size: tuple[int, int],
) -> np.ndarray:
    """Sparse depth map of the left colour image from velodyne points.

    Depth is z in that camera's frame (P2's third row), metres, 0 = unknown; where several
    points meet in a pixel the nearest counts. P2 counts from pixel centres, so the pixel is
    the floor of the projected coordinate + 0.5.

    Shapes: (N, 3 or 4) -> (H, W) float32, with `size` = (H, W).
    """
    height, width = size
    transform = calibration.P2 @ calibration.velodyne_to_rectified
    homogeneous = points[:, :3].astype(np.float64) @ transform[:, :3].T + transform[:, 3]
    z = homogeneous[:, 2]
    homogeneous, z = homogeneous[z > 0], z[z > 0]
    pixels = np.floor(homogeneous[:, :2] / z[:, None] + 0.5)
    inside = ((pixels >= 0) & (pixels < (width, height))).all(axis=1)
    columns, rows = pixels[inside].astype(np.int64).T
    depth = np.full((height, width), np.inf)
    np.minimum.at(depth, (rows, columns), z[inside])
    return np.where(np.isfinite(depth), depth, 0).astype(np.float32)
