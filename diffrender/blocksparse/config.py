"""How sparse a layer is: one small record that networks pass on to their linear layers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from diffrender._networks import tuples
from diffrender.blocksparse._structure import BLOCK_SIDES, pair
from diffrender.blocksparse.backends import BACKENDS
from diffrender.errors import InputError

__all__ = ["SparsityConfig", "read_sparsity", "without_backend"]

_MODES = ("static", "dynamic")


@dataclass(frozen=True)
class SparsityConfig:
    """Density, block size and mode of block-sparse linear layers.

    Attributes:
        density: share of blocks that are stored, in (0, 1]; in dynamic mode the most that may be.
        block_size: b, or (b_m, b_k) over output and input features; sides 1, 4, 8, 16, 32, 64.
        mode: "static" (the mask is fixed) or "dynamic" (it may change at every step).
        backend: "native", "torch", "triton", or None for the fastest.

    Raises:
        InputError: a value is not offered.
    """

    density: float = 0.125
    block_size: int | tuple[int, int] = 16
    mode: str = "static"
    backend: str | None = None

    def __post_init__(self) -> None:
        if not 0.0 < self.density <= 1.0:
            raise InputError(f"density is {self.density}, expected a number in (0, 1]")
        if not set(self.block_shape) <= set(BLOCK_SIDES):
            sides = ", ".join(map(str, BLOCK_SIDES))
            raise InputError(f"block_size is {self.block_size}, expected sides out of {sides}")
        if self.mode not in _MODES:
            raise InputError(f"mode is {self.mode!r}, expected one of {', '.join(_MODES)}")
        if self.backend is not None and self.backend not in BACKENDS:
            raise InputError(
                f"backend is {self.backend!r}, expected one of {', '.join(BACKENDS)}, or None"
            )

    @property
    def block_shape(self) -> tuple[int, int]:
        """(b_m, b_k)."""
        return pair(self.block_size)


def without_backend(sparsity: SparsityConfig | None) -> SparsityConfig | None:
    """What a file keeps: which back-end is fastest is the reader's matter."""
    return None if sparsity is None else replace(sparsity, backend=None)


def read_sparsity(values: dict[str, Any] | None) -> SparsityConfig | None:
    """The configuration of the values that a file kept; they may hold lists for tuples."""
    return None if values is None else SparsityConfig(**tuples(values))
