"""Dynamic mode on the simulated IPU: spilt blocks travel until every bucket met its slice."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from ipu_cases import run, whole_operands

from diffrender.blocksparse import BlockPattern, ipu
from diffrender.blocksparse.ipu import IpuMachine, SimulationSettings, simulate
from diffrender.blocksparse.ipu.chip import Chip
from diffrender.blocksparse.ipu.counts import BlockCounts
from diffrender.blocksparse.ipu.dynamic_program import run_dynamic
from diffrender.blocksparse.ipu.propagation import propagation_cycles, propagation_steps
from diffrender.blocksparse.ipu.static_program import run_static


def _skewed(kind: str) -> torch.Tensor:
    mask = torch.zeros(32, 32, dtype=torch.bool)
    if kind == "row":
        mask[:8, :8] = True
        mask[:8, 20] = True
    elif kind == "anywhere":
        mask[:16, :16] = True
    else:
        mask[:, 0] = True
        mask[5] = True
    return mask


@pytest.mark.parametrize("kind", ["row", "anywhere", "cross"])
@pytest.mark.parametrize("grid", [(2, 2, 1), (4, 2, 2), (2, 4, 3), (1, 3, 2), (3, 1, 1)])
def test_skewed_masks_propagate_until_all_buckets_met_their_slice(
    kind: str, grid: tuple[int, int, int]
) -> None:
    pattern = BlockPattern.from_mask(_skewed(kind), 4)
    columns = 8 * grid[2]
    machine = IpuMachine("few", tiles=24)
    plan = ipu.plan_dynamic((128, 128), 4, pattern.nnz, columns, machine)
    plan = dataclasses.replace(
        plan,
        grid=grid,
        blocks=(-(-32 // grid[0]), -(-32 // grid[1])),
        width=8,
        capacity_blocks=math.ceil(1.05 * pattern.nnz / math.prod(grid)),
        capacity_words=2000,
    )
    encoding = ipu.encode(plan, pattern)
    assert sum(encoding.spilled) > 0
    values, x = whole_operands(pattern, columns)
    chip = Chip(machine)
    output = run_dynamic(encoding, pattern, values.half(), x.half(), chip)
    assert torch.equal(output.float(), pattern.to_dense(values) @ x)
    rounds = sum(compute for _, compute in propagation_steps(encoding))
    assert rounds > 0
    # What the encoding alone predicts is what the tiles then took.
    for name, cycles in propagation_cycles(encoding).items():
        assert sum(one.cycles for one in chip.phases if one.name == name) == cycles, name


def test_every_propagation_step_is_needed() -> None:
    """Leaving out the last round of computing loses products: the rounds are not for show."""
    pattern = BlockPattern.from_mask(_skewed("anywhere"), 4)
    machine = IpuMachine("few", tiles=24)
    options = SimulationSettings(oversize=0.05)
    found = run(pattern, 16, machine, "dynamic", options=options)
    assert found.propagation_rounds > 0
    values, x = whole_operands(pattern, 16)
    plan = found.plan
    assert isinstance(plan, ipu.DynamicPlan)
    encoding = ipu.encode(plan, pattern)
    shorter = dataclasses.replace(encoding, ends=(0, 0, 0))
    output = run_dynamic(shorter, pattern, values.half(), x.half(), Chip(machine))
    assert not torch.equal(output.float(), pattern.to_dense(values) @ x)


def test_propagation_adds_cycles_to_a_plan_that_foresees_none() -> None:
    machine = IpuMachine("few", tiles=24)
    skewed = BlockPattern.from_mask(_skewed("anywhere"), 4)
    generator = torch.Generator().manual_seed(5)
    even = BlockPattern.random((128, 128), 4, skewed.density, generator=generator)
    for pattern in (even, skewed):
        found = simulate(pattern, 16, machine, "dynamic")
        extra = sum(phase.cycles for phase in found.phases if "propagation" in phase.name)
        assert found.cycles == found.plan.cycles + extra
        assert (extra > 0) == (found.propagation_rounds > 0)
    assert simulate(skewed, 16, machine, "dynamic").propagation_rounds > 0


def test_a_new_mask_keeps_the_plan() -> None:
    """A dynamic plan hangs on shape, density and columns alone."""
    machine = IpuMachine("few", tiles=24)
    generator = torch.Generator().manual_seed(6)
    options = SimulationSettings(max_density=0.3)
    plans = [
        simulate(
            BlockPattern.random((128, 128), 4, density, generator=generator),
            16,
            machine,
            "dynamic",
            settings=options,
        ).plan
        for density in (0.1, 0.2, 0.3)
    ]
    assert plans[0] == plans[1] == plans[2]


def test_a_mask_above_the_largest_density_is_refused() -> None:
    generator = torch.Generator().manual_seed(7)
    pattern = BlockPattern.random((128, 128), 4, 0.3, generator=generator)
    with pytest.raises(ipu.DoesNotFitError, match=r"308 blocks, .* made for 103: 205 too many"):
        simulate(pattern, 16, mode="dynamic", settings=SimulationSettings(max_density=0.1))


def test_a_missing_exchange_is_a_key_error() -> None:
    generator = torch.Generator().manual_seed(8)
    pattern = BlockPattern.random((64, 64), 4, 0.3, generator=generator)
    values, x = (t.half() for t in whole_operands(pattern, 8))

    class Deaf(Chip):
        def exchange(self, name, transfers):  # type: ignore[no-untyped-def]
            if name != self.lost:
                super().exchange(name, transfers)

    machine = IpuMachine("few", tiles=8)
    plan = ipu.plan_static(
        BlockCounts.of(pattern, torch.float16),
        8,
        machine,
        settings=SimulationSettings(splits=2, bands=2),
    )
    for lost in ("dense exchange", "value exchange", "partial exchange", "final move"):
        chip = Deaf(machine)
        chip.lost = lost  # type: ignore[attr-defined]
        with pytest.raises(KeyError, match=r"tile \d+ holds no"):
            run_static(plan, pattern, values, x, chip)
