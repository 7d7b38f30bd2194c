"""How a cost grows: the exponent of a power law through measured times."""

from __future__ import annotations

import math
from collections.abc import Sequence

from diffrender.errors import InputError

__all__ = ["exponent"]


def exponent(sizes: Sequence[float], seconds: Sequence[float]) -> float:
    """p of seconds = c * sizes^p, by least squares in logarithms.

    1 is linear growth; less means that a part of the cost does not grow at all.

    Raises:
        InputError: fewer than two different sizes, lengths that differ, or a value that is not
            positive.
    """
    if len(sizes) != len(seconds):
        raise InputError(f"{len(sizes)} sizes but {len(seconds)} times, expected one a size")
    if len(set(sizes)) < 2:
        raise InputError(f"{len(set(sizes))} different sizes, expected at least 2 for an exponent")
    if min(*sizes, *seconds) <= 0:
        raise InputError("a size or a time is not positive; it has no logarithm")
    x = [math.log(size) for size in sizes]
    y = [math.log(time) for time in seconds]
    x_mean, y_mean = sum(x) / len(x), sum(y) / len(y)
    over = sum((a - x_mean) * (b - y_mean) for a, b in zip(x, y, strict=True))
    return over / sum((a - x_mean) ** 2 for a in x)
