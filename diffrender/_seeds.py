"""Seeds of training runs, and the streams of draws that follow from them.

A run whose draws follow from its seed and step needs no random state to go on with the same bits.
"""

from __future__ import annotations

import torch

from diffrender.errors import InputError

__all__ = ["check_seed", "stream", "stream_seed"]

_MOST = 2**63 - 1  # that torch and a checkpoint hold


def check_seed(seed: int) -> None:
    """What settings with a seed ask at once.

    Raises:
        InputError: a negative seed, or one that torch cannot hold.
    """
    if not 0 <= seed <= _MOST:
        raise InputError(f"the seed is {seed}, expected a whole number from 0 to {_MOST}")


def stream_seed(seed: int, number: int) -> int:
    """A generator's seed for each pair: torch makes neighbouring seeds independent streams."""
    return (seed * 1_000_003 + number) % 2**63


def stream(seed: int, number: int) -> torch.Generator:
    """A generator of its own for each pair."""
    return torch.Generator().manual_seed(stream_seed(seed, number))
