"""Static plans: which back-end runs a product, dense included, and what that is expected to cost.

A plan is made once for a pattern, product, number of columns, dtype, layout and number of threads,
and remembered by the pattern. Where no back-end is asked for, the planner compares what a sparse
and a dense product should cost and may answer "dense"; `measure` times both and settles it.
"""

from __future__ import annotations

import functools
import time
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

PRODUCTS = ("forward", "grad_input", "grad_weight")


class Problem(NamedTuple):
    """What a plan is made for, beside the pattern."""

    product: str
    columns: int
    dtype: torch.dtype
    features_last: bool
    backend: str | None  # as asked for
    threads: int


@dataclass(frozen=True, eq=False)
class StaticPlan:
    """How one product of one pattern runs.

    Attributes:
        pattern, problem: what it was made for.
        backend: "native", "torch", "triton" or "dense".
        kernel: what that back-end planned for itself, or None.
        costs: expected multiply-adds at the dense rate, for each way that was considered.
        measured: seconds, for each way that `measure` timed.
    """

    pattern: BlockPattern = field(repr=False)
    problem: Problem
    backend: str
    kernel: Any
    costs: dict[str, float]
    measured: dict[str, float]

    @functools.cached_property
    def split(self) -> StaticSplit:
        """Bands, parts and deals that suit this product's cache and threads."""
        problem = self.problem
        pattern = self.pattern.transposed() if problem.product == "grad_input" else self.pattern
        itemsize = problem.dtype.itemsize
        return split_for_cache(pattern, problem.columns, itemsize, problem.threads)

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
            lines.append(f"  kernel: {self.kernel}")
        return "\n".join(lines)

    def _why(self) -> str:
        if self.problem.backend is not None:
            return ", as asked for"
        return ", the faster one as measured" if self.measured else ", the cheaper one by the model"


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
        columns: n, leading dimensions included.
        dtype, features_last, backend: as in `spmm`.

    Raises:
        InputError: the product is unknown, or the back-end cannot be used.
    """
    problem = _problem(product, columns, dtype, features_last, backend)
    return _remembered(pattern.current, problem)


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
    problem = _problem(product, columns, dtype, features_last, None)
    example = torch.empty(0, dtype=dtype, device=stored.device)
    ways = (choose_backend(None, example), "dense")
    run = _example(stored, problem)
    timed = {name: _best_time(functools.partial(run, name), stored.device) for name in ways}
    stored.remembered.setdefault("decisions", {})[problem] = timed
    stored.remembered.pop(problem, None)
    return _remembered(stored, problem)


def plan_for(
    pattern: BlockPattern, product: str, x: Tensor, features_last: bool, backend: str | None
) -> StaticPlan:
    """The plan for an input, made at its first call."""
    columns = x.shape.numel() // x.shape[-1 if features_last else -2]
    problem = (product, columns, x.dtype, features_last, backend, kernel_threads())
    found = pattern.remembered.get(problem)
    return _remembered(pattern, Problem(*problem)) if found is None else found


def _problem(
    product: str, columns: int, dtype: torch.dtype, features_last: bool, backend: str | None
) -> Problem:
    if product not in PRODUCTS:
        raise InputError(f"product is {product!r}, expected one of {', '.join(PRODUCTS)}")
    if columns < 0:
        raise InputError(f"columns is {columns}, expected at least 0")
    return Problem(product, columns, dtype, features_last, backend, kernel_threads())


def _remembered(pattern: BlockPattern, problem: Problem) -> StaticPlan:
    found = pattern.remembered.get(problem)
    if found is None:
        found = _make(pattern, problem)
        pattern.remembered[problem] = found
    return found


def _make(pattern: BlockPattern, problem: Problem) -> StaticPlan:
    example = torch.empty(0, dtype=problem.dtype, device=pattern.device)
    sparse = choose_backend(problem.backend, example)
    itemsize = problem.dtype.itemsize
    # A dynamic pattern is planned for the most blocks it may have, once for all its masks.
    blocks = pattern.remembered.get("planned_blocks", pattern.nnz)
    product, columns = problem.product, problem.columns
    costs = {sparse: sparse_cost(pattern, blocks, product, columns, itemsize, sparse)}
    measured: dict[str, float] = {}
    backend = sparse
    if problem.backend is None:
        costs["dense"] = dense_cost(pattern, columns, itemsize)
        measured = pattern.remembered.get("decisions", {}).get(problem, {})
        judged = measured or costs
        backend = min(judged, key=judged.__getitem__)
    maker = getattr(products(backend), "make_plan", None)
    kernel = None if maker is None else maker(pattern, *problem[:4], problem.threads)
    return StaticPlan(pattern, problem, backend, kernel, costs, measured)


def _example(pattern: BlockPattern, problem: Problem) -> Callable[[str], Tensor]:
    """The product on random values, by the back-end that is named."""
    generator = torch.Generator().manual_seed(0)
    (m, k), n = pattern.shape, problem.columns

    def draw(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator).to(pattern.device, problem.dtype)

    def side(features: int) -> Tensor:
        return draw(n, features) if problem.features_last else draw(features, n)

    values, x, dy = draw(*pattern.values_shape), side(k), side(m)
    layout = problem.features_last

    def run(name: str) -> Tensor:
        module = products(name)
        maker = getattr(module, "make_plan", None)
        plan = None if maker is None else maker(pattern, *problem[:4], problem.threads)
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
