"""KITTI calibration files: the object, tracking, odometry and raw spellings of one content.

Source: Geiger et al., "Vision meets robotics: the KITTI dataset", IJRR 2013, section 4.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances.reading import parse_number, read_text

__all__ = ["KittiCalibration", "load_calibration", "parse_calibration"]

CALIBRATION_LIMIT = 2**20
_ROUNDING = 1e-6  # of a third row, and of a focal length

_SYNONYMS = {
    "P_rect_00": "P0",
    "P_rect_01": "P1",
    "P_rect_02": "P2",
    "P_rect_03": "P3",
    "R0_rect": "R0",
    "R_rect": "R0",
    "R_rect_00": "R0",
    "Tr_velo_to_cam": "velodyne",
    "Tr_velo_cam": "velodyne",
    "Tr_imu_to_velo": "imu",
    "Tr_imu_velo": "imu",
}
_SHAPES = {
    **{f"P{camera}": (3, 4) for camera in range(4)},
    "R0": (3, 3),
    "velodyne": (3, 4),
    "imu": (3, 4),
    "Tr": (3, 4),
}


@dataclass(frozen=True)
class KittiCalibration:
    """Calibration of one frame, float64; what the file leaves out is None.

    Attributes:
        P2: (3, 4) rectified camera 0 -> pixels of the left colour image (integer centres).
        P0, P1, P3: (3, 4) the same for the other three cameras.
        rectification: (3, 3) camera 0 -> rectified camera 0.
        velodyne_to_camera: (3, 4) velodyne -> camera 0, metres.
        imu_to_velodyne: (3, 4) IMU -> velodyne, metres.
    """

    P2: np.ndarray  # (3, 4)
    P0: np.ndarray | None = None  # (3, 4)
    P1: np.ndarray | None = None  # (3, 4)
    P3: np.ndarray | None = None  # (3, 4)
    rectification: np.ndarray | None = None  # (3, 3)
    velodyne_to_camera: np.ndarray | None = None  # (3, 4)
    imu_to_velodyne: np.ndarray | None = None  # (3, 4)

    @property
    def velodyne_to_rectified(self) -> np.ndarray:
        """(4, 4) velodyne -> rectified camera 0, the frame of the labels, metres.

        Raises:
            InputError: the file had no rectification or no velodyne transform.
        """
        if self.velodyne_to_camera is None or self.rectification is None:
            raise InputError(
                "the calibration lacks R0_rect or Tr_velo_to_cam, both are needed for lidar; "
                "use the frame's full calibration file"
            )
        rectify, move = np.eye(4), np.eye(4)
        rectify[:3, :3] = self.rectification
        move[:3] = self.velodyne_to_camera
        return rectify @ move

    def camera(self, size: tuple[int, int]) -> Camera:
        """Camera of the left colour image of `size` (height, width), corner-based pixels.

        World frame: rectified camera 0. Computed in float64, returned as float32.
        """
        camera = Camera.from_projection(torch.tensor(self.P2), size, pixel_centres="integer")
        return camera.to(torch.float32)


def _sound_projection(matrix: np.ndarray, name: str, where: str) -> np.ndarray:
    """The (3, 4) matrix with exact zeros and one where a camera has them, or InputError."""
    focal = matrix[0, 0] > 0 and matrix[1, 1] > 0
    if not focal or not np.allclose(matrix[2, :3], [0, 0, 1], rtol=0, atol=_ROUNDING):
        raise InputError(
            f"{where}: {name} is not a projection in pixels; expected positive focal lengths "
            "in columns 1 and 6, and a third row that begins with 0 0 1"
        )
    exact = matrix.copy()
    exact[2, :3] = 0, 0, 1
    if abs(matrix[1, 0]) <= _ROUNDING * matrix[0, 0]:
        exact[1, 0] = 0
    return exact


def _check_rotation(matrix: np.ndarray, name: str, where: str) -> None:
    drift = np.abs(matrix @ matrix.T - np.eye(3)).max()
    if drift > 1e-2 or np.linalg.det(matrix) < 0:
        raise InputError(
            f"{where}: {name} holds no rotation (R R^T is off by {drift:.2g}); "
            "expected three orthonormal rows"
        )


def _split_key(line: str) -> tuple[str, list[str]]:
    """Key and values of a line; the colon after the key is optional, as in tracking files."""
    head, colon, tail = line.partition(":")
    if colon and len(head.split()) == 1:
        return head.strip(), tail.split()
    fields = line.split()
    return fields[0], fields[1:]


def parse_calibration(text: str, path: str | os.PathLike[str] = "calib") -> KittiCalibration:
    """The matrices of a calibration text; keys that are not about geometry are passed over.

    Accepts P0..P3 or P_rect_00.., R0_rect, R_rect or R_rect_00, Tr_velo_to_cam or Tr_velo_cam,
    Tr_imu_to_velo or Tr_imu_velo, and the odometry files' Tr (velodyne to the rectified frame).
    Columns in errors count the values after the key, from 1.

    Raises:
        InputError: no P2, a key given twice, a wrong count of values, a value that is not a
            finite number, or a matrix that cannot be a projection or a rotation.
    """
    found: dict[str, np.ndarray] = {}
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        if not line.strip():
            continue
        key, values = _split_key(line)
        name = _SYNONYMS.get(key, key)
        if name not in _SHAPES:
            continue
        where = f"{path} line {number}"
        if name in found:
            raise InputError(f"{where}: {key} is given twice, first on line {lines[name]}")
        rows, columns = _SHAPES[name]
        if len(values) != rows * columns:
            raise InputError(
                f"{where}: {key} has {len(values)} values, expected {rows * columns} "
                f"({rows} x {columns}, row by row)"
            )
        found[name] = np.array(
            [
                parse_number(value, f"{where} column {column}", f"a number of {key}")
                for column, value in enumerate(values, start=1)
            ]
        ).reshape(rows, columns)
        lines[name] = number
        if name.startswith("P"):
            found[name] = _sound_projection(found[name], key, where)
        else:
            _check_rotation(found[name][:, :3], key, where)
    if "P2" not in found:
        seen = ", ".join(found) or "none"
        raise InputError(f"{path}: no line 'P2:' (left colour camera); known keys found: {seen}")
    if "Tr" in found and "velodyne" not in found:
        found["velodyne"] = found["Tr"]
        found.setdefault("R0", np.eye(3))
    return KittiCalibration(
        P2=found["P2"],
        P0=found.get("P0"),
        P1=found.get("P1"),
        P3=found.get("P3"),
        rectification=found.get("R0"),
        velodyne_to_camera=found.get("velodyne"),
        imu_to_velodyne=found.get("imu"),
    )


def load_calibration(path: str | os.PathLike[str]) -> KittiCalibration:
    """Calibration of one frame from its file; see `parse_calibration`.

    Raises:
        InputError: the file is absent, larger than 1 MiB, not text, or malformed.
    """
    text = read_text(path, "a KITTI calibration file", CALIBRATION_LIMIT)
    return parse_calibration(text, path)
