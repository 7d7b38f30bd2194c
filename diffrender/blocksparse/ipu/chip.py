"""Tiles as memories that hold only what was put there, and the exchange between them.

A tile that computes with data which no exchange brought to it meets a KeyError: that is the point
of keeping the memories apart.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.blocksparse.ipu.costs import exchange_cycles
from diffrender.blocksparse.ipu.machine import DoesNotFitError, IpuMachine

__all__ = ["Chip", "Counted", "TileMemory", "Transfer", "multiply_blocks"]

Key = Hashable


@dataclass(frozen=True)
class Transfer:
    """One tensor, or some leading rows of it, from one tile to another.

    Attributes:
        source, key: where it lies.
        target, new_key: where it goes.
        rows: (start, stop) of its first dimension, None for all.
    """

    source: int
    key: Key
    target: int
    new_key: Key
    rows: tuple[int, int] | None = None


@dataclass(frozen=True)
class Counted:
    """What one phase took: cycles of the slowest tile, and bytes that changed their tile."""

    name: str
    cycles: int
    bytes: int = 0


class TileMemory:
    """The memory of one tile: tensors by key, their bytes, and the most there ever were."""

    def __init__(self, number: int, machine: IpuMachine) -> None:
        self.number = number
        self.peak = 0
        self._machine = machine
        self._held: dict[Key, Tensor] = {}
        self._bytes = 0

    def put(self, key: Key, value: Tensor) -> None:
        """Keep a tensor, in place of an older one of that key.

        Raises:
            DoesNotFitError: the memory is full.
        """
        self.drop(key)
        self._held[key] = value
        self._bytes += value.nbytes
        self.peak = max(self.peak, self._bytes)
        if self._bytes > self._machine.tile_bytes:
            raise DoesNotFitError(
                f"tile {self.number} of {self._machine.name} would hold {self._bytes} bytes with "
                f"{key}, and has {self._machine.tile_bytes}; use fewer columns or a smaller "
                "SimulationSettings.memory_share"
            )

    def get(self, key: Key) -> Tensor:
        """What was put there; KeyError where nothing was."""
        try:
            return self._held[key]
        except KeyError:
            raise KeyError(f"tile {self.number} holds no {key}") from None

    def drop(self, key: Key) -> None:
        """Forget a tensor, if it is there."""
        old = self._held.pop(key, None)
        if old is not None:
            self._bytes -= old.nbytes

    def rename(self, key: Key, new_key: Key) -> None:
        """Call a tensor by another key, in place of what had that key."""
        value = self.get(key)
        self.drop(key)
        self.put(new_key, value)


class Chip:
    """All tiles, and what their phases took so far."""

    def __init__(self, machine: IpuMachine) -> None:
        self.machine = machine
        self.phases: list[Counted] = []
        self._tiles: dict[int, TileMemory] = {}

    def __getitem__(self, number: int) -> TileMemory:
        if not 0 <= number < self.machine.tiles:
            raise IndexError(f"tile {number} of {self.machine.tiles}")
        if number not in self._tiles:
            self._tiles[number] = TileMemory(number, self.machine)
        return self._tiles[number]

    def fullest(self) -> tuple[int, int]:
        """(bytes, tile) of the highest peak; the first of equals."""
        peak, tile = max(((t.peak, -n) for n, t in self._tiles.items()), default=(0, 0))
        return peak, -tile

    def home(self, place: int, count: int) -> int:
        """Tile of one of `count` things that are laid out over all tiles in order."""
        return place * self.machine.tiles // count

    def exchange(self, name: str, transfers: Iterable[Transfer]) -> None:
        """Move tensors. All are read before any is written, as tiles send and receive at once."""
        moved: dict[int, list[tuple[Transfer, Tensor]]] = defaultdict(list)
        for one in transfers:
            value = self[one.source].get(one.key)
            moved[one.target].append((one, value if one.rows is None else value[slice(*one.rows)]))
        total = 0
        received: dict[int, dict[tuple[int, Key, object], int]] = {}
        for target, items in moved.items():
            received[target] = {}
            for one, value in items:
                self[target].put(one.new_key, value)
                if one.source != target:
                    size = value.nbytes
                    received[target][one.source, one.key, one.rows] = size
                    total += size
        slowest = max((self._receive_cycles(t, received) for t in received), default=0)
        self.phases.append(Counted(name, slowest, total))

    def _receive_cycles(
        self, target: int, received: dict[int, dict[tuple[int, Key, object], int]]
    ) -> int:
        """What all tiles of a bus want alike comes at the bus's full width."""
        width = self.machine.bus_tiles
        first = target // width * width
        others = [received.get(t, {}) for t in range(first, first + width) if t != target]
        alike = alone = 0
        for key, size in received[target].items():
            if others and all(key in other for other in others):
                alike += size
            else:
                alone += size
        return int(
            exchange_cycles(self.machine, alone) + exchange_cycles(self.machine, alike, shared=True)
        )

    def compute(self, name: str, cycles: Iterable[int]) -> None:
        """Note a phase in which every tile worked on its own, given the cycles of each."""
        self.phases.append(Counted(name, int(max(cycles, default=0))))


def multiply_blocks(
    values: Tensor,  # (E, b, b)
    x: Tensor,  # (K, b, w)
    places: Tensor,  # (E,) which part of x each block meets
    rows: Tensor,  # (E,) which of the results it is added to
    out: Tensor,  # (R, b, w) float32
) -> None:
    """Add the products of blocks to `out`, in float32, block after block."""
    products = torch.bmm(values.float(), x.float()[places])
    out.index_add_(0, rows, products)
