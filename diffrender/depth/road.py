"""The plane of the road in a depth map: where to look for it, and a robust fit.

A point X of the plane has n . X = 1. A network's map is too far or too near by a common factor as
well, (1 + t) n . X = 1, which to first order is n . X + t = 1: linear in (n, t), and t known to be
small. So are the tilts, and the camera's height is known; errors of pixels are alike over wide
areas, so all of them together count as few measurements. Both are least squares, solved together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.depth.robust import ransac_rows
from diffrender.errors import InputError
from diffrender.instances import Instance
from diffrender.road import CAMERA_HEIGHT, Road

__all__ = ["check_fit", "find_road", "road_pixels"]

_MAX_PIXELS = 3000
_THINNED = 4  # the start is sought among every fourth of them
_SHARE = 0.15  # of an image, where the road is looked for
_OFF = 0.15  # relative distance from the plane beyond which a pixel is not road
_FITS = 0.3  # share of the pixels that lie on the plane, or it is no road
_PULLED = 0.08  # metres per metre, to where a plane may be from the start of its fit
_LEAST = 0.003  # relative residual; no road is evener
_FEWEST = 200
_HEIGHT = 0.05  # metres: a camera's height over the road, from car to car and load to load
_TILT = 0.015  # metres per metre: cameras pitch, roads rise
_BEND = 0.004  # metres per metre: a road is no plane
_NEAR = 0.06  # metres: kerbs and unevenness
_ALIKE = 10  # what the pixels of a network's map count as, together
_DOWN = np.array([0.0, 1.0, 0.0])  # the sign of a road's normal, y down
_AT = 20.0  # metres ahead, where the plane's own uncertainty is taken


def check_fit(
    what: str, shape: tuple[int, ...], camera: Camera, instances: Sequence[Instance]
) -> None:
    """That a map of `shape`, its camera and its masks belong to one image.

    Raises:
        InputError: they do not.
    """
    if camera.batch_shape or tuple(camera.size) != tuple(shape):
        raise InputError(
            f"the camera is of size {camera.size} with batch shape {tuple(camera.batch_shape)}, "
            f"the {what} of size {tuple(shape)}: one camera of the same image is needed"
        )
    for instance in instances:
        if instance.mask.shape != tuple(shape):
            raise InputError(
                f"the mask of '{instance.name}' has shape {instance.mask.shape}, expected "
                f"{tuple(shape)}"
            )


def road_pixels(
    known: np.ndarray,  # (H, W)
    instances: Sequence[Instance],
    intrinsics: np.ndarray,  # (3, 3)
) -> tuple[np.ndarray, np.ndarray] | None:
    """Rows and columns (N,) of pixels that may show road, low and central; None if hardly any.

    Args:
        known: bool, where the depth map has a value.
        instances: their masks are left out.
        intrinsics: of the image.
    """
    height, width = known.shape
    horizon = intrinsics[1, 2]
    top = int(np.clip(np.ceil(horizon + 0.25 * (height - horizon)), 0, height))
    allowed = known[top:].copy()
    for instance in instances:
        allowed &= ~instance.mask[top:]
    rows, columns = np.nonzero(allowed)
    rows += top
    # A trapezium towards the vanishing point: pavements and walls lie beside it.
    slope = (rows + 0.5 - horizon) / max(1.0, height - horizon)
    centre = intrinsics[0, 2]
    inside = np.abs(columns + 0.5 - centre) <= (0.1 + 0.35 * slope) * width
    rows, columns = rows[inside], columns[inside]
    if len(rows) < _FEWEST:
        return None
    step = max(1, len(rows) // _MAX_PIXELS)
    return rows[::step], columns[::step]


def find_road(
    depth: np.ndarray,  # (H, W)
    camera: Camera,
    instances: Sequence[Instance] = (),
    *,
    camera_height: float = CAMERA_HEIGHT,
    scale: float = 0.05,
    correlation: float | None = None,
    seed: int = 0,
) -> Road | None:
    """The road under the camera, or None where the lower image shows no level plane.

    Args:
        depth: metres, 0 = unknown.
        camera: of that image; its world frame is the frame of the labels.
        instances: what stands on the road; their masks are left out.
        camera_height: of the frame of the labels above the road, metres, to within 5 cm.
        scale: standard deviation (log) of a factor common to the whole map.
        correlation: pixels over which errors are alike; None: wide areas, as a network's are.
        seed: of the random samples.

    Raises:
        InputError: depth, camera and masks are not of one size, or a height, scale or correlation
            that cannot be.
    """
    check_fit("depth map", depth.shape, camera, instances)
    given = {"camera_height": camera_height, "scale": scale, "correlation": correlation}
    for name, value in given.items():
        if value is not None and not (math.isfinite(value) and value > 0):
            raise InputError(f"find_road: {name} is {value}, expected a positive finite number")
    intrinsics = camera.intrinsics.detach().cpu().double().numpy()
    found = road_pixels(depth > 0, instances, intrinsics)
    if found is None:
        return None
    rows, columns = found
    pixels = torch.from_numpy(np.stack([columns + 0.5, rows + 0.5], axis=-1))
    z = depth[rows, columns].astype(np.float64)
    with torch.no_grad():  # cameras that are optimized are read as they stand
        inside = camera.to("cpu").to(torch.float64)
        points = inside.unproject(pixels, torch.from_numpy(z)).numpy()
    some = points[::_THINNED]
    try:
        draw = np.random.default_rng(seed)
        start, _ = ransac_rows(some, np.ones(len(some)), 0.05, draw, accept=_DOWN)
    except InputError:
        return None
    away = np.abs(points @ start - 1)
    # Wide enough for the map's noise: a cut inside it would hold the fit at its start.
    near = away <= max(_OFF, 6 * float(np.median(np.append(away[away <= 2 * _OFF], 0.0))))
    if near.mean() < _FITS or start[1] < np.cos(np.radians(15)) * np.linalg.norm(start):
        return None
    centre = inside.centre.detach().numpy()
    pixels_alike = np.inf if correlation is None else correlation**2
    counted = near.sum() * max(1.0, _SHARE * depth.size / _MAX_PIXELS) / pixels_alike
    measured = float(np.clip(counted, _ALIKE, near.sum()))
    normal, factor, covariance = _fit(
        points[near], z[near], centre, start, measured, camera_height, scale
    )
    slope, bank = -normal[2] / normal[1], -normal[0] / normal[1]
    # A road steeper than what was known before allows is pulled level, far from the map's own
    # plane (the start): it is not to be told from a wrong map.
    pulled = max(abs(slope + start[2] / start[1]), abs(bank + start[0] / start[1]))
    if pulled > _PULLED or (np.abs(points @ normal + factor - 1) <= _OFF).mean() < _FITS:
        return None
    ahead = np.array([0.0, -(1 / normal[1] + slope * _AT), -_AT]) / normal[1]
    unknown = float(np.sqrt(ahead @ covariance @ ahead)) / _AT
    return Road(float(1 / normal[1]), float(slope), float(bank), _NEAR, _BEND, doubt=unknown)


def _fit(
    points: np.ndarray,  # (N, 3)
    z: np.ndarray,  # (N,)
    centre: np.ndarray,  # (3,)
    start: np.ndarray,  # (3,)
    measured: float,
    camera_height: float,
    scale: float,
) -> tuple[np.ndarray, float, np.ndarray]:  # (3,), t, (3, 3)
    """n by Huber's weights with what was known before, the map's factor t, and n's covariance.

    What is fitted is inverse depth, the plane's over the map's: depth itself would stand on both
    sides of n . X = 1, and its noise would pull n towards zero.
    """
    before = np.array([0.0, 1 / camera_height, 0.0, 0.0])
    known = np.array([_TILT, _HEIGHT / camera_height, _TILT, scale * camera_height]) / camera_height
    solution = np.append(start, 0.0)
    rays = (points - centre) / z[:, None]
    for _ in range(20):
        inverse = np.maximum(rays @ solution[:3] / (1 - centre @ solution[:3]), 1e-3)
        right = 1 / (inverse * z)
        rows = np.concatenate([points * right[:, None], np.ones((len(z), 1))], axis=1)
        residual = np.abs(rows @ solution - right)
        spread = max(1.4826 * float(np.median(residual)), _LEAST)
        weights = np.minimum(1.0, 1.345 * spread / np.maximum(residual, 1e-12))
        weights *= measured / len(z) / spread**2
        precision = (rows * weights[:, None]).T @ rows + np.diag(known**-2.0)
        pulled = (weights * right) @ rows + before * known**-2.0
        previous, solution = solution, np.linalg.solve(precision, pulled)
        if np.abs(solution - previous).max() < 1e-9:
            break
    return solution[:3], float(solution[3]), np.linalg.inv(precision)[:3, :3]
