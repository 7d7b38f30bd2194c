"""One product on the machine: plan it, place it, run its phases, and say what they took."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.blocksparse.dynamic import DynamicPattern
from diffrender.blocksparse.ipu.chip import Chip, Counted
from diffrender.blocksparse.ipu.counts import BlockCounts, native_side, native_values, reblock
from diffrender.blocksparse.ipu.dense_planner import DensePlan, plan_dense
from diffrender.blocksparse.ipu.dense_program import run_dense
from diffrender.blocksparse.ipu.dynamic_planner import DynamicPlan, plan_dynamic
from diffrender.blocksparse.ipu.dynamic_program import run_dynamic
from diffrender.blocksparse.ipu.encoding import Encoding, encode
from diffrender.blocksparse.ipu.machine import BOW, IpuMachine
from diffrender.blocksparse.ipu.propagation import propagation_cycles, propagation_rounds
from diffrender.blocksparse.ipu.settings import SimulationSettings, check_problem
from diffrender.blocksparse.ipu.static_planner import StaticPlan, plan_static
from diffrender.blocksparse.ipu.static_program import run_static
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError, check_shape

__all__ = ["Phase", "Simulation", "simulate"]

MODES = ("static", "dynamic", "dense")


@dataclass(frozen=True)
class Phase:
    """A phase of the program: exchange or compute, between two syncs.

    Attributes:
        name: as in the plan's terms.
        cycles: by the planner's estimate of the slowest tile; by the mask itself in propagation.
        counted_cycles: of the slowest tile with what it really held; None without operands.
        bytes: that changed their tile, counted; None without operands.
    """

    name: str
    cycles: int
    counted_cycles: int | None
    bytes: int | None


@dataclass(frozen=True, eq=False)
class Simulation:
    """What a product takes on the machine, and its result where it was run on operands.

    Attributes:
        mode: "static", "dynamic" or "dense".
        plan: what was chosen, with the predicted cycles by term.
        phases: in the order of execution, same names put together.
        output: (m, n) of the operands' dtype on the machine, or None.
        memory_bytes: of the fullest tile: counted with operands, else predicted.
        fullest_tile: its number, or None where the memory is predicted.
        propagation_rounds: rounds of computing after the distribution phase; 0 but in dynamic
            mode with a mask whose blocks spilled into other cells' buckets.
        density: stored elements over all.
    """

    mode: str
    plan: StaticPlan | DynamicPlan | DensePlan
    phases: tuple[Phase, ...]
    output: Tensor | None
    memory_bytes: int
    fullest_tile: int | None
    propagation_rounds: int
    density: float

    @property
    def cycles(self) -> int:
        """Cycles of all phases, by the planner's cost model."""
        return sum(phase.cycles for phase in self.phases)

    @property
    def counted_cycles(self) -> int | None:
        """Cycles of all phases with what each tile really held; None without operands."""
        if self.output is None:
            return None
        return sum(phase.counted_cycles or 0 for phase in self.phases)

    @property
    def bytes_exchanged(self) -> int | None:
        """Bytes that changed their tile; None without operands."""
        if self.output is None:
            return None
        return sum(phase.bytes or 0 for phase in self.phases)

    @property
    def tflops(self) -> float:
        """Useful operations a second, 10^12, by the cost model; zeros are never counted."""
        plan = self.plan
        shape = plan.counts.shape if isinstance(plan, StaticPlan) else plan.shape
        return plan.machine.tflops(shape, plan.columns, self.density, self.cycles)

    def explain(self) -> str:
        """The plan in a few lines, and what the phases really took where they were run."""
        lines = [self.plan.explain()]
        if self.propagation_rounds:
            lines.append(f"  propagation: {self.propagation_rounds} rounds")
        if self.counted_cycles is not None:
            lines.append(
                f"  counted: {self.counted_cycles} cycles, {self.bytes_exchanged} bytes "
                f"exchanged, {self.memory_bytes} bytes on tile {self.fullest_tile}"
            )
        return "\n".join(lines)


