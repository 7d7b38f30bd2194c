"""Settings of a reconstruction, saved with every run."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from numbers import Integral
from typing import Literal

from diffrender.errors import InputError, check_weights
from diffrender.reconstruct.catalogue_silhouette import check_technique
from diffrender.reconstruct.classes import CLASS_SIZES, ClassSize
from diffrender.reconstruct.freeform import RefineSettings
from diffrender.reconstruct.observations import DepthNoise
from diffrender.reconstruct.traffic import TrafficSide
from diffrender.road import CAMERA_HEIGHT

__all__ = ["LossWeights", "ReconstructSettings", "StageSettings", "StepSizes"]

_MOST_HYPOTHESES = 360
_LEAST_SIDE = 4  # pixels of a window: depth is compared by patches of so many
_TEXTURE_SIDES = (16, 8192)  # as `default_texture` takes them


def _whole(value: object, least: int) -> bool:
    return isinstance(value, Integral) and int(value) >= least


@dataclass(frozen=True)
class StageSettings:
    """One run of descent: how long, at which resolution, on how many hypotheses.

    `iterations` counts steps of Adam; a method that needs fewer takes its share of them. With 0 the
    hypotheses are only weighed.
    `keep` is how many yaws per object enter the stage (the first stage takes all that a start
    gives); each is also tried turned by `turns`, degrees: 180 for front against rear, a few degrees
    for descents that stopped beside the heading. `jumps` are shares of the depth by which the best
    one is also tried along its ray, and `swap` its box with length and width exchanged. Each such
    move is kept only if it ends lower.
    `parts` draws the parts so that the photometric term counts.
    """

    iterations: int
    size: tuple[int, int]
    keep: int
    turns: tuple[float, ...] = ()
    parts: bool = False
    jumps: tuple[float, ...] = ()
    swap: bool = False

    def __post_init__(self) -> None:
        if not _whole(self.iterations, 0) or not _whole(self.keep, 1):
            raise InputError(
                f"StageSettings has iterations {self.iterations}, keep {self.keep}; expected whole "
                "numbers of at least 0 and 1"
            )
        if len(self.size) != 2 or not all(_whole(side, _LEAST_SIDE) for side in self.size):
            raise InputError(
                f"StageSettings.size is {self.size}, expected (height, width) of at least "
                f"{_LEAST_SIDE} pixels each"
            )
        if not all(map(math.isfinite, self.turns)) or not all(
            -1 < j < math.inf for j in self.jumps
        ):
            raise InputError(
                f"StageSettings has turns {self.turns}, jumps {self.jumps}; expected degrees, and "
                "shares of the depth above -1"
            )


@dataclass(frozen=True)
class StepSizes:
    """Adam's first step per variable; all decay along a half cosine.

    offset: shares of the box; log_depth, log_apparent: natural logs; angles: radians. 0 holds a
    variable where it starts.
    """

    offset: float = 0.02
    log_depth: float = 0.01
    yaw: float = 0.04
    tilt: float = 0.005
    log_apparent: float = 0.015
    latent: float = 0.08

    def __post_init__(self) -> None:
        check_weights(self)


@dataclass(frozen=True)
class LossWeights:
    """Weights that bring every term to the scale of a negative log likelihood.

    silhouette, box: one over the mismatch that a mask shows anyway, and half of that; those of a
        good detector's masks, see `of_masks`.
    depth: 1; the term itself counts how many of an object's pixels err independently.
    photometric: how many patches of an object have a colour of their own.
    size, latent, ground: priors, already in standard deviations.
    structure: of 1 - SSIM beside the photometric term; 0 leaves it out.
    traffic: nats between a heading with the traffic and the one against it, where
        `ReconstructSettings.traffic` says on which side one drives; 1.5 is odds of 4.5 to 1.
    heading: of -log odds of a heading against its half turn, by the picture.
    """

    silhouette: float = 40.0
    box: float = 20.0
    depth: float = 1.0
    photometric: float = 15.0
    size: float = 1.0
    latent: float = 0.5
    ground: float = 1.0
    structure: float = 0.0
    traffic: float = 1.5
    heading: float = 1.0

    def __post_init__(self) -> None:
        check_weights(self)

    @classmethod
    def of_masks(cls, mismatch: float) -> LossWeights:
        """The usual weights for masks that miss the truth by `mismatch`, as 1 - IoU.

        0.025 is a good detector and the default; drawn or corrected masks may be at 0.01 or less.

        Raises:
            InputError: the mismatch is not between 0 and 1.
        """
        if not 0 < mismatch < 1:
            raise InputError(
                f"mismatch is {mismatch}, expected 1 - IoU of the masks, such as 0.025"
            )
        return cls(silhouette=1 / mismatch, box=1 / (2 * mismatch))


@dataclass(frozen=True)
class ReconstructSettings:
    """What `reconstruct` does.

    Attributes:
        method: "render" optimizes through the renderer; "box" is the render-free baseline.
        hypotheses: yaws each object starts from, evenly spaced over a full turn.
        stages: descents, coarse to fine; each keeps the best hypotheses of the one before.
        depth_noise: what to believe of the depth map; None takes the source's own.
        class_sizes: mean and spread of the sizes of every class that may be reconstructed.
        ground: where objects stand: on the road "found" in the depth map (`depth.find_road`; a flat
            one where none is found), on a "flat" road `camera_height` metres below, or, None,
            anywhere.
        tilt: also free pitch and roll.
        union: between stages, draw all objects together to tell which may hide which.
        traffic: "right" or "left", the side of the road on which one drives where the image was
            taken: breaks ties between front and rear (`traffic.py`). None says nothing.
        heading: ask the heading network which end of a car is its front (`facing.py`).
        colour_space, colour_bend: of the photometric term, see `losses.Photometric`.
        solver: "lm" (Levenberg-Marquardt), "lbfgs" or "adam"; "auto" picks.
        silhouette: a technique of the catalogue that draws the silhouette term, by its name; None
            takes the library's own. With one, "auto" picks Adam, and "lm" is refused: its Jacobian
            is that of the library's own.
        refine: move every vertex after the fit, off the shape prior; None leaves that out. The
            pose and the size of the box stay.
        texture_size: side of the baked texture, texels.
        tolerance: relative fall of the loss over ten iterations that counts as converged.
    """

    method: Literal["render", "box"] = "render"
    hypotheses: int = 12
    stages: tuple[StageSettings, ...] = (
        StageSettings(iterations=32, size=(48, 48), keep=12),
        StageSettings(iterations=32, size=(64, 64), keep=4, turns=(180,), parts=True),
        StageSettings(
            iterations=32, size=(64, 64), keep=1, turns=(180, 15, -15, 165, -165), parts=True
        ),
        StageSettings(iterations=32, size=(96, 96), keep=1, parts=True),
    )
    steps: StepSizes = field(default_factory=StepSizes)
    weights: LossWeights = field(default_factory=LossWeights)
    depth_noise: DepthNoise | None = None
    class_sizes: Mapping[str, ClassSize] = field(default_factory=lambda: dict(CLASS_SIZES))
    ground: Literal["found", "flat"] | None = "found"
    camera_height: float = CAMERA_HEIGHT
    tilt: bool = False
    union: bool = True
    traffic: TrafficSide | None = None
    heading: bool = True
    colour_space: Literal["rgb", "lab"] = "rgb"
    colour_bend: float | None = None
    solver: Literal["auto", "adam", "lbfgs", "lm"] = "auto"
    silhouette: str | None = None
    refine: RefineSettings | None = None
    texture_size: int = 128
    tolerance: float = 1e-3

    def __post_init__(self) -> None:
        object.__setattr__(self, "class_sizes", dict(self.class_sizes))
        if self.method not in ("render", "box"):
            raise InputError(f"method is {self.method!r}, expected 'render' or 'box'")
        if self.solver not in ("auto", "adam", "lbfgs", "lm"):
            raise InputError(f"solver is {self.solver!r}, expected 'auto', 'adam', 'lbfgs' or 'lm'")
        if self.ground not in (None, "found", "flat"):
            raise InputError(f"ground is {self.ground!r}, expected 'found', 'flat' or None")
        if self.traffic not in (None, "right", "left"):
            raise InputError(f"traffic is {self.traffic!r}, expected 'right', 'left' or None")
        if self.silhouette is not None:
            check_technique(self.silhouette)
            if self.solver == "lm":
                raise InputError("solver 'lm' draws its own silhouette: use 'adam' or 'lbfgs'")
        if not _whole(self.hypotheses, 1) or self.hypotheses > _MOST_HYPOTHESES:
            raise InputError(
                f"hypotheses is {self.hypotheses}, expected a whole number, at least 1 and at most "
                f"{_MOST_HYPOTHESES}, a yaw a degree"
            )
        if self.method == "render" and not self.stages:
            raise InputError("stages is empty, expected at least one StageSettings")
        if self.colour_space not in ("rgb", "lab"):
            raise InputError(f"colour_space is {self.colour_space!r}, expected 'rgb' or 'lab'")
        if self.colour_bend is not None and not 0 < self.colour_bend < math.inf:
            raise InputError(f"colour_bend is {self.colour_bend}, expected None or more than 0")
        if not 0 < self.camera_height < math.inf:
            raise InputError(
                f"camera_height is {self.camera_height}, expected metres above the road"
            )
        if not 0 <= self.tolerance < math.inf:
            raise InputError(f"tolerance is {self.tolerance}, expected a share, at least 0")
        least, most = _TEXTURE_SIDES
        if not (_whole(self.texture_size, least) and self.texture_size <= most):
            raise InputError(
                f"texture_size is {self.texture_size}, expected {least} to {most} texels"
            )
