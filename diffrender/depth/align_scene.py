"""Scale and shift of a depth prediction without lidar: from the road and from known object sizes.

The road lies `camera_height` below the camera, so on it h / z = n . ray with n the road's unit
normal (pointing down) and ray = K^-1 (u, v, 1), with the lens's distortion taken out: inverse depth
is linear in the ray. An object of height H that covers h pixels is at z = f H / h. Both are linear
in the scale and shift sought.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffrender.cameras import Camera
from diffrender.depth.align import Aligned, Anchor, apply_alignment
from diffrender.depth.model import DepthPrediction
from diffrender.depth.road import check_fit
from diffrender.depth.robust import huber_least_squares, ransac_rows, robust_mean
from diffrender.depth.scene_anchors import ObjectDepth, SizePrior, object_depths, road_rays
from diffrender.errors import InputError
from diffrender.instances import Instance
from diffrender.road import CAMERA_HEIGHT

__all__ = ["align_to_scene"]

_PITCH = 0.01  # spread of the road's slope against the camera's axis, radians: braking, hills
_ROAD = 0.05  # relative spread of the camera's height over the road


def align_to_scene(
    prediction: DepthPrediction,
    camera: Camera,
    instances: Sequence[Instance] = (),
    *,
    size_prior: SizePrior | None = None,
    camera_height: float | None = CAMERA_HEIGHT,
    rescale_metric: bool = False,
    max_depth: float = 200.0,
    seed: int = 0,
) -> Aligned:
    """Fit scale (and shift) of a prediction to the road plane and to object heights, robustly.

    A "metric" prediction is left untouched unless `rescale_metric`. `anchors` of the result lists
    the road and every instance, whether it was used, why not, and what residual it was left with.

    Args:
        prediction: of a depth network, at the size of the image; pixels that are NaN or infinite
            are left out.
        camera: of the image, without batch dimensions. OpenCV frame.
        instances: their masks are no road; those whose height is known tell the scale. A mask at
            the image's border does not; one that is hidden in part counts less, by the robust fit
            only.
        size_prior: of all instances; None knows cars, pedestrians and cyclists by their class, and
            takes no other's height.
        camera_height: of the camera above the road, metres; None leaves the road out.
        rescale_metric: fit one factor to a "metric" prediction too.
        max_depth: farther depths become 0 (unknown), metres.
        seed: of the random samples.

    Raises:
        InputError: sizes that differ, or neither the road nor any object can be used.
    """
    check_fit("prediction", prediction.values.shape, camera, instances)
    if camera_height is not None and not 0.1 <= camera_height <= 20:
        raise InputError(f"camera_height is {camera_height}, expected metres between 0.1 and 20")
    if prediction.kind == "metric" and not rescale_metric:
        return Aligned(
            apply_alignment(prediction, 1.0, 0.0, max_depth), 1.0, 0.0, 1.0, "metric as is"
        )
    measured, refused = object_depths(prediction, instances, camera, size_prior)
    road = road_rays(prediction, instances, camera) if camera_height is not None else None
    generator = np.random.default_rng(seed)
    if prediction.kind == "affine_inverse":
        fit = _fit_affine(road, measured, camera_height, generator)
    else:
        fit = _fit_scale(road, measured, camera_height, generator)
    scale, shift, inliers, anchors, method = fit
    depth = apply_alignment(prediction, scale, shift, max_depth)
    return Aligned(depth, scale, shift, inliers, method, (*anchors, *refused))


_Fit = tuple[float, float, float, list[Anchor], str]


def _fit_scale(
    road: tuple[np.ndarray, np.ndarray] | None,
    measured: list[ObjectDepth],
    camera_height: float | None,
    generator: np.random.Generator,
) -> _Fit:
    """z = s d: the plane n . ray = (h / s) / d gives s by the length of n; objects give z / d."""
    logs, sigmas, anchors = [], [], []
    share = 1.0
    refusal = "not asked for" if camera_height is None else "too few road pixels"
    if road is not None and camera_height is not None:
        values, rays = road
        plane = _fit_plane(values, rays, generator)
        refusal = "no level plane in the lower image" if plane is None else ""
        if plane is not None:
            normal, share = plane
            logs.append(np.log(camera_height * np.linalg.norm(normal)))
            sigmas.append(_ROAD + 0.2 * (1 - share))
    anchors_of = ["ground"] if logs else []
    for one in measured:
        if one.value > 0:
            logs.append(np.log(one.depth / one.value))
            sigmas.append(one.sigma)
            anchors_of.append(one.name)
        else:
            anchors.append(Anchor(one.name, False, "the prediction is not positive in its mask"))
    if not logs:
        raise InputError(f"{_NO_ANCHOR} (ground: {refusal})")
    if refusal:
        anchors.append(Anchor("ground", False, refusal))
    log_scale = robust_mean(np.array(logs), np.array(sigmas))
    for name, value, sigma in zip(anchors_of, logs, sigmas, strict=True):
        anchors.append(Anchor(name, True, "", float(np.exp(log_scale - value) - 1), sigma))
    return (
        float(np.exp(log_scale)),
        0.0,
        share,
        anchors,
        "z = s d, Huber mean over road and objects",
    )


_NO_ANCHOR = (
    "the scale of the depth cannot be found: neither the road nor an object of known size can be "
    "used; give lidar depth, masks, or a network with metric depth"
)


def _fit_plane(
    values: np.ndarray, rays: np.ndarray, generator: np.random.Generator
) -> tuple[np.ndarray, float] | None:
    """n with n . (ray d) = 1 on the road, in units of the prediction, and the share of inliers."""
    rows, right = rays * values[:, None], np.ones(len(values))
    try:
        start, _ = ransac_rows(rows, right, 0.05, generator, accept=np.array([0.0, 1.0, 0.0]))
    except InputError:
        return None
    sigma = np.full(len(values), 0.025)
    near = np.abs(rows @ start - right) <= 0.15
    normal = huber_least_squares(rows[near], right[near], sigma[near], start)
    share = float((np.abs(rows @ normal - right) <= 0.05).mean())
    level = normal[1] / np.linalg.norm(normal)
    return (normal, share) if level > np.cos(np.radians(15)) and share > 0.3 else None


def _fit_affine(
    road: tuple[np.ndarray, np.ndarray] | None,
    measured: list[ObjectDepth],
    camera_height: float | None,
    generator: np.random.Generator,
) -> _Fit:
    """1/z = s d + t with the road's slope as third unknown p: s d + t - p ray_z / h = ray_y / h."""
    anchors: list[Anchor] = []
    rows, right, sigma = [np.array([[0.0, 0.0, 1.0]])], [np.zeros(1)], [np.array([_PITCH])]
    start, share = None, 1.0
    refusal = "not asked for" if camera_height is None else "too few road pixels"
    if road is not None and camera_height is not None:
        values, rays = road
        unknown, inverse = (
            np.stack([values, np.ones(len(values))], axis=1),
            rays[:, 1] / camera_height,
        )
        try:
            # The slope shows only beside the objects: on the road alone it is part of t.
            relative = unknown / inverse[:, None]
            line, inliers = ransac_rows(
                relative, np.ones(len(inverse)), 0.05, generator, accept=np.array([1.0, 0.0])
            )
            share = float(inliers.mean())
            refusal = "" if share > 0.3 else "no level plane in the lower image"
        except InputError:
            refusal = "no level plane in the lower image"
    used_road = not refusal
    if used_road:
        near = np.abs(relative @ line - 1) <= 0.15
        block = np.stack([values, np.ones(len(values)), -rays[:, 2] / camera_height], axis=1)[near]
        # Many pixels, one road: together they weigh as much as ten independent measurements.
        spread = _ROAD * inverse[near] * np.sqrt(max(1.0, near.sum() / 10))
        rows, right, sigma = [*rows, block], [*right, inverse[near]], [*sigma, spread]
        start = np.array([line[0], line[1], 0.0])
    if measured:
        block = np.array([[m.value, 1.0, 0.0] for m in measured])
        inverse_depth = np.array([1 / m.depth for m in measured])
        spread = np.array([m.sigma / m.depth for m in measured])
        rows, right, sigma = [*rows, block], [*right, inverse_depth], [*sigma, spread]
    if not used_road and len({round(m.value, 9) for m in measured}) < 2:
        raise InputError(f"{_NO_ANCHOR} (ground: {refusal}; scale and shift need two objects)")
    solution = huber_least_squares(
        np.concatenate(rows), np.concatenate(right), np.concatenate(sigma), start
    )
    scale, shift = float(solution[0]), float(solution[1])
    if scale <= 0:
        raise InputError(
            "the fitted scale is not positive: the prediction does not grow towards the camera on "
            "the road and the objects, so it cannot be inverse depth"
        )
    anchors.append(_ground_anchor(used_road, refusal, road, camera_height, solution))
    for one in measured:
        inverse_here = scale * one.value + shift
        residual = 1 / (inverse_here * one.depth) - 1 if inverse_here > 0 else float("inf")
        anchors.append(Anchor(one.name, True, "", residual, one.sigma))
    return scale, shift, share, anchors, "1/z = s d + t, Huber over road and objects"


def _ground_anchor(
    used: bool,
    refusal: str,
    road: tuple[np.ndarray, np.ndarray] | None,
    camera_height: float | None,
    solution: np.ndarray,  # (3,)
) -> Anchor:
    if not used or road is None or camera_height is None:
        return Anchor("ground", False, refusal)
    values, rays = road
    fitted = solution[0] * values + solution[1]
    measured = (rays[:, 1] + solution[2] * rays[:, 2]) / camera_height
    return Anchor("ground", True, "", float(np.median(measured / fitted - 1)), _ROAD)
