"""What may be chosen about an evaluation, and the check of it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from diffrender.errors import InputError
from diffrender.evaluate.kitti_rules import CLASSES, DIFFICULTIES
from diffrender.native import reason_missing

__all__ = ["KittiSettings", "choose_backend"]


@dataclass(frozen=True)
class KittiSettings:
    """Attributes:
    classes: of Car, Pedestrian, Cyclist (the devkit's), Van, Truck, Tram, Person_sitting.
    strict: a frame without a result file, or a result without a label, is an error.
    wrong_rows: "fail" raises at a row that breaks the format; "drop" leaves such rows out as
        the devkit does, and lists them in the report.
    bands: edges in metres of the distance bands; the last band has no end. () for none.
    detail: the difficulty of the bands, errors and worst frames.
    worst: how many of the frames with the most errors to keep.
    backend: "native", "python", or None for the faster one that is there.
    """

    classes: tuple[str, ...] = ("Car", "Pedestrian", "Cyclist")
    strict: bool = False
    wrong_rows: Literal["fail", "drop"] = "fail"
    bands: tuple[float, ...] = (0.0, 10.0, 20.0, 30.0, 40.0)
    detail: str = "moderate"
    worst: int = 6
    backend: str | None = None


def choose_backend(settings: KittiSettings) -> str:
    """Check the settings; returns the back-end to use."""
    unknown = [name for name in settings.classes if name not in CLASSES]
    if unknown or not settings.classes:
        raise InputError(
            f"classes are {', '.join(settings.classes) or 'empty'}; expected some of "
            f"{', '.join(CLASSES)}"
        )
    if len(set(settings.classes)) < len(settings.classes):
        raise InputError(f"classes are {', '.join(settings.classes)}: one is named twice")
    if settings.wrong_rows not in ("fail", "drop"):
        raise InputError(f"wrong_rows is {settings.wrong_rows!r}, expected 'fail' or 'drop'")
    if settings.detail not in [difficulty.name for difficulty in DIFFICULTIES]:
        raise InputError(f"detail is {settings.detail!r}, expected 'easy', 'moderate' or 'hard'")
    if list(settings.bands) != sorted(set(settings.bands)) or not all(
        map(math.isfinite, settings.bands)
    ):
        raise InputError(f"bands are {settings.bands}, expected rising distances in metres")
    missing = reason_missing()
    if settings.backend == "native" and missing is not None:
        raise InputError(f"backend 'native' cannot be used: {missing}")
    if settings.backend not in (None, "native", "python"):
        raise InputError(f"backend is {settings.backend!r}, expected 'native', 'python' or None")
    return settings.backend or ("python" if missing else "native")
