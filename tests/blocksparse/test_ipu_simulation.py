"""Products run tile by tile: exact against the dense oracle, and honest about what they took."""

from __future__ import annotations

import doctest
import itertools
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from ipu_cases import run, whole_operands

from diffrender.blocksparse import BlockPattern, DynamicPattern, ipu
from diffrender.blocksparse.ipu import (
    IpuMachine,
    SimulationSettings,
    plan_dense,
    plan_dynamic,
    simulate,
)
from diffrender.blocksparse.ipu.chip import Chip, TileMemory, Transfer
from diffrender.errors import InputError

MODES = ("static", "dynamic", "dense")


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("block", [1, 4, 8, 16, 32, (4, 16), (64, 8)])
def test_every_block_size_is_exact(mode: str, block: int | tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(1)
    shape = (32, 48) if block == 1 else (128, 192)
    pattern = BlockPattern.random(shape, block, 0.3, generator=generator)
    for tiles, dtype in itertools.product((1, 6), (torch.float16, torch.float32)):
        run(pattern, 10, IpuMachine("few", tiles=tiles), mode, dtype)


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    rows=st.integers(1, 9),
    cols=st.integers(1, 9),
    density=st.floats(0.0, 1.0),
    columns=st.integers(1, 30),
    tiles=st.sampled_from([1, 2, 4, 10, 26]),
    mode=st.sampled_from(MODES),
)
def test_random_masks_are_exact(
    seed: int, rows: int, cols: int, density: float, columns: int, tiles: int, mode: str
) -> None:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.rand(rows, cols, generator=generator) < density
    pattern = BlockPattern.from_mask(mask, 4)
    roomy = SimulationSettings(oversize=9.0)  # tiny masks are never even
    run(pattern, columns, IpuMachine("few", tiles=tiles), mode, options=roomy)


def test_forced_parts_and_bands_reduce_across_tiles() -> None:
    generator = torch.Generator().manual_seed(2)
    pattern = BlockPattern.random((64, 128), 4, 0.4, generator=generator)
    machine = IpuMachine("few", tiles=40)
    for splits, bands in ((1, 1), (1, 8), (5, 1), (3, 5), (4, 4)):
        found = run(
            pattern,
            20,
            machine,
            "static",
            options=SimulationSettings(splits=splits, bands=bands),
        )
        phases = {phase.name: phase for phase in found.phases}
        assert (phases["value exchange"].bytes == 0) == (splits == 1)
        assert phases["partial exchange"].bytes > 0 or bands == 1
        assert found.bytes_exchanged == sum(phase.bytes or 0 for phase in found.phases)


def test_rows_and_columns_come_back_in_their_own_order() -> None:
    """Sparse rows and columns are planned last, or not, and the result is the same."""
    mask = torch.zeros(24, 20, dtype=torch.bool)
    mask[2:, 3:] = True
    mask[0, 19] = mask[23, 0] = True  # a row and a column with one block each
    pattern = BlockPattern.from_mask(mask, 4)
    machine = IpuMachine("few", tiles=16)
    for rearrange in (True, False):
        options = SimulationSettings(rearrange=rearrange, splits=2, bands=4)
        plan = run(pattern, 16, machine, "static", options=options).plan
        assert isinstance(plan, ipu.StaticPlan)
        assert (plan.row_order.tolist() == list(range(24))) != rearrange


def test_half_partials_round_and_float_sums_do_not() -> None:
    generator = torch.Generator().manual_seed(3)
    pattern = BlockPattern.random((64, 256), 8, 0.5, generator=generator)
    values = torch.randn(pattern.values_shape, generator=generator)
    x = torch.randn(256, 12, generator=generator)
    machine = IpuMachine("few", tiles=16)
    for mode in MODES:
        for dtype, bound in ((torch.float16, 4e-3), (torch.float32, 1e-6)):
            found = simulate(pattern, 12, machine, mode, dtype=dtype, values=values, x=x)
            assert found.output is not None
            stored = values.to(dtype).double()
            wanted = pattern.to_dense(stored) @ x.to(dtype).double()
            error = (found.output.double() - wanted).abs().max() / wanted.abs().max()
            assert error < bound
            assert error > 0


