"""What the options of `diffrender reconstruct` make of the default settings."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from diffrender.errors import InputError

if TYPE_CHECKING:
    from diffrender.reconstruct import ReconstructSettings, StartChoice

__all__ = ["kitti_traffic", "settings_for", "start_for"]


def kitti_traffic() -> Literal["right", "left"]:
    """The side of the road on which one drives in KITTI's pictures."""
    from diffrender.datasets.kitti import TRAFFIC

    return TRAFFIC


def settings_for(
    method: Literal["render", "box"],
    hypotheses: int | None,
    iterations: int | None,
    silhouette: str | None = None,
    traffic: Literal["right", "left", "none"] = "none",
    heading: bool = True,
) -> ReconstructSettings:
    """The default settings with what the command line changes.

    Raises:
        InputError: fewer iterations than stages, fewer than one hypothesis, a technique that
            cannot draw a silhouette term, or what boxes alone have no use for.
    """
    from diffrender.reconstruct import ReconstructSettings

    if silhouette is not None and method == "box":
        raise InputError("--silhouette goes with --method render: boxes alone draw nothing")
    counts = {"--hypotheses": hypotheses, "--iterations": iterations}
    idle = [name for name, count in counts.items() if count is not None]
    idle += [] if heading else ["--no-heading"]
    if idle and method == "box":
        raise InputError(f"{idle[0]} goes with --method render: boxes alone search for nothing")
    side = None if traffic == "none" else traffic
    settings = ReconstructSettings(
        method=method, silhouette=silhouette, traffic=side, heading=heading
    )
    if hypotheses is not None:
        settings = dataclasses.replace(settings, hypotheses=hypotheses)
    if iterations is not None:
        count = len(settings.stages)
        if iterations < count:
            raise InputError(
                f"--iterations is {iterations}, expected at least {count}, one for each stage"
            )
        shares = [iterations // count + (i < iterations % count) for i in range(count)]
        stages = tuple(
            dataclasses.replace(stage, iterations=share)
            for stage, share in zip(settings.stages, shares, strict=True)
        )
        settings = dataclasses.replace(settings, stages=stages)
    return settings


def start_for(
    init: Literal["both", "box", "predictor"] | None,
    weights: Path | None,
    method: str,
    counts: tuple[int | None, int | None],  # hypotheses and iterations that were asked for
) -> StartChoice | None:
    """What the first hypotheses are taken from; None for box fits.

    Raises:
        InputError: options that do not go together.
    """
    if init not in (None, "box") and method == "box":
        raise InputError(f"--init {init} goes with --method render: boxes alone start nothing")
    if init == "box" or method == "box":
        if weights is not None:
            raise InputError("--predictor goes with --init both or predictor, and --method render")
        return None
    from diffrender.predict import PredictorChoice

    hypotheses, iterations = counts
    file = None if weights is None else str(weights)
    if init == "predictor":
        return PredictorChoice(file, hypotheses, short=iterations is None)
    return PredictorChoice(file, short=False, beside_box_fits=True)
