"""A simulated product of whole numbers, held to the oracle bit for bit."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.blocksparse import BlockPattern
from diffrender.blocksparse.ipu import IpuMachine, Simulation, SimulationSettings, simulate


def whole_operands(pattern: BlockPattern, columns: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Small whole numbers: all sums are exact in float16, so results must be equal."""
    generator = torch.Generator().manual_seed(seed)
    values = torch.randint(-2, 3, pattern.values_shape, generator=generator).float()
    x = torch.randint(-2, 3, (pattern.shape[1], columns), generator=generator).float()
    return values, x


def run(
    pattern: BlockPattern,
    columns: int,
    machine: IpuMachine,
    mode: str,
    dtype: torch.dtype = torch.float16,
    options: SimulationSettings | None = None,
) -> Simulation:
    """Simulate on whole numbers and compare with the oracle, bit for bit."""
    values, x = whole_operands(pattern, columns)
    found = simulate(
        pattern, columns, machine, mode, dtype=dtype, values=values, x=x, settings=options
    )
    assert found.output is not None and found.output.dtype == dtype
    assert torch.equal(found.output.float(), pattern.to_dense(values) @ x)
    return found
