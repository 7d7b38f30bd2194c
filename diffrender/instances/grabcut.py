"""Masks from 2D boxes: a template per class, cut by depth, its border refined by GrabCut.

GrabCut alone shrinks a car to the part whose colours the road lacks, so it is only let loose
in a narrow band around the border of a prior mask. The prior is a generic outline inside the
box, less the pixels of boxes in front and the pixels whose depth is far from the object's.

Source: Rother, Kolmogorov, Blake, "GrabCut", SIGGRAPH 2004; OpenCV's implementation.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from diffrender.errors import InputError, check_shape
from diffrender.instances.boxes import Box, clip_box
from diffrender.instances.crumbs import without_crumbs
from diffrender.instances.record import Instance, Rejected
from diffrender.instances.templates import template_mask

__all__ = ["GrabCutSettings", "masks_from_boxes"]

_SEED = 0  # of OpenCV's k-means: the same masks twice


@dataclass(frozen=True)
class GrabCutSettings:
    """How masks are made from boxes.

    Attributes:
        longest: the box's longer side is shrunk to this many pixels (speed).
        margin: background seen around the box, as a share of its longer side.
        band: half-width of the band that GrabCut decides, as a share of the shorter side.
        iterations: of GrabCut.
        depth_tolerance: pixels whose depth differs from the object's by more than this share
            are not the object.
        blur_behind: a region that is farther is first shrunk by this many image pixels, because
            depth networks smear edges and see through windows. Sparse depth is shrunk by 1.
        blur_before: the same for a region that is nearer.
        least_left: if less than this share of the outline would be left, depth is not believed.
    """

    longest: int = 96
    margin: float = 0.25
    band: float = 0.05
    iterations: int = 2
    depth_tolerance: float = 0.3
    blur_behind: float = 8.0
    blur_before: float = 2.0
    least_left: float = 0.5


@dataclass(frozen=True)
class _Window:
    """A crop around a box, resized: working pixels = (image pixels - origin) * scale."""

    left: int
    top: int
    right: int
    bottom: int
    size: tuple[int, int]

    @property
    def scale(self) -> tuple[float, float]:
        return (
            self.size[1] / (self.right - self.left),
            self.size[0] / (self.bottom - self.top),
        )

    def cut(self, picture: np.ndarray) -> np.ndarray:  # (H, W, ...)
        return picture[self.top : self.bottom, self.left : self.right]

    def box(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        x, y = self.scale
        left, top, right, bottom = box
        return (
            (left - self.left) * x,
            (top - self.top) * y,
            (right - self.left) * x,
            (bottom - self.top) * y,
        )


def masks_from_boxes(
    boxes: Sequence[Box],
    image: np.ndarray,  # (H, W, 3)
    depth: np.ndarray | None = None,  # (H, W)
    settings: GrabCutSettings | None = None,
) -> tuple[list[Instance], list[Rejected]]:
    """Instances with a mask for every box, in the order of the boxes. Deterministic.

    Where boxes overlap, the pixels of the one whose bottom edge is lower are taken first: on
    a road it is nearer. A box of which nothing is left is rejected. Some 10 ms a box.

    Args:
        image: (H, W, 3) uint8 RGB.
        depth: (H, W) metres, 0 = unknown, dense or sparse (lidar).

    Raises:
        InputError: the shapes of image and depth do not agree, or the image is not uint8.
    """
    check_shape("image", image, None, None, 3)
    if image.dtype != np.uint8:
        raise InputError(f"image is {image.dtype}, expected uint8 RGB")
    height, width = image.shape[:2]
    if depth is not None:
        check_shape("depth", depth, height, width)
    settings = settings or GrabCutSettings()
    taken = np.zeros((height, width), dtype=bool)
    outcome: dict[int, Instance | Rejected] = {}
    for index in sorted(range(len(boxes)), key=lambda i: -boxes[i].box[3]):
        one = boxes[index]
        try:
            one = dataclasses.replace(one, box=clip_box(one.box, (height, width)))
        except InputError as error:
            outcome[index] = Rejected(one.name, one.category, str(error))
            continue
        mask = _mask_of_box(one, image, depth, taken, settings)
        if not mask.any():
            reason = "no pixel of the box is left beside the objects in front of it"
            outcome[index] = Rejected(one.name, one.category, reason)
            continue
        taken |= mask
        outcome[index] = Instance(mask, one.box, one.category, one.score, one.name)
    ordered = [outcome[index] for index in range(len(boxes))]
    instances = [entry for entry in ordered if isinstance(entry, Instance)]
    return instances, [entry for entry in ordered if isinstance(entry, Rejected)]


def _window_of(box: Sequence[float], size: tuple[int, int], settings: GrabCutSettings) -> _Window:
    left, top, right, bottom = box
    longer = max(right - left, bottom - top)
    margin = max(settings.margin * longer, 4.0)
    x0, y0 = int(max(left - margin, 0)), int(max(top - margin, 0))
    x1 = int(min(np.ceil(right + margin), size[1]))
    y1 = int(min(np.ceil(bottom + margin), size[0]))
    scale = min(settings.longest / longer, 1.0)
    working = (max(round((y1 - y0) * scale), 1), max(round((x1 - x0) * scale), 1))
    return _Window(x0, y0, x1, y1, working)


def _mask_of_box(
    one: Box,
    image: np.ndarray,
    depth: np.ndarray | None,
    taken: np.ndarray,
    settings: GrabCutSettings,
) -> np.ndarray:
    import cv2

    height, width = taken.shape
    window = _window_of(one.box, (height, width), settings)
    shape = (window.size[1], window.size[0])
    colours = cv2.resize(window.cut(image), shape, interpolation=cv2.INTER_AREA)
    in_front = _resize_mask(window.cut(taken), window.size)
    box = window.box(one.box)
    virtual = window.box(_beyond_border(one.box, (height, width)))
    prior = template_mask(virtual, one.category, window.size)
    inside = template_mask(box, "box", window.size)
    prior &= inside & ~in_front
    if not prior.any():
        prior = inside & ~in_front
    if depth is not None:
        prior &= ~_elsewhere(window.cut(depth), prior, window, settings)
    mask = _refine(colours, prior, inside & ~in_front, box, settings)
    mask = _tidy(mask) & ~in_front
    full = np.zeros((height, width), dtype=bool)
    across = (window.right - window.left, window.bottom - window.top)
    soft = cv2.resize(mask.astype(np.float32), across, interpolation=cv2.INTER_LINEAR)
    full[window.top : window.bottom, window.left : window.right] = soft >= 0.5
    return full & ~taken


def _resize_mask(mask: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    import cv2

    shape = (size[1], size[0])
    return cv2.resize(mask.astype(np.uint8), shape, interpolation=cv2.INTER_NEAREST) > 0


def _beyond_border(box: Sequence[float], size: tuple[int, int]) -> list[float]:
    """The box with sides at the image's border moved out: the object goes on there."""
    left, top, right, bottom = box
    wide, high = 0.5 * (right - left), 0.5 * (bottom - top)
    return [
        left - wide if left < 1.5 else left,
        top - high if top < 1.5 else top,
        right + wide if right > size[1] - 1.5 else right,
        bottom + high if bottom > size[0] - 1.5 else bottom,
    ]


