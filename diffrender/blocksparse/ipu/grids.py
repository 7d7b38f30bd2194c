"""Equal grids over m, k and n."""

from __future__ import annotations

import numpy as np

__all__ = ["equal_grids"]


def equal_grids(
    rows: int, columns: int, grains: int, tiles: int, *, even: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(C,) parts of the rows, columns and grains: all grids that the tiles allow.

    With `even` the grains must divide into parts without a rest.
    """
    found = []
    for z in range(1, min(grains, tiles) + 1):
        if even and grains % z:
            continue
        for x in range(1, min(rows, tiles // z) + 1):
            y = np.arange(1, min(columns, tiles // z // x) + 1)
            found.append(np.stack([np.full_like(y, x), y, np.full_like(y, z)]))
    x, y, z = np.concatenate(found, axis=1)
    return x, y, z
