"""Lens distortion: OpenCV's radial and tangential model on normalised image coordinates.

With x, y = X / Z, Y / Z and s = x^2 + y^2 a point (x, y) is seen at

    x (1 + k1 s + k2 s^2 + k3 s^3) / (1 + k4 s + k5 s^2 + k6 s^3) + 2 p1 x y + p2 (s + 2 x^2)
    y (1 + k1 s + k2 s^2 + k3 s^3) / (1 + k4 s + k5 s^2 + k6 s^3) + p1 (s + 2 y^2) + 2 p2 x y

Coefficients come in OpenCV's order (k1, k2, p1, p2[, k3[, k4, k5, k6]]). The polynomial says
something only up to its valid radius, where the radial part stops growing; farther out every point
keeps the offset of the rim's point in its direction, so nothing folds back into the image.
"""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["bend", "check_coefficients", "distort", "undistort", "valid_radius"]

LENGTHS = (4, 5, 8)
_FARTHEST = 10.0  # radius (84 degrees from the axis) beyond which no polynomial is believed
_POLE = 0.01  # the rational model ends where its denominator has fallen to this
_LEAST_Z = 1e-6  # metres: nearer to the camera plane the direction alone matters
_BRACKETED, _PLANAR = 24, 10  # steps of the inverse: along the radius, then in the plane
_DAMPED = 40  # and where those stalled at the rim's kink, shortened ones from both its sides
_SHARES = (1.0, 0.5, 0.25, 0.125, 0.03, 0.008)  # of a Newton step
_STARTS = (0.9, 1.1)  # times the valid radius


def check_coefficients(name: str, coefficients: Tensor) -> None:
    """Raise InputError unless the last dimension holds 4, 5 or 8 coefficients."""
    check_shape(name, coefficients, "...", None)
    if coefficients.shape[-1] not in LENGTHS:
        raise InputError(
            f"{name} has shape {tuple(coefficients.shape)}, expected (..., 4), (..., 5) or "
            f"(..., 8) in OpenCV's order (k1, k2, p1, p2, k3, k4, k5, k6)"
        )


def _eight(coefficients: Tensor) -> Tensor:
    return torch.nn.functional.pad(coefficients, (0, 8 - coefficients.shape[-1]))


def _product(a: list[Tensor], b: list[Tensor]) -> list[Tensor]:
    """Coefficients, lowest first, of the product of two polynomials."""
    out = [torch.zeros_like(a[0]) for _ in range(len(a) + len(b) - 1)]
    for i, one in enumerate(a):
        for j, two in enumerate(b):
            out[i + j] = out[i + j] + one * two
    return out


def _value(polynomial: list[Tensor], s: Tensor) -> Tensor:
    out = torch.zeros_like(s)
    for c in reversed(polynomial):
        out = out * s + c
    return out


def valid_radius(coefficients: Tensor) -> Tensor:  # (..., 4), (..., 5) or (..., 8)
    """Largest normalised radius up to which the radial part grows, at most 10.

    The radial part is r N / D. It grows where (N + 2 s N') D - 2 s N D' > 0, with s = r^2; the
    smallest positive root ends it, and so does D when it falls to 0.01.

    Shapes: (..., n) -> (...). Differentiable to the coefficients (implicit function).
    """
    k1, k2, _, _, k3, k4, k5, k6 = _eight(coefficients.double()).unbind(-1)
    one = torch.ones_like(k1)
    top, bottom = [one, k1, k2, k3], [one, k4, k5, k6]
    first = _product([one, 3 * k1, 5 * k2, 7 * k3], bottom)
    second = _product(top, [0 * one, 2 * k4, 4 * k5, 6 * k6])
    growth = [a - b for a, b in zip(first, second, strict=True)]
    end = _product(growth, [one, *(k / (1 - _POLE) for k in (k4, k5, k6))])  # constant term 1
    with torch.no_grad():
        # In u = 1 / s the polynomial is monic, whatever the highest coefficient.
        tail = torch.stack(end[1:], -1).nan_to_num(0.0, 0.0, 0.0)
        companion = torch.diag_embed(tail.new_ones(tail.shape[-1] - 1), -1)
        companion = companion.expand(*tail.shape[:-1], -1, -1).clone()
        companion[..., 0, :] = -tail
        u = torch.linalg.eigvals(companion)
        real = (u.imag.abs() <= 1e-7 * u.real.abs()) & (u.real > _FARTHEST**-2)
        largest = torch.where(real, u.real, _FARTHEST**-2).amax(-1)
        s = 1.0 / largest
        found = real.any(-1)
        slope = _value([i * c for i, c in enumerate(end)][1:], s)
        usable = found & (slope.abs() > 1e-9)
        slope = torch.where(usable, slope, 1.0)
    step = torch.where(usable, _value(end, s) / slope, torch.zeros_like(s))
    return (s - step).sqrt().to(coefficients.dtype)


