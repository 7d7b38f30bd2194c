"""A camera from its field of view, and what an error of that guess does to a reconstruction.

A photograph alone says nothing of the focal length f (pixels). Where depth comes from known sizes,
z = f H / h, or from the road, z = f H_camera / v, it grows as f, while x = u z / f, y = v z / f and
the sizes across the view stay. Where depth is measured, z stays, and x, y and the sizes across the
view fall as 1 / f. A reconstruction weighs both, so the exponents are measured here: it is done
again with f a little shorter and a little longer, each from where the first reconstruction ended.

Source: Hartley, Zisserman, "Multiple View Geometry", 2004, section 6.1 (the pinhole model).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import torch

from diffrender.cameras import Camera
from diffrender.errors import InputError

if TYPE_CHECKING:
    from diffrender.reconstruct.inputs import Inputs
    from diffrender.reconstruct.scene import Scene

__all__ = ["KITTI_FOV", "FocalGuess", "focal_record", "guess_focal", "measure_sensitivity"]

KITTI_FOV = 81.4
"""Horizontal field of view of KITTI's left colour camera, degrees: 721.5 px for 1242 px."""

_GUESS_RANGE = (50.0, 100.0)  # telephones, dashcams and car cameras lie within
_STATED_ERROR = 1.0  # degrees: what a data sheet rounds to
# Of a focal length in 35 mm film: whole millimetres, and makers compare diagonals or widths.
_WRITTEN_ERROR = 0.05
_STEP = 0.1  # of the natural logarithm of f, to either side


@dataclass(frozen=True)
class FocalGuess:
    """A focal length that is not from a calibration.

    Attributes:
        source: "fov": the user stated the field of view; "exif": the camera wrote its lens into the
            picture's file; "guess": KITTI's was taken.
        fov: horizontal field of view, degrees.
        fov_range: what the true one is taken to lie within, degrees.
    """

    source: Literal["fov", "exif", "guess"]
    fov: float
    fov_range: tuple[float, float]

    def focal(self, width: int) -> float:
        """Focal length, pixels, of an image of `width` pixels."""
        return _focal(self.fov, width)

    def focal_range(self, width: int) -> tuple[float, float]:
        """Shortest and longest focal length, pixels: a wide field is a short one."""
        return _focal(self.fov_range[1], width), _focal(self.fov_range[0], width)

    def camera(self, size: tuple[int, int]) -> Camera:
        """Pinhole with square pixels and the principal point in the middle of (height, width)."""
        height, width = size
        focal = self.focal(width)
        intrinsics = torch.tensor(
            [[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]], dtype=torch.float64
        )
        return Camera.from_intrinsics(intrinsics, size, pixel_centres="half").to(torch.float32)


def guess_focal(fov: float | None, written: float | None = None) -> FocalGuess:
    """The guess for a stated horizontal field of view (degrees), or for none.

    `written` is what the picture's file says of it (`written_fov`), which a stated one overrules.

    Raises:
        InputError: the stated one is not between 5 and 170 degrees.
    """
    if fov is None and written is not None:
        half = math.tan(math.radians(written) / 2)
        narrow, wide = (
            round(2 * math.degrees(math.atan(half * factor)), 1)
            for factor in (1 - _WRITTEN_ERROR, 1 + _WRITTEN_ERROR)
        )
        return FocalGuess("exif", round(written, 1), (narrow, wide))
    if fov is None:
        return FocalGuess("guess", KITTI_FOV, _GUESS_RANGE)
    if not (math.isfinite(fov) and 5 <= fov <= 170):
        raise InputError(
            f"the field of view is {fov:g} degrees, expected 5 to 170: the horizontal angle that "
            "the whole width of the image spans"
        )
    return FocalGuess("fov", fov, (fov - _STATED_ERROR, fov + _STATED_ERROR))


