"""The camera of a single image, from a KITTI calibration file or a small JSON file."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from diffrender.cameras import Camera, PixelCentres
from diffrender.datasets.kitti_calibration import CALIBRATION_LIMIT, parse_calibration
from diffrender.errors import InputError
from diffrender.instances.reading import parse_json, read_text

__all__ = ["CameraFile", "load_camera", "load_camera_file"]

_KEYS = ("intrinsics", "projection", "pixel_centres", "camera_height", "image_size")


@dataclass(frozen=True)
class CameraFile:
    """What a camera file says.

    Attributes:
        projection: (3, 4) float64, pixels; the fourth column is 0 where the file gives K.
        pixel_centres: "integer" or "half", where the file's pixel centres lie.
        camera_height: metres above the road, or None.
        image_size: (height, width) that the numbers belong to, or None.
        name: of the file, for errors.
    """

    projection: np.ndarray  # (3, 4)
    pixel_centres: PixelCentres
    camera_height: float | None = None
    image_size: tuple[int, int] | None = None
    name: str = "the camera file"

    def camera(self, size: tuple[int, int]) -> Camera:
        """Camera of an image of `size` (height, width); float64 inside, float32 returned.

        Raises:
            InputError: the file states another image size.
        """
        if self.image_size is not None and tuple(size) != self.image_size:
            raise InputError(
                f"{self.name} is for an image of {self.image_size} (height, width), "
                f"the image has {tuple(size)}; give the intrinsics of this image"
            )
        projection = torch.tensor(self.projection)
        camera = Camera.from_projection(projection, size, pixel_centres=self.pixel_centres)
        return camera.to(torch.float32)


def load_camera(path: str | os.PathLike[str], image_size: tuple[int, int]) -> Camera:
    """Camera of an image of `image_size` (height, width) from a file; see `load_camera_file`.

    Raises:
        InputError: the file cannot be used, or belongs to another image size.
    """
    return load_camera_file(path).camera(image_size)


def load_camera_file(path: str | os.PathLike[str]) -> CameraFile:
    """Read a KITTI calibration file (its P2) or JSON.

    The JSON is an object such as {"intrinsics": [[f, 0, cx], [0, f, cy], [0, 0, 1]],
    "pixel_centres": "integer"}; "projection" (3 x 4) may stand for "intrinsics", and
    "camera_height" (metres) and "image_size" ([height, width]) may be added.

    Raises:
        InputError: the file is absent, over 1 MiB, or malformed.
    """
    text = read_text(path, "a calibration file", CALIBRATION_LIMIT)
    if not text.lstrip().startswith(("{", "[")):
        return CameraFile(parse_calibration(text, path).P2, "integer", name=str(path))
    content = parse_json(text, path)
    if not isinstance(content, dict):
        raise InputError(f"{path}: the JSON is a {type(content).__name__}, expected an object")
    unknown = sorted(set(content) - set(_KEYS))
    if unknown:
        raise InputError(f"{path}: unknown key {unknown[0]!r}, expected {', '.join(_KEYS)}")
    if ("intrinsics" in content) == ("projection" in content):
        raise InputError(f"{path}: expected either 'intrinsics' (3 x 3) or 'projection' (3 x 4)")
    centres = content.get("pixel_centres")
    if centres not in ("integer", "half"):
        raise InputError(
            f"{path}: 'pixel_centres' is {centres!r}, expected 'integer' (OpenCV, KITTI) or "
            "'half' (COLMAP); it says where the pixel centres lie"
        )
    height = content.get("camera_height")
    if height is not None and (not _is_number(height) or not 0.1 <= height <= 20):
        raise InputError(
            f"{path}: 'camera_height' is {height!r}, expected metres above the road, 0.1 to 20"
        )
    size = _image_size(content.get("image_size"), path)
    return CameraFile(_projection(content, path), centres, height, size, str(path))


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _projection(content: dict[str, Any], path: object) -> np.ndarray:
    name, columns = ("intrinsics", 3) if "intrinsics" in content else ("projection", 4)
    rows = content[name]
    fits = (
        isinstance(rows, list)
        and len(rows) == 3
        and all(isinstance(row, list) and len(row) == columns for row in rows)
        and all(_is_number(value) and abs(value) < 1e12 for row in rows for value in row)
    )
    if not fits:
        raise InputError(f"{path}: {name!r} is not 3 rows of {columns} finite numbers")
    matrix = np.zeros((3, 4))
    matrix[:, :columns] = rows
    if not (matrix[0, 0] > 0 and matrix[1, 1] > 0) or rows[2][:3] != [0, 0, 1]:
        raise InputError(
            f"{path}: {name!r} needs positive focal lengths on its diagonal and a third row "
            "that begins with 0, 0, 1"
        )
    return matrix


def _image_size(value: Any, path: object) -> tuple[int, int] | None:
    if value is None:
        return None
    if not (isinstance(value, list) and len(value) == 2 and all(type(v) is int for v in value)):
        raise InputError(f"{path}: 'image_size' is {value!r}, expected [height, width]")
    return (value[0], value[1])
