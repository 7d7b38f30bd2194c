"""Static plans: what is chosen and why, what is remembered, how a product is split."""

from __future__ import annotations

import dataclasses
import itertools
import sys
import threading
import weakref

import numpy as np
import pytest
import torch
from blocksparse_cases import make_case
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.blocksparse import (
    BlockPattern,
    DynamicPattern,
    measure,
    spmm,
    static_plan,
)
from diffrender.blocksparse import plan as plan_module
from diffrender.blocksparse.costs import dense_cost, sparse_cost
from diffrender.blocksparse.split import split_for_cache, static_split
from diffrender.errors import InputError
from diffrender.native import kernel_threads


def _random(side: int, block: int, density: float) -> BlockPattern:
    generator = torch.Generator().manual_seed(0)
    return BlockPattern.random((side, side), block, density, generator=generator)


def test_plans_are_made_once(monkeypatch: pytest.MonkeyPatch) -> None:
    case = make_case(dtype=torch.float32)
    made: list[plan_module.Problem] = []
    make = plan_module._make

    def counted(pattern: BlockPattern, problem: plan_module.Problem) -> plan_module.StaticPlan:
        made.append(problem)
        return make(pattern, problem)

    monkeypatch.setattr(plan_module, "_make", counted)
    for _ in range(3):
        spmm(case.pattern, case.values, case.x)
        spmm(case.pattern, case.values, case.dy, transpose=True)
    assert [problem.product for problem in made] == ["forward", "grad_input"]
    assert made[0] == ("forward", 1, 3, torch.float32, False, None, kernel_threads())
    assert static_plan(case.pattern, columns=3) is static_plan(case.pattern, columns=3)
    assert len(made) == 2


def test_plans_of_ever_new_sizes_do_not_pile_up() -> None:
    case = make_case(dtype=torch.float32)
    for columns in range(1, 1200):
        static_plan(case.pattern, columns=columns)
    assert len(case.pattern.remembered) <= 512


def test_plans_do_not_keep_their_pattern_alive() -> None:
    pattern = _random(64, 16, 0.5)
    plan, gone = static_plan(pattern, columns=8), weakref.ref(pattern)
    del pattern
    assert gone() is None
    with pytest.raises(InputError, match="the plan's pattern is gone"):
        plan.explain()


def test_dense_is_answered_where_few_blocks_are_missing() -> None:
    full, thin = _random(512, 16, 1.0), _random(512, 16, 1 / 32)
    assert static_plan(full, columns=4096, backend=None).backend == "dense"
    assert static_plan(thin, columns=4096).backend != "dense"
    # Nobody who names a back-end gets another one.
    assert static_plan(full, columns=4096, backend="torch").backend == "torch"


