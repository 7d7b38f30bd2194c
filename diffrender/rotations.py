"""Rotations of rigid objects in the camera's axes (x right, y down, z forward), in radians."""

from __future__ import annotations

import math

import torch
from torch import Tensor

__all__ = [
    "alpha_to_yaw",
    "euler_to_matrix",
    "matrix_to_quaternion_wxyz",
    "quaternion_wxyz_to_matrix",
    "wrap_angle",
    "yaw_to_alpha",
    "yaw_to_matrix",
]


def wrap_angle(angle: Tensor) -> Tensor:
    """Angle wrapped to [-pi, pi); differentiable with slope one.

    Shapes: (...) -> (...).
    """
    wrapped = torch.remainder(angle + math.pi, 2 * math.pi) - math.pi
    # The remainder of a tiny negative number rounds up to the whole turn.
    return torch.where(wrapped >= math.pi, wrapped - 2 * math.pi, wrapped)


def yaw_to_matrix(yaw: Tensor) -> Tensor:
    """Object-to-camera rotation for a KITTI `rotation_y`: about +y (down), 0 faces along +x.

    Shapes: (...) -> (..., 3, 3). Columns are the object's axes in the camera frame.
    """
    c, s = torch.cos(yaw), torch.sin(yaw)
    zero, one = torch.zeros_like(c), torch.ones_like(c)
    rows = [c, zero, s, zero, one, zero, -s, zero, c]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def euler_to_matrix(yaw: Tensor, pitch: Tensor, roll: Tensor) -> Tensor:
    """Object-to-camera rotation R_y(yaw) R_z(pitch) R_x(roll).

    Pitch turns about the object's z axis (side), roll about its x axis (length).
    Shapes: three (...) -> (..., 3, 3).
    """
    zero, one = torch.zeros_like(yaw), torch.ones_like(yaw)
    cp, sp = torch.cos(pitch), torch.sin(pitch)
    cr, sr = torch.cos(roll), torch.sin(roll)
    about_z = torch.stack([cp, -sp, zero, sp, cp, zero, zero, zero, one], dim=-1)
    about_x = torch.stack([one, zero, zero, zero, cr, -sr, zero, sr, cr], dim=-1)
    return yaw_to_matrix(yaw) @ about_z.unflatten(-1, (3, 3)) @ about_x.unflatten(-1, (3, 3))


def yaw_to_alpha(yaw: Tensor, location: Tensor) -> Tensor:
    """Observation angle: alpha = rotation_y - atan2(x, z), wrapped.

    Shapes: (...), (..., 3) -> (...). `location` in the frame of the labels, metres.
    """
    return wrap_angle(yaw - torch.atan2(location[..., 0], location[..., 2]))


def alpha_to_yaw(alpha: Tensor, location: Tensor) -> Tensor:
    """Inverse of `yaw_to_alpha`. Shapes: (...), (..., 3) -> (...)."""
    return wrap_angle(alpha + torch.atan2(location[..., 0], location[..., 2]))


def quaternion_wxyz_to_matrix(quaternion_wxyz: Tensor) -> Tensor:
    """Rotation matrix of a quaternion (w, x, y, z), normalised first.

    Shapes: (..., 4) -> (..., 3, 3).
    """
    w, x, y, z = torch.nn.functional.normalize(quaternion_wxyz, dim=-1).unbind(-1)
    rows = [
        1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y),
    ]  # fmt: skip
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))


def matrix_to_quaternion_wxyz(rotation: Tensor) -> Tensor:
    """Quaternion (w, x, y, z) with w >= 0 of a rotation matrix.

    Shapes: (..., 3, 3) -> (..., 4). Takes the best conditioned of the four classical branches.
    Differentiable everywhere, with a jump of sign at half turns.
    """
    m = rotation.flatten(-2).unbind(-1)
    trace = [m[0] + m[4] + m[8], m[0] - m[4] - m[8], m[4] - m[0] - m[8], m[8] - m[0] - m[4]]
    square = 1 + torch.stack(trace, dim=-1)  # 4 q_i^2, together 4
    a, b, c = m[7] - m[5], m[2] - m[6], m[3] - m[1]
    d, e, f = m[3] + m[1], m[2] + m[6], m[7] + m[5]
    # Row i is 4 q_i q. Its length is taken at the end: a root of each q_i^2, some of which are 0,
    # would have an infinite slope.
    branches = torch.stack(
        [
            torch.stack([square[..., 0], a, b, c], dim=-1),
            torch.stack([a, square[..., 1], d, e], dim=-1),
            torch.stack([b, d, square[..., 2], f], dim=-1),
            torch.stack([c, e, f, square[..., 3]], dim=-1),
        ],
        dim=-2,
    )
    best = square.argmax(dim=-1)
    picked = branches.gather(-2, best[..., None, None].expand(*best.shape, 1, 4)).squeeze(-2)
    sign = torch.where(picked[..., :1] < 0, -1.0, 1.0).to(picked)
    return torch.nn.functional.normalize(picked * sign, dim=-1)
