"""The goals of the block-sparse products: the worst cell, and how many fall short."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from diffrender.tools.bench_blocksparse_cells import Cell
from diffrender.tools.bench_blocksparse_grid import Measured
from diffrender.tools.bench_format import Target

__all__ = ["goals", "worst"]

# Share of the ideal gain that the forward product should reach; the gradients get 3/4 of it.
_SHARES = {"b >= 8": 0.95, "b = 4": 0.80, "b = 1": 0.50}
_GRADIENTS = 0.75


def goals(measured: Sequence[Measured]) -> list[Target]:
    """Every goal on the grid, those for which no cell was timed too."""
    large = [one for one in measured if _large(one.cell)]
    dense_enough = [one for one in large if 1 / 32 <= one.cell.density <= 1 / 2]
    targets = []
    for product, factor in (("forward", 1.0), ("grad_input", _GRADIENTS),
                            ("grad_weight", _GRADIENTS)):  # fmt: skip
        for name, share in _SHARES.items():
            cells = [
                one
                for one in dense_enough
                if one.cell.product == product and _of_size(one.cell.block) == name
            ]
            words = f"{product}, {name}: share of the ideal gain 1/d, d = 1/2 to 1/32"
            targets.append(worst(words, cells, share * factor, lambda one: one.share))
    forward = [one for one in large if one.cell.product == "forward"]
    even = [one for one in forward if one.cell.density == 0.75 and one.cell.block >= 8]
    targets.append(worst("forward, b >= 8, d = 0.75: gain over dense", even, 1.0, _gain))
    half = [one for one in forward if one.cell.density <= 0.5 and one.cell.block >= 4]
    targets.append(worst("forward, b >= 4, d <= 1/2: gain over dense", half, 1.0, _gain))
    point = [
        one
        for one in forward
        if (one.cell.side, one.cell.block, one.cell.density) == (4096, 16, 1 / 16)
    ]
    targets.append(worst("forward, m=k=4096, d=1/16, b=16: gain over dense", point, 14.0, _gain))
    return targets


def worst(
    name: str,
    cells: Sequence[Measured],
    least: float,
    value: Callable[[Measured], float],
) -> Target:
    """A goal that every cell must reach."""
    goal = f">= {least:.3g}"
    if not cells:
        return Target(f"{name}: no cell was timed", goal, None, False)
    lowest = min(cells, key=value)
    below = sum(value(one) < least for one in cells)
    words = f"{name}: worst of {len(cells)} cells ({lowest.cell}); {below} below the goal"
    return Target(words, goal, value(lowest), value(lowest) >= least)


def _large(cell: Cell) -> bool:
    return cell.side >= 1024 and cell.n >= 256


def _of_size(block: int) -> str:
    return "b >= 8" if block >= 8 else f"b = {block}"


def _gain(one: Measured) -> float:
    return one.gain