def test_the_same_bits_twice() -> None:
    generator = torch.Generator().manual_seed(4)
    pattern = BlockPattern.random((64, 128), 4, 0.3, generator=generator)
    values = torch.randn(pattern.values_shape, generator=generator)
    x = torch.randn(128, 9, generator=generator)
    for mode in MODES:
        first, second = (
            simulate(pattern, 9, IpuMachine("few", tiles=12), mode, values=values, x=x).output
            for _ in range(2)
        )
        assert first is not None and second is not None and torch.equal(first, second)


def test_counted_figures_are_near_the_predicted_ones() -> None:
    """On a large random mask the planner's expectations hold: popsparse.md, section 1.4.3."""
    generator = torch.Generator().manual_seed(9)
    pattern = BlockPattern.random((1024, 1024), 16, 1 / 8, generator=generator)
    machine = IpuMachine("some", tiles=184)
    values, x = whole_operands(pattern, 256)
    found = simulate(pattern, 256, machine, values=values, x=x)
    assert found.counted_cycles == pytest.approx(found.cycles, rel=0.25)
    assert found.tflops == pytest.approx(found.plan.tflops)
    compute = next(phase for phase in found.phases if phase.name == "compute")
    # The planner takes whole blocks a row (here 2.2 become 3), so it is not below the count.
    assert compute.counted_cycles is not None
    assert 2 / 3 * compute.cycles < compute.counted_cycles <= compute.cycles
    assert 0 < found.memory_bytes < machine.tile_bytes
    assert found.fullest_tile is not None and 0 <= found.fullest_tile < 184
    assert "exchanged" in found.explain()


def test_bytes_are_counted_once_for_each_tile_that_receives() -> None:
    chip = Chip(IpuMachine("few", tiles=4))
    chip[0].put("a", torch.zeros(10, 2))
    sends = [Transfer(0, "a", t, "b", (2, 7)) for t in range(4)]
    chip.exchange("test", sends)
    assert chip.phases[0].bytes == 3 * 5 * 2 * 4
    # Tiles 2 and 3 share a bus and want the same: twice as fast; tile 1's neighbour sends.
    assert chip.phases[0].cycles == 10
    assert torch.equal(chip[3].get("b"), torch.zeros(5, 2))


def test_exchange_reads_before_it_writes() -> None:
    chip = Chip(IpuMachine("few", tiles=2))
    for tile in (0, 1):
        chip[tile].put("a", torch.full((1,), float(tile)))
    chip.exchange("swap", [Transfer(0, "a", 1, "a"), Transfer(1, "a", 0, "a")])
    assert [chip[tile].get("a").item() for tile in (0, 1)] == [1.0, 0.0]


def test_a_full_tile_says_so() -> None:
    memory = TileMemory(3, IpuMachine("small", tiles=4, tile_bytes=100))
    memory.put("a", torch.zeros(20))
    memory.put("a", torch.zeros(24))
    assert memory.peak == 96
    with pytest.raises(ipu.DoesNotFitError, match="tile 3 of small would hold 104 bytes with b"):
        memory.put("b", torch.zeros(2))


def test_cost_alone_needs_no_operands() -> None:
    generator = torch.Generator().manual_seed(10)
    pattern = BlockPattern.random((4096, 4096), 16, 1 / 16, generator=generator)
    for mode in MODES:
        found = simulate(pattern, columns=1024, machine=ipu.BOW, mode=mode)
        assert found.output is None
        assert found.counted_cycles is None and found.bytes_exchanged is None
        rate = 2 * 4096 * 4096 * 1024 / 16 / (found.cycles / 1.85e9) / 1e12
        assert found.tflops == pytest.approx(rate)


