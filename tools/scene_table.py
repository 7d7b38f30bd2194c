"""A scene as a table for people, with the truth beside it where there is one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.markup import escape

from diffrender.tools.console import out, plain_table

if TYPE_CHECKING:
    from diffrender.reconstruct import ReconstructedObject, Scene

__all__ = ["print_scene", "print_written"]


def print_scene(scene: Scene) -> None:
    """Objects with pose, size, confidence and stop reason; then the refused ones."""
    console = out()
    table = plain_table()
    console.print(f"{scene.name}, depth from {scene.depth_source}", markup=False)
    table.add_column("object", no_wrap=True)
    table.add_column("x  y  z of the bottom, m", justify="right", no_wrap=True)
    table.add_column("l  w  h, m", justify="right", no_wrap=True)
    table.add_column("yaw", justify="right", no_wrap=True)
    table.add_column("sure", justify="right", no_wrap=True)
    table.add_column("stopped because")
    for item in scene.objects:
        table.add_row(*_cells(item))
    if scene.objects:
        console.print(table)
    for refused in scene.rejected:
        console.print(
            f"not used: {refused.name} ({refused.category}): {refused.reason}", markup=False
        )


def print_written(files: Sequence[Path]) -> None:
    """The files that were written: one a line, those of the objects on one line together."""
    console = out()
    objects = [path for path in files if path.parent.name == "objects"]
    for path in files:
        if path not in objects:
            console.print(f"wrote {path}", markup=False, soft_wrap=True)
    if objects:
        names = ", ".join(dict.fromkeys(path.stem for path in objects))
        kinds = " ".join(dict.fromkeys(path.suffix for path in objects))
        line = f"wrote {objects[0].parent}: {names} ({kinds})"
        console.print(line, markup=False, soft_wrap=True)


def _cells(item: ReconstructedObject) -> list[str]:
    return [
        escape(item.name),
        "  ".join(f"{v:.2f}" for v in item.pose.location),
        "  ".join(f"{v:.2f}" for v in item.size),
        f"{math.degrees(item.yaw):.0f}°",
        f"{item.confidence:.2f}",
        escape(item.stop_reason),
    ]
