"""What propagation takes, from the encoding alone: the planner counts nothing for it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from diffrender.blocksparse.ipu.costs import exchange_cycles
from diffrender.blocksparse.ipu.dynamic_costs import SKIP_CYCLES, dynamic_cycles
from diffrender.blocksparse.ipu.encoding import Encoding

__all__ = ["propagation_cycles", "propagation_rounds", "propagation_steps"]


def propagation_steps(encoding: Encoding) -> Iterator[tuple[str, bool]]:
    """Shifts of all buckets along "x", "y" or "z", and whether tiles then compute.

    "home" copies the bucket that travels along x, so that the copy can travel along y and z;
    "stay" computes without a shift.
    """
    x_end, y_end, z_end = encoding.ends
    for dx in range(x_end):
        if dx:
            yield "x", False
        if not encoding.needed[dx]:
            continue
        yield "home", False
        for dy in range(y_end):
            if dy:
                yield "y", False
            if dx == dy == 0:
                continue  # the distribution phase has done these
            for dz in range(z_end):
                yield ("z" if dz else "stay"), True
            if z_end > 1 and dy + 1 < y_end:
                yield "z", False  # once round


def propagation_rounds(encoding: Encoding) -> int:
    """Rounds in which tiles compute."""
    return sum(compute for _, compute in propagation_steps(encoding))


def propagation_cycles(encoding: Encoding) -> dict[str, int]:
    """Cycles of the exchange and of the computing of all rounds; empty where there are none."""
    if encoding.ends == (0, 0, 0):
        return {}
    plan = encoding.plan
    steps = list(propagation_steps(encoding))
    shifts = sum(axis in ("x", "y", "z") for axis, _ in steps)
    # The two parts of a bucket are two messages.
    values = plan.capacity_blocks * plan.side**2 * plan.dtype.itemsize
    each = sum(
        int(exchange_cycles(plan.machine, size)) for size in (values, plan.bucket_bytes - values)
    )
    return {
        "propagation exchange": shifts * each,
        "propagation compute": _compute(encoding),
    }


def _compute(encoding: Encoding) -> int:
    """Every round lasts as long as its slowest tile."""
    plan = encoding.plan
    groups: list[set[int]] = [{run.cell for run in runs} for runs in encoding.buckets]
    total = 0
    offset, rounds = [0, 0, 0], []
    for axis, compute in propagation_steps(encoding):
        if axis == "home":
            offset[1] = offset[2] = 0
        elif axis != "stay":
            offset["xyz".index(axis)] += 1
        if compute:
            rounds.append(tuple(offset))
    # (holder, cell) -> rows and blocks: only these tiles have work in a round.
    held: dict[tuple[int, int], list[int]] = defaultdict(lambda: [0, 0])
    for holder, runs in enumerate(encoding.buckets):
        for run in runs:
            one = held[holder, run.cell]
            one[0] += 1
            one[1] += run.blocks
    by_distance: dict[tuple[int, int], list[tuple[int, int]]] = defaultdict(list)
    for holder, cell in held:
        by_distance[encoding.distance(holder, cell)].append((holder, cell))
    idle = max((len(found) for found in groups), default=0) * SKIP_CYCLES
    entry = int(dynamic_cycles(plan.machine, plan.side, plan.dtype.itemsize, 0, 0, plan.width, 0))
    for dx, dy, _ in rounds:
        slowest = entry + idle
        for holder, cell in by_distance.get((dx, dy), ()):
            rows, blocks = held[holder, cell]
            kernel = dynamic_cycles(
                plan.machine, plan.side, plan.dtype.itemsize, rows, blocks, plan.width, 1
            )
            skipped = len(groups[holder]) - 1
            slowest = max(slowest, int(kernel) + SKIP_CYCLES * skipped)
        total += slowest
    return total