def _radial(s: Tensor, k: Tensor) -> tuple[Tensor, Tensor]:  # (...), (..., 8)
    """The radial factor N / D and its derivative by s."""
    k1, k2, _, _, k3, k4, k5, k6 = k.unbind(-1)
    top = 1 + s * (k1 + s * (k2 + s * k3))
    bottom = 1 + s * (k4 + s * (k5 + s * k6))
    factor = top / bottom
    slope = k1 + s * (2 * k2 + 3 * s * k3) - factor * (k4 + s * (2 * k5 + 3 * s * k6))
    return factor, slope / bottom


def _clamp(points: Tensor, limit: Tensor) -> tuple[Tensor, Tensor]:  # (..., 2), (...)
    """Points drawn back onto the valid disc, and by which factor."""
    s = points.square().sum(-1)
    out = s > limit.square()
    factor = torch.where(out, limit / torch.where(out, s, 1.0).sqrt(), 1.0)
    return points * factor.unsqueeze(-1), factor


def _offset(points: Tensor, k: Tensor, limit: Tensor) -> Tensor:  # (..., 2), (..., 8), (...)
    """How far each point is moved. Shape (..., 2)."""
    inner, _ = _clamp(points, limit)
    x, y = inner.unbind(-1)
    p1, p2 = k[..., 2], k[..., 3]
    s = x * x + y * y
    more = _radial(s, k)[0] - 1
    return torch.stack(
        [
            x * more + 2 * p1 * x * y + p2 * (s + 2 * x * x),
            y * more + p1 * (s + 2 * y * y) + 2 * p2 * x * y,
        ],
        dim=-1,
    )


def _jacobian(points: Tensor, k: Tensor, limit: Tensor) -> Tensor:
    """d(distorted) / d(point). Shape (..., 2, 2)."""
    inner, factor = _clamp(points, limit)
    x, y = inner.unbind(-1)
    p1, p2 = k[..., 2], k[..., 3]
    more, slope = _radial(x * x + y * y, k)
    cross = 2 * slope * x * y + 2 * (p1 * x + p2 * y)
    xx = more - 1 + 2 * slope * x * x + 2 * p1 * y + 6 * p2 * x
    yy = more - 1 + 2 * slope * y * y + 6 * p1 * y + 2 * p2 * x
    moved = torch.stack([xx, cross, cross, yy], -1).reshape(*xx.shape, 2, 2)
    # Outside, the offset depends on the direction alone.
    unit = inner / limit.unsqueeze(-1)
    identity = torch.eye(2, dtype=points.dtype, device=points.device)
    turn = factor[..., None, None] * (identity - unit.unsqueeze(-1) * unit.unsqueeze(-2))
    return identity + torch.where((factor < 1)[..., None, None], moved @ turn, moved)


def _solve(jacobian: Tensor, right: Tensor) -> Tensor:  # (..., 2, 2), (..., 2)
    """jacobian^-1 right; towards the valid radius, where it has no inverse, a bounded one."""
    a, b, c, d = jacobian.flatten(-2).unbind(-1)
    det = a * d - b * c
    det = torch.where(det.abs() < 1e-6, torch.where(det < 0, -1e-6, 1e-6), det)
    x, y = right.unbind(-1)
    return torch.stack([d * x - b * y, a * y - c * x], -1) / det.unsqueeze(-1)


def distort(points: Tensor, coefficients: Tensor) -> Tensor:  # (..., N, 2), (..., n)
    """Normalised coordinates as the lens shows them. Differentiable to both.

    Shapes: (..., N, 2), (..., n) -> (..., N, 2).
    """
    k, limit = _eight(coefficients).unsqueeze(-2), valid_radius(coefficients).unsqueeze(-1)
    return points + _offset(points, k, limit)


