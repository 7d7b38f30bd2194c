"""Static plans: which back-end runs a product, dense included, and what that is expected to cost.

A plan is made once for a pattern, product, number of columns, dtype, layout and number of threads,
and remembered by the pattern. Where no back-end is asked for, the planner compares what a sparse
and a dense product should cost and may answer "dense"; `measure` times both and settles it.
"""

from __future__ import annotations

import dataclasses
import functools
import math
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from torch import Tensor

from diffrender.blocksparse.backends import choose_backend, products
from diffrender.blocksparse.costs import dense_cost, seconds, sparse_cost
from diffrender.blocksparse.dynamic import DynamicPattern
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.blocksparse.split import StaticSplit, split_for_cache
from diffrender.errors import InputError
from diffrender.native import kernel_threads

__all__ = ["PRODUCTS", "StaticPlan", "measure", "plan_for", "static_plan"]

_KEPT = 512  # what a pattern may remember
_PLANS = ("forward", "grad_input", "grad_weight", "native")  # what their keys begin with
PRODUCTS = ("forward", "grad_input", "grad_weight")


class Problem(NamedTuple):
    """What a plan is made for, beside the pattern."""

    product: str
    batch: int  # leading dimensions together; 1 where features come last
    columns: int
    dtype: torch.dtype
    features_last: bool
    backend: str | None  # as asked for
    threads: int


@dataclass(frozen=True, eq=False)
class StaticPlan:
    """How one product of one pattern runs.

    Attributes:
        problem: what it was made for, beside the pattern.
        backend: "native", "torch", "triton" or "dense".
        kernel: what that back-end planned for itself, or None.
        costs: expected multiply-adds at the dense rate, for each way that was considered.
        measured: seconds, for each way that `measure` timed.
    """

    problem: Problem
    backend: str
    kernel: Any
    costs: dict[str, float]
    measured: dict[str, float]
    _owner: weakref.ref[BlockPattern | DynamicPattern] = field(repr=False)  # of this plan

    @property
    def pattern(self) -> BlockPattern:
        """The pattern that this plan is for; of a DynamicPattern that of the present mask."""
        owner = self._owner()
        if owner is None:
            raise InputError("the plan's pattern is gone; keep the pattern as long as its plans")
        owner.current.refuse_stale()
        return owner.current

    @property
    def split(self) -> StaticSplit:
        """Bands, parts and deals that suit this product's cache and threads."""
        problem = self.problem
        pattern = self.pattern.transposed() if problem.product == "grad_input" else self.pattern
        itemsize = problem.dtype.itemsize
        columns = problem.batch * problem.columns
        return split_for_cache(pattern, columns, itemsize, problem.threads)

    def explain(self) -> str:
        """What was chosen, and its predicted and measured cost, as lines of text."""
        problem, device = self.problem, self.pattern.device
        layout = "features last" if problem.features_last else "features first"
        lines = [
            f"{problem.product} of {self.pattern}",
            f"  {problem.columns} columns of {problem.dtype} ({layout}), {problem.threads} threads",
            f"  runs {self.backend}{self._why()}",
        ]
        for name, cost in self.costs.items():
            guess = seconds(cost, device, problem.dtype, problem.threads)
            timed = self.measured.get(name)
            found = "not measured" if timed is None else f"measured {timed * 1e3:.3f} ms"
            lines.append(f"  {name:7} predicted {guess * 1e3:.3f} ms, {found}")
        lines.append(f"  split: {self.split}")
        if self.kernel is not None:
            lines.append(f"  kernel: {_settings(self.kernel)}")
        return "\n".join(lines)

    def _why(self) -> str:
        if self.problem.backend is not None:
            return ", as asked for"
        return ", the faster one as measured" if self.measured else ", the cheaper one by the model"


def _settings(kernel: Any) -> str:
    """A back-end's own plan in words: its names and numbers, without the tensors it holds."""
    plain = {f.name: getattr(kernel, f.name) for f in dataclasses.fields(kernel)}
    return ", ".join(f"{name} {v}" for name, v in plain.items() if isinstance(v, int | str))


def static_plan(
    pattern: BlockPattern | DynamicPattern,
    product: str = "forward",
    *,
    columns: int,
    dtype: torch.dtype = torch.float32,
    features_last: bool = False,
    backend: str | None = None,
) -> StaticPlan:
    """The plan that a product with so many columns gets; print `.explain()` to read it.

    Args:
        pattern: of the weight.
        product: "forward" (W x), "grad_input" (W^T dy) or "grad_weight" (dy x^T at the blocks).
        columns: n; leading dimensions count as more columns.
        dtype, features_last, backend: as in `spmm`.

    Raises:
        InputError: the product is unknown, the back-end cannot be used, or the pattern is of an
            old mask.
    """
    pattern.current.refuse_stale()
    problem = _problem(product, columns, dtype, features_last, backend)
    return _owned(_remembered(pattern.current, problem), pattern)