def test_an_empty_weight_gives_zeros() -> None:
    pattern = BlockPattern.from_mask(torch.zeros(8, 8, dtype=torch.bool), 4)
    for mode in MODES:
        assert not run(pattern, 5, IpuMachine("few", tiles=6), mode).output.any()  # type: ignore[union-attr]


def test_wrong_arguments_are_refused() -> None:
    pattern = BlockPattern.from_mask(torch.ones(4, 4, dtype=torch.bool), 4)
    values, x = whole_operands(pattern, 3)
    with pytest.raises(InputError, match="mode is 'magic'"):
        simulate(pattern, 3, mode="magic")
    with pytest.raises(InputError, match="one of values and x came without the other"):
        simulate(pattern, 3, values=values)
    with pytest.raises(InputError, match=r"x has shape \(16, 3\)"):
        simulate(pattern, 4, values=values, x=x)
    with pytest.raises(InputError, match="values has shape"):
        simulate(pattern, 3, values=values[:2], x=x)
    with pytest.raises(InputError, match="float64"):
        simulate(pattern, 3, dtype=torch.float64)
    for columns in (3.0, True, "3", 0):
        with pytest.raises(InputError, match=f"columns is {columns!r}, expected a whole number"):
            simulate(pattern, columns)  # type: ignore[arg-type]
    for name in ("splits", "bands"):
        with pytest.raises(InputError, match=f"{name} is 2.5, expected a whole number"):
            SimulationSettings(**{name: 2.5})  # type: ignore[arg-type]
    with pytest.raises(InputError, match="x is torch.complex64, expected real numbers"):
        simulate(pattern, 3, values=values, x=x.to(torch.complex64))


def test_planners_refuse_what_the_kernels_do_not_have() -> None:
    assert plan_dynamic((64, 64), 4, 256, 8).cycles > 0
    with pytest.raises(InputError, match="in blocks of side 3"):
        plan_dynamic((63, 63), 3, 10, 8)
    with pytest.raises(InputError, match="in blocks of side 16 and torch.float32"):
        plan_dynamic((64, 64), 16, 10, 8, dtype=torch.float32)
    with pytest.raises(InputError, match=r"shape \(66, 64\) in blocks of side 4"):
        plan_dynamic((66, 64), 4, 10, 8)
    with pytest.raises(InputError, match="max_blocks is 257, expected 0 to 256"):
        plan_dynamic((64, 64), 4, 257, 8)
    for shape in ((0, 64), (64, -16)):
        with pytest.raises(InputError, match="a side of shape is"):
            plan_dense(shape, 8)


def test_the_snippet_of_the_page_runs() -> None:
    page = Path(__file__).resolve().parents[2] / "docs" / "ipu.md"
    result = doctest.testfile(str(page), module_relative=False)
    assert result.attempted >= 5
    assert result.failed == 0


@pytest.mark.parametrize("mode", MODES)
def test_a_changing_pattern_is_simulated_with_its_present_mask(mode: str) -> None:
    dynamic = DynamicPattern.for_density((64, 64), (4, 4), 0.5)
    generator = torch.Generator().manual_seed(0)
    dynamic.update(BlockPattern.random((64, 64), 4, 0.5, generator=generator))
    old, machine = dynamic.current, IpuMachine("few", tiles=4)
    dynamic.update(BlockPattern.random((64, 64), 4, 0.25, generator=generator))
    values = torch.randint(-2, 3, dynamic.values_shape, generator=generator).float()
    x = torch.randint(-2, 3, (64, 8), generator=generator).float()
    found = simulate(dynamic, 8, machine, mode, values=values, x=x)
    wanted = dynamic.current.to_dense(values[: dynamic.current.nnz]) @ x
    assert found.output is not None and torch.equal(found.output.float(), wanted)
    with pytest.raises(InputError, match="DynamicPattern has changed since"):
        simulate(old, 8, machine, mode)
