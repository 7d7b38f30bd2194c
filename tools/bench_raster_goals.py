"""The goals of the grid: the worst cell, the cells below the goal, and how costs grow."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass

from diffrender.tools.bench_format import Row, Target
from diffrender.tools.bench_raster_fit import exponent
from diffrender.tools.bench_raster_scene import Cell

__all__ = ["Compared", "growth", "worst_cell"]

_LINEAR = 1.1  # an exponent up to this counts as linear growth


@dataclass(frozen=True)
class Compared:
    """Seconds of one cell, ours and the peer's, from calls that took turns."""

    cell: Cell
    threads: int
    ours: list[float]
    peer: list[float]

    @property
    def gain(self) -> float:
        """How many times faster ours is, by medians."""
        return statistics.median(self.peer) / statistics.median(self.ours)


def worst_cell(
    what: str, peer: str, goal: float, compared: Sequence[Compared]
) -> tuple[list[Row], Target]:
    """A goal that every cell must reach: its worst cell, and a row for each that falls short."""
    limit = f">= {goal:g} x faster"
    if not compared:
        return [], Target(f"{what}: no cell was timed against {peer}", limit, None, False)
    worst = min(compared, key=lambda one: one.gain)
    below = sorted((one for one in compared if one.gain < goal), key=lambda one: one.gain)
    rows = [
        Row(str(one.cell), f"below the goal: {what}", one.gain, "x faster", peer=peer)
        for one in below
    ]
    name = (
        f"{what}, against {peer}: worst of {len(compared)} cells ({worst.cell}); "
        f"{len(below)} below the goal"
    )
    return rows, Target(name, limit, worst.gain, worst.gain >= goal)


def growth(times: dict[tuple[Cell, str], float]) -> tuple[list[Row], list[Target]]:
    """Exponents of cost in pixels and in faces, of every operation, single images.

    Pixels: at the fewest faces that were timed, so that pixels are what costs; faces: on the
    smallest image. The covered share of the image is the same in all. Targets take the larger
    half of the sizes, where the constant part of a call weighs least.
    """
    rows, targets = [], []
    singles = {key: value for key, value in times.items() if key[0].batch == 1}
    few = min((cell.faces for cell, _ in singles), default=0)
    small = min((cell.size for cell, _ in singles), default=0)
    for operation in dict.fromkeys(name for _, name in singles):
        at = [(cell, t) for (cell, name), t in singles.items() if name == operation]
        along = {
            "covered pixels": sorted((c.size**2, t) for c, t in at if c.faces == few),
            "faces": sorted((c.faces, t) for c, t in at if c.size == small),
        }
        for axis, points in along.items():
            half = points[-max(2, (len(points) + 1) // 2) :]
            if len(half) < 2:
                continue
            fixed = f"{few} faces" if axis != "faces" else f"{small} x {small}"
            for part, chosen in (("all sizes", points), ("larger half", half)):
                value = exponent([x for x, _ in chosen], [t for _, t in chosen])
                what = f"{operation}, growth in {axis}, {part}"
                rows.append(Row(f"{fixed}, batch 1", what, value, "exponent"))
            if operation.startswith("full"):
                name = f"{operation}: exponent in {axis} at {fixed}, larger half"
                targets.append(Target(name, f"<= {_LINEAR}", value, value <= _LINEAR))
    return rows, targets