def measure_sensitivity(
    inputs: Inputs,
    again: Callable[[Inputs, Camera], Inputs],
    solve: Callable[[Inputs], Scene],
) -> dict[str, dict[str, float]]:
    """Exponents k of z ~ f^k, and of length, width and height, for every object by name.

    Reconstructs twice, with f shortened and lengthened by 10 %; `again` makes the depth of the
    inputs anew for another camera, `solve` reconstructs. An object that either run refuses is
    left out. The exponents carry the noise of two optimizations: about 0.1 where each searches
    anew, some hundredths where `solve` goes on from the scene that there is (`SceneStart`).

    Raises:
        InputError: as `again` and `solve`.
    """
    runs = []
    for step in (-_STEP, _STEP):
        factor = torch.tensor([[math.exp(step)], [math.exp(step)], [1.0]])
        centre = inputs.camera.intrinsics * torch.tensor([0.0, 0.0, 1.0])
        intrinsics = (inputs.camera.intrinsics - centre) * factor + centre
        camera = dataclasses.replace(inputs.camera, intrinsics=intrinsics)
        scene = solve(again(inputs, camera))
        runs.append({o.name: (o.pose.location[2], *o.pose.size) for o in scene.objects})
    found = {}
    for name in runs[0].keys() & runs[1].keys():
        pairs = zip(runs[0][name], runs[1][name], strict=True)
        slopes = [
            math.log(after / before) / (2 * _STEP) if before > 0 and after > 0 else math.nan
            for before, after in pairs
        ]
        found[name] = dict(zip(("depth", "length", "width", "height"), slopes, strict=True))
    return found


def focal_record(
    guess: FocalGuess, scene: Scene, exponents: dict[str, dict[str, float]]
) -> dict[str, Any]:
    """The `calibration` field of result.json: the guess, its range, and what it does to objects.

    `percent_per_percent` are the exponents; the ranges are metres at the ends of `focal_range`.
    """
    width = scene.camera.size[1]
    focal, (short, long) = guess.focal(width), guess.focal_range(width)
    objects = []
    for item in scene.objects:
        slopes = exponents.get(item.name)
        if slopes is None:
            objects.append({"name": item.name, "percent_per_percent": None})
            continue
        length, _, height = item.pose.size
        values = {"depth": item.pose.location[2], "length": length, "height": height}
        record: dict[str, Any] = {"name": item.name, "percent_per_percent": slopes}
        for what, value in values.items():
            ends = [value * (end / focal) ** slopes[what] for end in (short, long)]
            record[f"{what}_range"] = sorted(ends)
        objects.append(record)
    return {
        "source": guess.source,
        "horizontal_fov_degrees": guess.fov,
        "horizontal_fov_range_degrees": list(guess.fov_range),
        "focal": focal,
        "focal_range": [short, long],
        "statement": statement(guess, width, exponents),
        "objects": objects,
    }


def statement(guess: FocalGuess, width: int, exponents: dict[str, dict[str, float]]) -> str:
    """One sentence for people."""
    focal, (short, long) = guess.focal(width), guess.focal_range(width)
    said = {
        "guess": "is assumed (KITTI's camera)",
        "exif": "is what the picture's file says of its lens",
        "fov": "was stated",
    }[guess.source]
    origin = f"no calibration: a horizontal field of view of {guess.fov:g} degrees {said}"
    text = (
        f"{origin}, a focal length of {focal:.0f} px; were it {guess.fov_range[1]:g} to "
        f"{guess.fov_range[0]:g} degrees, the focal length would be "
        f"{100 * (short / focal - 1):+.0f} to {100 * (long / focal - 1):+.0f} %"
    )
    if not exponents:
        return text
    means = {
        what: sum(slopes[what] for slopes in exponents.values()) / len(exponents)
        for what in ("depth", "length", "height")
    }
    parts = ", ".join(f"{what} by {mean:+.2f} %" for what, mean in means.items())
    return f"{text}; each +1 % of focal length moves {parts} (mean of {len(exponents)} objects)"


def _focal(fov: float, width: int) -> float:
    return width / 2 / math.tan(math.radians(fov) / 2)
