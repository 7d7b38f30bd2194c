"""What is published of PopSparse on the IPU: written down from popsparse.md, never from our runs.

The table of section 1.4.4 is derived there, from the source's cost formulas and one random mask.
All else is measured on a Bow IPU by the authors of arXiv 2303.16999 and digitised from their plots
(section 1.8; about 3 %, the grid of speed-ups about 5 %). TFLOP/s count stored elements only.
"""

from __future__ import annotations

COLUMNS = (16, 64, 256, 1024, 2048, 4096)

# (b, 1 / d) -> TFLOP/s for COLUMNS, m = k = 4096, FP16, Bow; None where it does not fit.
STATIC_TABLE: dict[tuple[int, int], tuple[float | None, ...]] = {
    (1, 4): (12.0, 12.3, 13.0, 13.1, 12.6, None),
    (1, 8): (10.4, 11.3, 12.2, 12.3, 11.8, None),
    (1, 16): (9.0, 10.4, 10.9, 11.0, 10.3, None),
    (1, 32): (7.1, 9.0, 9.7, 9.1, 8.5, None),
    (4, 16): (8.1, 17.1, 24.4, 32.7, 36.7, 35.5),
    (8, 16): (16.9, 27.5, 37.1, 50.9, 57.3, 61.4),
    (16, 4): (52.1, 84.5, 103.6, 134.9, 150.4, None),
    (16, 8): (36.7, 52.3, 72.4, 96.6, 112.9, None),
    (16, 16): (22.3, 34.0, 49.5, 65.8, 77.7, 90.5),
    (16, 32): (12.8, 24.6, 39.6, 46.5, 52.4, 58.0),
}

# The example breakdowns of the same section: d = 1/16, n = 1024.
BREAKDOWN_16 = {
    "dense exchange": 10672,
    "value exchange": 3456,
    "compute": 19953,
    "partial exchange": 12528,
    "reduction": 8100,
    "final move": 5699,
}
BREAKDOWN_1 = {
    "dense exchange": 7182,
    "value exchange": 6567,
    "compute": 323532,
    "partial exchange": 10205,
    "reduction": 7224,
    "final move": 5699,
}

# Dense FP16 on the IPU, measured: (m = k, n) -> TFLOP/s.
DENSE = {
    (1024, 64): 45.5,
    (2048, 64): 82.0,
    (4096, 4): 18.2,
    (4096, 64): 130.0,
    (4096, 1024): 209.0,
    (8192, 64): 157.0,
}

# Density sweep, m = k = 4096, best n, FP16 TFLOP/s: method -> values at d = 1/4, 1/8, 1/16, 1/32.
DENSITY_SWEEP = {
    "dense": (56.5, 28.1, 14.1, 7.1),
    "static, b = 1": (11.6, 11.6, 10.4, 8.6),
    "static, b = 16": (89.8, 67.9, 69.4, 35.6),
    "dynamic, b = 1": (9.6, 7.6, 6.0, 3.7),
    "dynamic, b = 16": (54.8, 38.8, 26.9, 15.4),
}
DENSITIES = (4, 8, 16, 32)  # 1 / d

# Block size sweep, m = k = 4096, d = 1/16: values at b = 1, 4, 8, 16.
BLOCK_SWEEP = {
    "dense": (14.2, 14.2, 14.2, 14.2),
    "static": (10.5, 21.6, 49.1, 69.6),
    "dynamic": (5.95, 14.3, 21.3, 27.0),
}
SIDES = (1, 4, 8, 16)

# Feature size sweep, b = 16, d = 1/16: values at m = k = 256 ... 8192.
FEATURE_SWEEP = {
    "dense": (12.7, 13.8, 14.2, 14.4, 14.2, 14.0),
    "static": (9.1, 20.3, 30.0, 31.0, 69.1, 62.3),
    "dynamic": (5.4, 6.5, 11.3, 21.6, 27.0, 21.9),
}
SIZES = (256, 512, 1024, 2048, 4096, 8192)

# Speed-up over dense at m = k = 4096, d = 1/16, best n: (mode, b, bits) -> ratio.
HEADLINE = {
    ("static", 1, 16): 0.7,
    ("static", 1, 32): 1.4,
    ("static", 16, 16): 4.9,
    ("static", 16, 32): 5.6,
    ("dynamic", 1, 16): 0.4,
    ("dynamic", 1, 32): 0.9,
    ("dynamic", 16, 16): 1.9,
    ("dynamic", 16, 32): 3.8,
}

# speed-up = factor m^x d^y b^z, the authors' fit to static FP16, square, b = 1, 4, 8, 16.
POWER_LAW = (0.0013, 0.59, -0.54, 0.50)

