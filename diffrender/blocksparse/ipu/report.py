"""A plan in a few lines of text."""

from __future__ import annotations

from collections.abc import Mapping

from diffrender.blocksparse.ipu.machine import IpuMachine

__all__ = ["explain"]


def explain(
    head: str, terms: Mapping[str, int], memory: int, tflops: float, machine: IpuMachine
) -> str:
    """What was chosen, the predicted cycles of each term, memory and speed."""
    total = max(sum(terms.values()), 1)
    lines = [f"{head} on {machine.name} ({machine.tiles} tiles)"]
    lines += [
        f"  {name:<18}{cycles:>10} cycles {100 * cycles / total:5.1f} %"
        for name, cycles in terms.items()
        if cycles
    ]
    lines.append(
        f"  predicted: {total} cycles, {tflops:.1f} TFLOP/s, {memory} of {machine.tile_bytes} bytes"
    )
    return "\n".join(lines)