@torch.no_grad()
def _inverse(seen: Tensor, k: Tensor, limit: Tensor) -> Tensor:
    """Points whose distorted place is `seen`: along the radius first, then in the plane."""
    shape = torch.broadcast_shapes(seen.shape[:-1], limit.shape)
    wanted = seen.norm(dim=-1).expand(shape)
    rim = limit * _radial(limit.square(), k)[0]
    low, high = torch.zeros_like(wanted), limit.expand(shape)
    radius = 0.5 * high
    for i in range(_BRACKETED):  # halving first, then Newton within the bracket
        factor, slope = _radial(radius.square(), k)
        value, steep = radius * factor, factor + 2 * radius.square() * slope
        low = torch.where(value <= wanted, radius, low)
        high = torch.where(value >= wanted, radius, high)
        radius, middle = radius - (value - wanted) / steep, 0.5 * (low + high)
        fits = (radius >= low) & (radius <= high) & (i >= _BRACKETED // 2)
        radius = torch.where(fits, radius, middle)
    radius = torch.where(wanted > rim, limit + (wanted - rim), radius)
    tiny = torch.finfo(seen.dtype).tiny
    points = seen * (radius / wanted.clamp_min(tiny)).unsqueeze(-1)
    miss = points + _offset(points, k, limit) - seen
    for _ in range(_PLANAR):
        step = points - _solve(_jacobian(points, k, limit), miss)
        new = step + _offset(step, k, limit) - seen
        better = (new.square().sum(-1) < miss.square().sum(-1)).unsqueeze(-1)
        points, miss = torch.where(better, step, points), torch.where(better, new, miss)
    # Tangential terms can put a start on the wrong side of the rim, where whole steps stall.
    close = 64 * torch.finfo(seen.dtype).eps * (1 + wanted)
    stalled = miss.square().sum(-1) > close.square()
    if bool(stalled.any()):
        seen, k = seen.expand_as(points)[stalled], k.expand(*shape, 8)[stalled]
        limit, close = limit.expand(shape)[stalled], close[stalled]
        points[stalled] = _restarted(points[stalled], seen, k, limit, close)
    return points


def _restarted(
    points: Tensor,  # (M, 2)
    seen: Tensor,  # (M, 2)
    k: Tensor,  # (M, 8)
    limit: Tensor,  # (M,)
    close: Tensor,  # (M,)
) -> Tensor:
    """The best of `points` and of damped Newton steps from inside the rim and outside it."""
    least = (points + _offset(points, k, limit) - seen).square().sum(-1)
    direction = torch.nn.functional.normalize(seen, dim=-1)
    for start in _STARTS:
        trial = start * limit.unsqueeze(-1) * direction
        miss = trial + _offset(trial, k, limit) - seen
        for _ in range(_DAMPED):
            whole, base = _solve(_jacobian(trial, k, limit), miss), trial
            for share in _SHARES:
                step = base - share * whole
                new = step + _offset(step, k, limit) - seen
                better = (new.square().sum(-1) < miss.square().sum(-1)).unsqueeze(-1)
                trial, miss = torch.where(better, step, trial), torch.where(better, new, miss)
            if bool((miss.square().sum(-1) <= close.square()).all()):
                break
        squares = miss.square().sum(-1)
        points = torch.where((squares < least).unsqueeze(-1), trial, points)
        least = torch.minimum(squares, least)
        if bool((least <= close.square()).all()):
            break
    return points


def undistort(seen: Tensor, coefficients: Tensor) -> Tensor:  # (..., N, 2), (..., n)
    """Inverse of `distort`, by safeguarded Newton steps.

    Shapes: (..., N, 2), (..., n) -> (..., N, 2). Differentiable to both by the implicit function
    theorem (first derivatives only). At the valid radius the true slope is infinite; it is bounded
    there.
    """
    k, limit = _eight(coefficients).unsqueeze(-2), valid_radius(coefficients).unsqueeze(-1)
    points = _inverse(seen, k, limit)
    with torch.no_grad():
        jacobian = _jacobian(points, k, limit)
    # One more step for its gradient alone: unguarded, it could throw a point at the rim far away.
    step = _solve(jacobian, points + _offset(points, k, limit) - seen)
    return points - (step - step.detach())


def bend(
    homogeneous: Tensor,  # (N, 3) z (x, y, 1) in pixels, without distortion
    intrinsics: Tensor,  # (3, 3) or (N, 3, 3)
    coefficients: Tensor,  # (n,) or (N, n)
) -> Tensor:
    """Homogeneous pixels K (X, Y, Z) moved to where the lens shows them. Shape (N, 3).

    (X, Y) gains max(Z, 0) times the offset of X / Z, which is bounded: points at or behind the
    camera plane stay as they are, and the map is continuous there. Differentiable to all three.
    """
    k, limit = _eight(coefficients), valid_radius(coefficients)
    z = homogeneous[..., 2]
    fx, skew, cx = intrinsics[..., 0, 0], intrinsics[..., 0, 1], intrinsics[..., 0, 2]
    fy, cy = intrinsics[..., 1, 1], intrinsics[..., 1, 2]
    y = (homogeneous[..., 1] - cy * z) / fy
    x = (homogeneous[..., 0] - cx * z - skew * y) / fx
    points = torch.stack([x, y], -1) / z.clamp_min(_LEAST_Z).unsqueeze(-1)
    dx, dy = (_offset(points, k, limit) * z.clamp_min(0.0).unsqueeze(-1)).unbind(-1)
    moved = torch.stack([fx * dx + skew * dy, fy * dy, torch.zeros_like(z)], -1)
    return homogeneous + moved