def simulate(
    pattern: BlockPattern | DynamicPattern,
    columns: int,
    machine: IpuMachine = BOW,
    mode: str = "static",
    *,
    dtype: torch.dtype = torch.float16,
    values: Tensor | None = None,  # (nnz, b_m, b_k)
    x: Tensor | None = None,  # (k, n)
    settings: SimulationSettings | None = None,
) -> Simulation:
    """Y = W X on the machine: planned as PopSparse does, and run tile by tile on the operands.

    With operands every tile works with what was placed on it or exchanged to it alone, products
    and sums within a tile in float32, partials and results rounded to the machine's dtypes: halves
    in static and dense mode with float16, float32 partials in dynamic mode. Without operands only
    the cost is computed (in dynamic mode the mask is encoded too, for its propagation).
    Blocks that the kernels lack are cut into the largest that they have. Not differentiable.

    Args:
        pattern: the stored blocks of W, (m, k); of a DynamicPattern those of its present mask.
        columns: n.
        machine: BOW, MK2 or your own.
        mode: "static", "dynamic" or "dense".
        dtype: storage on the machine, torch.float16 or torch.float32.
        values: blocks of W in row order; for a DynamicPattern as in `spmm`.
        x: X.
        settings: memory share, forced parts, buckets.

    Raises:
        DoesNotFitError: the product does not fit, or a mask overflows the buckets; with the
            reason.
        InputError: the arguments do not fit each other, or the pattern is of an old mask.

    Source: popsparse.md, sections 1.4 and 1.5 (arXiv 2303.16999).
    """
    check_problem(columns, dtype)
    stored = pattern.current
    stored.refuse_stale()
    if mode not in MODES:
        raise InputError(f"mode is {mode!r}, expected one of {', '.join(MODES)}")
    if (values is None) != (x is None):
        raise InputError("one of values and x came without the other; pass both or neither")
    if values is not None and x is not None:
        check_shape("values", values, *pattern.values_shape)
        check_shape("x", x, pattern.shape[1], columns)
        for name, given in (("values", values), ("x", x)):
            if given.is_complex():
                raise InputError(f"{name} is {given.dtype}, expected real numbers")
        values, x = (t.detach().to("cpu", dtype) for t in (values[: stored.nnz], x))
    settings = settings or SimulationSettings()
    run = _MODES[mode]
    return run(stored, columns, machine, dtype, (values, x), settings)


Operands = tuple[Tensor | None, Tensor | None]


def _static(
    pattern: BlockPattern,
    columns: int,
    machine: IpuMachine,
    dtype: torch.dtype,
    operands: Operands,
    settings: SimulationSettings,
) -> Simulation:
    counts = BlockCounts.of(pattern, dtype)
    plan = plan_static(counts, columns, machine, dtype=dtype, settings=settings)
    values, x = operands
    if values is None or x is None:
        return _predicted("static", plan, counts.density)
    blocks = reblock(pattern, counts.side)
    chip = Chip(machine)
    output = run_static(plan, blocks, native_values(pattern, blocks, values), x, chip)
    return _counted("static", plan, counts.density, chip, output)


def _dense(
    pattern: BlockPattern,
    columns: int,
    machine: IpuMachine,
    dtype: torch.dtype,
    operands: Operands,
    settings: SimulationSettings,
) -> Simulation:
    plan = plan_dense(pattern.shape, columns, machine, dtype=dtype, settings=settings)
    values, x = operands
    if values is None or x is None:
        return _predicted("dense", plan, pattern.density)
    chip = Chip(machine)
    output = run_dense(plan, pattern.to("cpu").to_dense(values), x, chip)
    return _counted("dense", plan, pattern.density, chip, output)


def _dynamic(
    pattern: BlockPattern,
    columns: int,
    machine: IpuMachine,
    dtype: torch.dtype,
    operands: Operands,
    settings: SimulationSettings,
) -> Simulation:
    side = native_side(pattern.block_size, dtype, dynamic=True)
    blocks = reblock(pattern, side)
    grid = blocks.grid
    density = pattern.density if settings.max_density is None else settings.max_density
    most = max(1, math.ceil(density * grid[0] * grid[1] * (1 - 1e-12)))
    plan = plan_dynamic(pattern.shape, side, most, columns, machine, dtype=dtype, settings=settings)
    encoding = encode(plan, blocks)
    values, x = operands
    if values is None or x is None:
        return _predicted("dynamic", plan, pattern.density, encoding)
    chip = Chip(machine)
    output = run_dynamic(encoding, blocks, native_values(pattern, blocks, values), x, chip)
    return _counted("dynamic", plan, pattern.density, chip, output, encoding)


_MODES = {"static": _static, "dynamic": _dynamic, "dense": _dense}


def _predicted(
    mode: str,
    plan: StaticPlan | DynamicPlan | DensePlan,
    density: float,
    encoding: Encoding | None = None,
) -> Simulation:
    extra = {} if encoding is None else propagation_cycles(encoding)
    phases = tuple(Phase(name, n, None, None) for name, n in {**plan.terms, **extra}.items())
    rounds = 0 if encoding is None else propagation_rounds(encoding)
    return Simulation(mode, plan, phases, None, plan.memory_bytes, None, rounds, density)


def _counted(
    mode: str,
    plan: StaticPlan | DynamicPlan | DensePlan,
    density: float,
    chip: Chip,
    output: Tensor,
    encoding: Encoding | None = None,
) -> Simulation:
    extra = {} if encoding is None else propagation_cycles(encoding)
    predicted = {**plan.terms, **extra}
    counted: dict[str, list[Counted]] = defaultdict(list)
    for phase in chip.phases:
        counted[phase.name].append(phase)
    phases = tuple(
        Phase(
            name,
            predicted.get(name, 0),
            sum(one.cycles for one in counted.get(name, ())),
            sum(one.bytes for one in counted.get(name, ())),
        )
        for name in dict.fromkeys([*predicted, *counted])
    )
    peak, tile = chip.fullest()
    rounds = 0 if encoding is None else propagation_rounds(encoding)
    return Simulation(mode, plan, phases, output, peak, tile, rounds, density)
