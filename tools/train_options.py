"""Options that the trainings share: where to, pausing, TensorBoard."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from diffrender.errors import InputError, require
from diffrender.tools.given import path_of

__all__ = ["Out", "Pause", "Tensorboard", "board_ready", "deadline"]

Out = Annotated[
    Path,
    typer.Option(
        "--out",
        metavar="DIR",
        parser=path_of("--out"),
        help="Checkpoint, log and weights; goes on.",
    ),
]
Pause = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Stop at a checkpoint; the same command goes on."),
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write events to OUT/board too.")]


def deadline(pause_after: float | None) -> float | None:
    """The `time.monotonic()` at which a training that begins now should stop.

    Raises:
        InputError: a negative time, or NaN.
    """
    if pause_after is not None and not pause_after >= 0:
        raise InputError(f"--pause-after is {pause_after:g}, expected seconds, 0 or more")
    return None if pause_after is None else time.monotonic() + pause_after


def board_ready(asked: bool) -> None:
    """Say before anything is made, which may take hours, that events cannot be written.

    Raises:
        MissingExtraError: they are asked for, and TensorBoard is not installed.
    """
    if asked:
        require("tensorboard", "train")
