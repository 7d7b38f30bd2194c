"""The machine: tiles with their own memory, an exchange between them, and what a tile can do."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import torch

from diffrender.errors import InputError

__all__ = ["BOW", "MK2", "DoesNotFitError", "IpuMachine", "require_whole"]


def require_whole(name: str, value: object) -> None:
    """Raise InputError unless the value is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise InputError(f"{name} is {value!r}, expected a whole number of at least 1")


class DoesNotFitError(InputError):
    """A product that the machine cannot hold; the message says what is short, and by how much."""


@dataclass(frozen=True)
class IpuMachine:
    """Many small processors, each with its own memory, that compute and exchange in turns.

    Attributes:
        name: for reports.
        tiles: processors on the chip, a multiple of `bus_tiles` unless there is only one.
        tile_bytes: memory of each.
        clock: cycles a second.
        exchange_bytes: bytes that a tile receives in a cycle of an exchange phase.
        bus_tiles: neighbours that share a bus: data that all of them want arrives that many
            times as fast.
        workers: hardware threads of a tile, which take turns.
        path_bytes: width of the data path; vectors are that wide.
        coefficient_bytes: bytes of weights loaded into the matmul unit in a cycle.
        half_macs, float_macs: multiply-adds a cycle of the matmul unit.

    Source: popsparse.md, section 1.2; the sizes are the vendor's, the exchange width is the one
    that the planners of PopSparse are modelled with.
    """

    name: str
    tiles: int = 1472
    tile_bytes: int = 624 * 1024
    clock: float = 1.85e9
    exchange_bytes: int = 4
    bus_tiles: int = 2
    workers: int = 6
    path_bytes: int = 8
    coefficient_bytes: int = 8
    half_macs: int = 64
    float_macs: int = 16

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if name == "clock":
                if not 0 < value < math.inf:
                    raise InputError(f"IpuMachine.clock is {value}, expected cycles a second")
            elif name != "name":
                require_whole(f"IpuMachine.{name}", value)
        if self.path_bytes % 4:
            raise InputError(
                f"IpuMachine.path_bytes is {self.path_bytes}, expected a multiple of 4: a vector "
                "holds whole floats"
            )
        if self.tiles > 1 and self.tiles % self.bus_tiles:
            raise InputError(
                f"IpuMachine.tiles is {self.tiles}, expected 1 or a multiple of the "
                f"{self.bus_tiles} tiles that share a bus"
            )

    @property
    def tile_grain(self) -> int:
        """Tiles that are given out together."""
        return min(self.bus_tiles, self.tiles)

    def vector_width(self, dtype: torch.dtype) -> int:
        """Elements in a vector: 4 halves, 2 floats."""
        return self.path_bytes // dtype.itemsize

    def peak_tflops(self, dtype: torch.dtype) -> float:
        """What the matmul units could do if nothing ever waited."""
        macs = self.half_macs if dtype == torch.float16 else self.float_macs
        return 2 * macs * self.tiles * self.clock / 1e12

    def tflops(self, shape: tuple[int, int], columns: int, density: float, cycles: float) -> float:
        """10^12 useful operations a second: two for each element of W that is kept and column."""
        return 2 * shape[0] * shape[1] * density * columns * self.clock / cycles / 1e12


MK2 = IpuMachine("Mk2 GC200", clock=1.325e9)
BOW = IpuMachine("Bow", clock=1.85e9)