def _elsewhere(
    depth: np.ndarray, prior: np.ndarray, window: _Window, settings: GrabCutSettings
) -> np.ndarray:
    """Pixels whose depth is clearly not the object's; none where the depth is not believable."""
    import cv2

    nothing = np.zeros_like(prior)
    known = np.isfinite(depth) & (depth > 0)
    dense = known.mean() > 0.5
    if not dense:
        depth, known = _spread(depth, known)
    shape = (window.size[1], window.size[0])
    depth = cv2.resize(
        np.where(known, depth, 0).astype(np.float32), shape, interpolation=cv2.INTER_NEAREST
    )
    radius = max(round(0.1 * np.sqrt(prior.sum())), 1)
    kernel = np.ones((2 * radius + 1, 2 * radius + 1), np.uint8)
    core = cv2.erode(prior.astype(np.uint8), kernel, borderValue=0) > 0
    seeds = depth[(core if core.any() else prior) & (depth > 0)]
    if len(seeds) < 5:
        return nothing
    centre = float(np.median(seeds))
    away = nothing
    for region, blur in (
        (depth > centre * (1 + settings.depth_tolerance), settings.blur_behind),
        ((depth > 0) & (depth < centre * (1 - settings.depth_tolerance)), settings.blur_before),
    ):
        shrink = round((blur if dense else 1.0) * window.scale[0])
        kernel = np.ones((2 * shrink + 1, 2 * shrink + 1), np.uint8)
        away = away | (cv2.erode(region.astype(np.uint8), kernel, borderValue=1) > 0)
    if (prior & ~away).sum() < settings.least_left * prior.sum():
        return nothing
    return away


def _spread(depth: np.ndarray, known: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Sparse depth given to the pixels within 4 pixels of a measurement."""
    import cv2

    if not known.any():
        return depth, known
    distance, nearest = cv2.distanceTransformWithLabels(
        (~known).astype(np.uint8), cv2.DIST_L2, 3, labelType=cv2.DIST_LABEL_PIXEL
    )
    values = np.zeros(int(nearest.max()) + 1, dtype=np.float32)
    values[nearest[known]] = depth[known]
    return values[nearest], distance <= 4


def _refine(
    colours: np.ndarray,
    prior: np.ndarray,
    allowed: np.ndarray,
    box: tuple[float, float, float, float],
    settings: GrabCutSettings,
) -> np.ndarray:
    """The prior with its border moved by GrabCut, within the band and the allowed pixels."""
    import cv2

    radius = max(round(settings.band * min(box[2] - box[0], box[3] - box[1])), 1)
    kernel = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius + 1, 2 * radius + 1))
    solid = prior.astype(np.uint8)
    trimap = np.where(prior, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    trimap[cv2.erode(solid, kernel, borderValue=1) > 0] = cv2.GC_FGD
    trimap[(cv2.dilate(solid, kernel) == 0) | ~allowed] = cv2.GC_BGD
    foreground = (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)
    # OpenCV's k-means needs five samples of either kind for its five components.
    if foreground.sum() < 5 or (~foreground).sum() < 5:
        return foreground
    cv2.setRNGSeed(_SEED)
    models = np.zeros((1, 65)), np.zeros((1, 65))
    picture = np.ascontiguousarray(colours)
    try:
        cv2.grabCut(picture, trimap, None, *models, settings.iterations, cv2.GC_INIT_WITH_MASK)
    except cv2.error:  # flat colours can leave a model without a component
        return foreground
    return (trimap == cv2.GC_FGD) | (trimap == cv2.GC_PR_FGD)


def _tidy(mask: np.ndarray) -> np.ndarray:
    """Without holes, and without parts under 15 % of the largest."""
    import cv2

    solid = without_crumbs(mask, 0.15, connectivity=4).astype(np.uint8)
    outlines, _ = cv2.findContours(solid, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    cv2.drawContours(solid, outlines, -1, 1, thickness=-1)
    return solid > 0