# Static speed-up over dense at the same n, FP16: (b, m) -> for each 1 / d of DENSITIES the values
# at GRID_COLUMNS; None did not fit or is missing. A cell is the authors' median over all k of m.
GRID_COLUMNS = (4, 16, 64, 256, 1024)
_GRID = """
1 512 | 1.01 0.92 0.64 0.40 0.30 | 1.08 1.10 0.83 0.55 0.48 | 1.14 1.32 0.92 0.77 0.74 | 1.19 1.58 1.06 0.92 0.97
1 1024 | 0.92 0.74 0.51 0.31 0.34 | 1.12 0.97 0.78 0.58 0.59 | 1.27 1.19 1.05 0.84 0.94 | 1.39 1.32 1.12 1.10 1.32
1 2048 | 0.92 0.46 0.44 0.30 0.29 | 1.39 0.87 0.76 0.53 0.52 | 1.79 1.14 1.17 0.99 0.87 | 2.15 1.37 1.42 1.58 1.35
1 4096 | 1.03 0.54 0.30 0.27 - | 1.76 0.99 0.61 0.50 0.47 | 2.71 1.42 1.06 0.94 0.83 | 3.49 1.93 1.73 1.61 1.37
1 8192 | 1.05 0.55 0.29 - - | 1.93 0.97 0.54 0.44 - | 3.43 1.79 1.06 0.83 - | 5.78 2.86 1.89 1.50 1.61
4 512 | 1.01 0.96 0.83 0.58 0.54 | 1.17 0.97 0.91 0.69 0.73 | 1.35 1.10 1.01 0.87 1.14 | 1.32 1.30 1.32 0.96 0.96
4 1024 | 0.99 0.86 0.76 0.74 0.70 | 1.23 1.06 0.97 0.97 1.03 | 1.39 1.25 1.08 1.25 1.50 | 1.64 1.32 1.32 1.17 1.96
4 2048 | 0.92 0.67 0.84 0.83 0.70 | 1.35 0.96 1.17 0.86 0.94 | 1.76 1.17 1.39 1.10 1.39 | 2.23 1.64 2.15 2.07 1.55
4 4096 | 0.86 0.63 0.63 0.70 0.80 | 1.53 0.97 0.91 1.01 1.12 | 2.31 1.53 1.73 1.42 1.70 | 3.49 2.19 2.35 2.53 2.92
4 8192 | 0.81 0.59 0.69 0.80 - | 1.53 1.10 1.12 1.19 - | 2.71 1.89 1.67 1.61 2.71 | 4.41 2.97 3.13 2.35 4.26
8 512 | 1.01 1.01 0.91 0.77 0.92 | 1.10 1.10 1.06 0.89 0.83 | 1.19 1.27 1.30 0.94 0.92 | 1.12 1.19 1.14 0.94 1.05
8 1024 | 1.08 1.21 1.01 1.05 0.99 | 1.25 1.30 1.19 0.92 1.42 | 1.47 1.61 1.42 1.23 1.93 | 1.55 1.67 1.64 1.42 2.67
8 2048 | 1.37 1.12 1.23 1.19 1.08 | 1.73 1.39 1.45 1.19 1.67 | 2.11 1.61 1.67 2.11 2.39 | 2.48 2.04 2.00 2.81 3.37
8 4096 | 1.76 1.35 1.39 1.39 1.42 | 2.67 1.96 1.89 1.47 2.19 | 3.68 2.57 2.48 1.96 2.44 | 4.91 3.49 3.55 3.68 3.43
8 8192 | 1.89 1.47 1.27 1.17 - | 3.37 2.31 1.76 2.27 - | 5.38 3.55 3.49 2.39 4.18 | 8.13 5.57 4.66 4.49 6.44
16 512 | 1.08 1.08 1.03 0.78 0.80 | 1.12 1.14 1.05 0.87 0.96 | 1.03 1.06 1.14 0.86 1.01 | 1.08 1.12 1.12 1.03 1.17
16 1024 | 1.23 1.12 1.08 1.32 1.45 | 1.39 1.39 1.32 1.19 1.45 | 1.45 1.53 1.58 1.37 1.50 | 1.39 1.39 1.61 1.64 2.23
16 2048 | 1.83 1.47 1.64 1.53 1.47 | 2.11 1.61 1.58 1.39 2.11 | 2.57 2.11 1.93 2.57 2.97 | 2.71 2.27 2.31 2.27 4.18
16 4096 | 2.97 2.00 1.83 1.89 1.76 | 4.03 2.67 2.48 1.93 2.71 | 5.00 3.19 3.02 3.49 3.89 | 6.10 4.26 3.96 4.83 5.67
16 8192 | 3.82 3.02 2.57 2.27 - | 5.99 4.49 3.43 2.35 - | 7.99 5.67 4.74 3.08 5.00 | 9.91 9.06 6.92 6.10 7.04
"""  # noqa: E501


def speed_up_grid() -> dict[tuple[int, int, int, int], float | None]:
    """(b, m, 1 / d, n) -> measured speed-up over dense, None where it did not fit."""
    found: dict[tuple[int, int, int, int], float | None] = {}
    for line in _GRID.strip().splitlines():
        head, *cells = line.split("|")
        side, size = map(int, head.split())
        for inverse, cell in zip(DENSITIES, cells, strict=True):
            for columns, value in zip(GRID_COLUMNS, cell.split(), strict=True):
                found[side, size, inverse, columns] = None if value == "-" else float(value)
    return found