@pytest.mark.parametrize("block", [4, 8, 16, 64])
def test_the_native_kernels_win_from_half_density_down(block: int) -> None:
    side = 4096 // block
    pattern = BlockPattern.from_mask(torch.ones(side, side, dtype=torch.bool), block)
    for columns in (256, 4096):
        sparse = sparse_cost(pattern, pattern.nnz // 2, "forward", columns, 4, "native")
        assert sparse < dense_cost(pattern, columns, 4)


def test_measuring_settles_the_choice(monkeypatch: pytest.MonkeyPatch) -> None:
    pattern = _random(64, 16, 0.5)
    first = static_plan(pattern, columns=8)
    times = {"torch": 2.0, "native": 2.0, "triton": 2.0, "dense": 1.0}
    order: list[float] = []

    def slow(run: object, device: torch.device) -> float:
        order.append(times[run.args[0]])  # type: ignore[attr-defined]
        return order[-1]

    monkeypatch.setattr(plan_module, "_best_time", slow)
    found = measure(pattern, columns=8)
    assert order == [2.0, 1.0] and found.backend == "dense"
    times["dense"] = 3.0
    assert measure(pattern, columns=8).backend == next(iter(first.costs))
    assert static_plan(pattern, columns=8).measured["dense"] == 3.0


def test_measuring_runs_every_product() -> None:
    pattern = _random(64, 16, 0.5)
    for product, features_last in itertools.product(plan_module.PRODUCTS, (False, True)):
        found = measure(pattern, product, columns=5, features_last=features_last)
        assert len(found.measured) == 2 and min(found.measured.values()) > 0
        assert found.backend == min(found.measured, key=found.measured.__getitem__)


def test_explain_says_what_why_and_how_long() -> None:
    pattern = _random(64, 16, 0.5)
    text = static_plan(pattern, columns=8, dtype=torch.float64).explain()
    assert "forward of BlockPattern(shape=(64, 64), block_size=(16, 16), nnz=8" in text
    assert "8 columns of torch.float64 (features first)" in text
    assert "the cheaper one by the model" in text
    assert text.count("predicted") == 2 and text.count("not measured") == 2
    assert "bands of k: 1, parts of n: 1" in text
    text = measure(pattern, columns=8, dtype=torch.float64).explain()
    assert "the faster one as measured" in text and text.count(", measured") == 2
    assert "as asked for" in static_plan(pattern, columns=8, backend="torch").explain()


def test_explain_names_what_a_back_end_planned_for_itself() -> None:
    @dataclasses.dataclass(frozen=True)
    class Kernel:
        threads: int
        way: str
        kept: torch.Tensor

    pattern = _random(64, 16, 0.5)
    plan = dataclasses.replace(
        static_plan(pattern, columns=8), kernel=Kernel(2, "rows", torch.zeros(99))
    )
    assert plan.explain().splitlines()[-1] == "  kernel: threads 2, way rows"


def test_a_dynamic_pattern_is_planned_for_its_most_blocks_once() -> None:
    dynamic = DynamicPattern.for_density((512, 512), (16, 16), 1.0)
    plan = static_plan(dynamic, columns=1024)
    assert plan.backend == "dense"  # though the present mask is empty
    measured = measure(dynamic, columns=16)
    dynamic.update(_random(512, 16, 0.1))
    assert static_plan(dynamic, columns=16).measured == measured.measured


def test_calls_that_do_not_fit_are_refused() -> None:
    pattern = _random(64, 16, 0.5)
    with pytest.raises(InputError, match="product is 'backward', expected one of forward"):
        static_plan(pattern, "backward", columns=8)
    with pytest.raises(InputError, match="columns is -1"):
        static_plan(pattern, columns=-1)


@settings(deadline=None, max_examples=80)
@given(
    grid=st.tuples(st.integers(1, 9), st.integers(1, 9)),
    density=st.floats(0, 1),
    split=st.tuples(st.integers(1, 6), st.integers(1, 4), st.integers(1, 9)),
    columns=st.integers(0, 9),
    seed=st.integers(0, 99),
)
def test_tiles_add_up_to_the_product(
    grid: tuple[int, int],
    density: float,
    split: tuple[int, int, int],
    columns: int,
    seed: int,
) -> None:
    """Each tile multiplies its own blocks with its own band and part; the sum is W x."""
    case = make_case((1, 4), grid, density, columns, seed=seed)
    pattern, dense = case.pattern, case.pattern.to_dense(case.values)
    found = static_split(pattern, columns, bands=split[0], parts=split[1], tiles=split[2])
    assert sorted(found.order.tolist()) == list(range(pattern.nnz))
    assert found.bands[0] == 0 and found.bands[-1] == grid[1] and (np.diff(found.bands) > 0).all()
    y, partials = torch.zeros_like(case.dy), 0
    for begin, end in itertools.pairwise(found.deals.tolist()):
        blocks = torch.from_numpy(found.order[begin:end])
        bands = np.searchsorted(found.bands, pattern.column_indices[blocks].numpy(), "right")
        assert len(set(bands.tolist())) <= 1  # a tile works in one band
        kept = torch.zeros(pattern.nnz, 1, 1, dtype=torch.float64)
        kept[blocks] = 1
        weight = pattern.to_dense(case.values * kept)
        partials += len(set(pattern.row_indices[blocks].tolist()))
        for left, right in itertools.pairwise(found.parts.tolist()):
            y[:, left:right] += weight @ case.x[:, left:right]
    assert torch.allclose(y, dense @ case.x)
    assert found.reductions == partials - len(set(pattern.row_indices.tolist()))


def test_bands_hold_equal_non_zeros() -> None:
    """Column counts 4, 0, 1, 1, 2: two bands of four blocks each, of different widths."""
    mask = torch.zeros(4, 5, dtype=torch.bool)
    for column, count in enumerate((4, 0, 1, 1, 2)):
        mask[:count, column] = True
    found = static_split(BlockPattern.from_mask(mask, 4), 8, bands=2, parts=2, tiles=4)
    assert found.bands.tolist() == [0, 1, 5]
    assert found.parts.tolist() == [0, 4, 8]
    assert np.diff(found.deals).tolist() == [2, 2, 2, 2]


def test_wide_inputs_are_cut_to_the_cache() -> None:
    found = split_for_cache(_random(4096, 64, 0.1), 2048, 4, 2)
    # 16 columns of 4096 floats are 256 KiB.
    assert len(found.parts) - 1 == 128 and len(found.bands) - 1 == 1
    found = split_for_cache(_random(8192, 64, 0.1), 2048, 4, 2)
    assert len(found.bands) - 1 == 2


def test_what_was_measured_holds_for_as_many_columns_in_a_batch() -> None:
    pattern = _random(64, 16, 0.5)
    values, x = torch.rand(pattern.values_shape), torch.rand(8, 64, 8)
    spmm(pattern, values, x)  # planned before it is measured
    measured = measure(pattern, columns=64).measured
    spmm(pattern, values, x)
    plans = [plan for key, plan in pattern.remembered.items() if key[:3] == ("forward", 8, 8)]
    assert [plan.measured for plan in plans] == [measured]


def test_threads_may_throw_plans_out_at_the_same_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan_module, "_KEPT", 4)
    pattern = _random(64, 16, 0.5)
    errors: list[Exception] = []

    def plan(first: int) -> None:
        try:
            for columns in range(first, first + 1500):
                static_plan(pattern, columns=columns, backend="torch")
        except Exception as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    threads = [threading.Thread(target=plan, args=(2000 * i,)) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(interval)
    assert errors == []
