"""Options that the trainings share: pausing, TensorBoard."""

from __future__ import annotations

import time
from typing import Annotated

import typer

__all__ = ["Pause", "Tensorboard", "deadline"]

Pause = Annotated[
    float | None,
    typer.Option(metavar="SECONDS", help="Stop at a checkpoint; the same command goes on."),
]
Tensorboard = Annotated[bool, typer.Option("--tensorboard", help="Write events to OUT/board too.")]


def deadline(pause_after: float | None) -> float | None:
    """The `time.monotonic()` at which a training that begins now should stop."""
    return None if pause_after is None else time.monotonic() + pause_after