def measure(
    pattern: BlockPattern | DynamicPattern,
    product: str = "forward",
    *,
    columns: int,
    dtype: torch.dtype = torch.float32,
    features_last: bool = False,
) -> StaticPlan:
    """Time the sparse and the dense product, and use the faster one from now on.

    Takes several runs of both on random values; the choice is kept with the pattern (for a
    DynamicPattern, for all its masks).

    Raises:
        InputError: as `static_plan`.
    """
    stored = pattern.current
    stored.refuse_stale()  # its lists and its number of blocks no longer fit each other
    problem = _problem(product, columns, dtype, features_last, None)
    example = torch.empty(0, dtype=dtype, device=stored.device)
    ways = (choose_backend(None, example), "dense")
    run = _example(stored, problem)
    timed = {name: _best_time(functools.partial(run, name), stored.device) for name in ways}
    stored.remembered.setdefault("decisions", {})[problem] = timed
    for key in list(stored.remembered):  # also the plans of as many columns in a batch
        if isinstance(key, Problem) and _folded(key) == problem:
            stored.remembered.pop(key, None)
    return _owned(_remembered(stored, problem), pattern)


def plan_for(
    pattern: BlockPattern, product: str, x: Tensor, features_last: bool, backend: str | None
) -> StaticPlan:
    """The plan for an input, made at its first call."""
    shape = x.shape
    if features_last:
        batch, columns = 1, math.prod(shape[:-1])
    else:
        batch, columns = math.prod(shape[:-2]), shape[-1]
    problem = (product, batch, columns, x.dtype, features_last, backend, kernel_threads())
    found = pattern.remembered.get(problem)
    return _remembered(pattern, Problem(*problem)) if found is None else found


def _problem(
    product: str, columns: int, dtype: torch.dtype, features_last: bool, backend: str | None
) -> Problem:
    if product not in PRODUCTS:
        raise InputError(f"product is {product!r}, expected one of {', '.join(PRODUCTS)}")
    if columns < 0:
        raise InputError(f"columns is {columns}, expected at least 0")
    return Problem(product, 1, columns, dtype, features_last, backend, kernel_threads())


def _folded(problem: Problem) -> Problem:
    """As `measure` counts columns: leading dimensions are more of them."""
    return problem._replace(batch=1, columns=problem.batch * problem.columns)


def _owned(plan: StaticPlan, pattern: BlockPattern | DynamicPattern) -> StaticPlan:
    """The plan as its caller keeps it: a DynamicPattern's plan outlives the present mask."""
    if plan._owner() is pattern:
        return plan
    return dataclasses.replace(plan, _owner=weakref.ref(pattern))


def _remembered(pattern: BlockPattern, problem: Problem) -> StaticPlan:
    found = pattern.remembered.get(problem)
    if found is None:
        found = _make(pattern, problem)
        if len(pattern.remembered) >= _KEPT:  # inputs of ever new sizes must not fill the memory
            # Other threads put plans in and throw them out at the same time.
            for key in list(pattern.remembered):
                if key[0] in _PLANS:
                    pattern.remembered.pop(key, None)
        pattern.remembered[problem] = found
    return found


def _make(pattern: BlockPattern, problem: Problem) -> StaticPlan:
    example = torch.empty(0, dtype=problem.dtype, device=pattern.device)
    sparse = choose_backend(problem.backend, example)
    itemsize = problem.dtype.itemsize
    # A dynamic pattern is planned for the most blocks it may have, once for all its masks.
    blocks = pattern.remembered.get("planned_blocks", pattern.nnz)
    product, columns = problem.product, problem.batch * problem.columns
    costs = {sparse: sparse_cost(pattern, blocks, product, columns, itemsize, sparse)}
    measured: dict[str, float] = {}
    backend = sparse
    if problem.backend is None:
        costs["dense"] = dense_cost(pattern, columns, itemsize)
        measured = pattern.remembered.get("decisions", {}).get(_folded(problem), {})
        judged = measured or costs
        backend = min(judged, key=judged.__getitem__)
    kernel = _kernel_plan(pattern, problem, backend)
    return StaticPlan(problem, backend, kernel, costs, measured, weakref.ref(pattern))


def _kernel_plan(pattern: BlockPattern, problem: Problem, backend: str) -> Any:
    """What a back-end plans for itself; only the native one does."""
    if backend != "native":
        return None
    name = {"grad_input": "transposed", "grad_weight": "outer"}.get(problem.product, "forward")
    sizes = (problem.dtype, problem.batch, problem.columns)
    maker: Any = products("native")
    return maker.native_plan(pattern, name, *sizes, features_last=problem.features_last)


def _example(pattern: BlockPattern, problem: Problem) -> Callable[[str], Tensor]:
    """The product on random values, by the back-end that is named."""
    generator = torch.Generator().manual_seed(0)
    (m, k), n = pattern.shape, problem.columns

    def draw(*shape: int) -> Tensor:
        drawn = torch.randn(shape, generator=generator, device="cpu")
        return drawn.to(pattern.device, problem.dtype)

    def side(features: int) -> Tensor:
        return draw(n, features) if problem.features_last else draw(features, n)

    values, x, dy = draw(*pattern.values_shape), side(k), side(m)
    layout = problem.features_last

    def run(name: str) -> Tensor:
        module, plan = products(name), _kernel_plan(pattern, problem, name)
        if problem.product == "grad_weight":
            return module.block_outer(pattern, dy, x, features_last=layout, plan=plan)
        back = problem.product == "grad_input"
        given = dy if back else x
        return module.multiply(
            pattern, values, given, transpose=back, features_last=layout, plan=plan
        )

    return run


def _best_time(run: Callable[[], Tensor], device: torch.device) -> float:
    """The best of five runs after one that warms up."""
    best = float("inf")
    for attempt in range(6):
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        start = time.perf_counter()
        run()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        if attempt:
            best = min(best, time.perf_counter() - start)
    return best
