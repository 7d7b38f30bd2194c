"""Rotations: conventions by name, inverses by property."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.rotations import (
    alpha_to_yaw,
    euler_to_matrix,
    matrix_to_quaternion_wxyz,
    quaternion_wxyz_to_matrix,
    wrap_angle,
    yaw_to_alpha,
    yaw_to_matrix,
)

angles = st.floats(-math.pi, math.pi)


def f64(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float64)


def test_convention_yaw_zero_faces_right_and_minus_quarter_turn_faces_away() -> None:
    forward = f64(1, 0, 0)
    assert torch.allclose(yaw_to_matrix(f64(0.0)[0]) @ forward, f64(1, 0, 0))
    assert torch.allclose(yaw_to_matrix(f64(-math.pi / 2)[0]) @ forward, f64(0, 0, 1))


def test_convention_alpha_is_yaw_minus_bearing() -> None:
    # A car 45 degrees to the right that faces away along its own line of sight.
    location = f64(10, 1.6, 10)
    yaw = f64(-math.pi / 4)[0]
    assert float(yaw_to_alpha(yaw, location)) == pytest.approx(-math.pi / 2)
    assert float(alpha_to_yaw(yaw_to_alpha(yaw, location), location)) == pytest.approx(float(yaw))


def test_convention_pitch_lifts_the_nose_about_the_side_axis() -> None:
    zero = f64(0.0)[0]
    nose = euler_to_matrix(zero, f64(-0.1)[0], zero) @ f64(1, 0, 0)
    assert float(nose[1]) < 0  # y points down, so a raised nose is negative


def test_convention_quaternion_starts_with_w() -> None:
    assert torch.equal(quaternion_wxyz_to_matrix(f64(1, 0, 0, 0)), torch.eye(3).double())
    turned = quaternion_wxyz_to_matrix(f64(math.cos(0.2), 0, math.sin(0.2), 0))
    assert torch.allclose(turned, yaw_to_matrix(f64(0.4)[0]))


@settings(max_examples=100, deadline=None)
@given(angles, angles, angles)
def test_matrix_is_a_rotation_and_survives_the_quaternion(a: float, b: float, c: float) -> None:
    matrix = euler_to_matrix(*f64(a, b, c))
    assert torch.allclose(matrix @ matrix.mT, torch.eye(3).double(), atol=1e-12)
    assert float(torch.linalg.det(matrix)) == pytest.approx(1.0)
    back = quaternion_wxyz_to_matrix(matrix_to_quaternion_wxyz(matrix))
    assert torch.allclose(back, matrix, atol=1e-9)


@settings(max_examples=100, deadline=None)
@given(st.floats(-50, 50))
def test_wrapped_angle_is_the_same_direction_within_half_a_turn(angle: float) -> None:
    wrapped = float(wrap_angle(f64(angle)[0]))
    assert -math.pi <= wrapped < math.pi
    assert math.cos(wrapped - angle) == pytest.approx(1.0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_half_a_turn_wraps_to_its_negative(dtype: torch.dtype) -> None:
    """Also from just below, where the remainder of a tiny negative number is a whole turn."""
    half = torch.tensor(math.pi, dtype=dtype)
    below = torch.nextafter(-half, -2 * half)
    wrapped = wrap_angle(
        torch.stack([half, -half, below, 3 * half, torch.nextafter(half, 0 * half)])
    )
    assert bool(((wrapped >= -half) & (wrapped < half)).all())
    leaf = below.clone().requires_grad_()
    (slope,) = torch.autograd.grad(wrap_angle(leaf), leaf)
    assert float(slope) == 1


SPECIAL = [
    (1.0, 0.0, 0.0, 0.0),
    (0.0, 1.0, 0.0, 0.0),
    (0.0, 0.0, -1.0, 0.0),
    (0.0, 0.6, 0.0, 0.8),
    (0.5, 0.5, -0.5, 0.5),
    (0.6, 0.0, 0.8, 0.0),
]


@pytest.mark.parametrize("special", SPECIAL)
def test_quaternions_have_gradients_at_the_identity_and_at_half_turns(
    special: tuple[float, ...],
) -> None:
    """Through the matrix and back it is the projection off the quaternion's own direction."""
    q = f64(*special)
    back = matrix_to_quaternion_wxyz(quaternion_wxyz_to_matrix(q))
    sign = 1 if float(back @ q) > 0 else -1
    assert torch.allclose(back * sign, q)

    def around(quaternion: torch.Tensor) -> torch.Tensor:
        return matrix_to_quaternion_wxyz(quaternion_wxyz_to_matrix(quaternion)) * sign

    jacobian = torch.autograd.functional.jacobian(around, q)
    assert torch.allclose(jacobian, torch.eye(4).double() - torch.outer(q, q), atol=1e-9)


def test_rotations_have_gradients() -> None:
    assert torch.autograd.gradcheck(euler_to_matrix, tuple(f64(0.3, -0.2, 0.1).requires_grad_()))
    q = f64(0.9, 0.1, -0.2, 0.3).requires_grad_()
    assert torch.autograd.gradcheck(quaternion_wxyz_to_matrix, (q,))
