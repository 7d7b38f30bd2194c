"""The C++ products against dense ones in float64: sizes, layouts, dtypes, fixed sums."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest
import torch
from blocksparse_cases import at_pattern, dense_of, gappy_pattern
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffrender.blocksparse.native_plans import native_plan
from diffrender.blocksparse.native_products import block_outer, multiply
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.native import _build, instruction_set, reason_missing

pytestmark = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)

SIZES = [(1, 1), (4, 4), (8, 8), (16, 16), (32, 32), (64, 64), (4, 16), (16, 4), (1, 8), (16, 1)]
DTYPES = [torch.float32, torch.float64, torch.bfloat16, torch.float16]
# Of one rounding of the result (half of the spacing of numbers at 1), and of 128 sums of float32.
ROUNDING = {
    torch.float32: 1e-5,
    torch.float64: 1e-13,
    torch.bfloat16: 2.0**-8,
    torch.float16: 2.0**-11,
}


def _draw(*shape: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64).to(dtype)


def _close(found: Tensor, wanted: Tensor, scale: Tensor) -> None:
    """Within a rounding of the result and a few of the sums; `scale` sums magnitudes."""
    assert found.shape == wanted.shape
    error = (found.double() - wanted).abs()
    limits = torch.finfo(found.dtype)
    least = limits.tiny * limits.eps / 2  # half of the spacing of subnormal numbers
    assert bool((error <= ROUNDING[found.dtype] * wanted.abs() + 4e-6 * scale + least).all())
    if found.dtype == torch.float64:
        assert bool((error <= 1e-13 * (1 + scale)).all())


def _check_multiply(
    pattern: BlockPattern, n: int, dtype: torch.dtype, transpose: bool, features_last: bool
) -> None:
    values = _draw(pattern.nnz, *pattern.block_size, dtype=dtype)
    weight = dense_of(pattern, values)
    weight = weight.mT if transpose else weight
    x = _draw(weight.shape[1], n, dtype=dtype, seed=1)
    wanted, scale = weight @ x.double(), weight.abs() @ x.double().abs()
    if features_last:
        x, wanted, scale = x.mT.contiguous(), wanted.mT, scale.mT
    found = multiply(pattern, values, x, transpose=transpose, features_last=features_last)
    assert found.dtype == dtype
    _close(found, wanted, scale)


@pytest.mark.parametrize("block_size", SIZES, ids=str)
@pytest.mark.parametrize("transpose", [False, True])
@pytest.mark.parametrize("features_last", [False, True])
def test_products_equal_the_dense_ones(
    block_size: tuple[int, int], transpose: bool, features_last: bool
) -> None:
    pattern = gappy_pattern(block_size)
    for dtype in DTYPES:
        for n in (1, 3, 17, 100):
            _check_multiply(pattern, n, dtype, transpose, features_last)


@pytest.mark.parametrize("block_size", SIZES, ids=str)
@pytest.mark.parametrize("features_last", [False, True])
def test_gradient_of_the_values_equals_the_dense_one(
    block_size: tuple[int, int], features_last: bool
) -> None:
    pattern = gappy_pattern(block_size)
    (m, k), cases = pattern.shape, [(n, dtype) for n in (1, 3, 17, 100, 300) for dtype in DTYPES]
    for n, dtype in cases:
        dy, x = _draw(2, m, n, dtype=dtype, seed=1), _draw(2, k, n, dtype=dtype, seed=2)
        left, right = dy.double(), x.double()
        wanted = at_pattern(pattern, (left @ right.mT).sum(0))
        scale = at_pattern(pattern, (left.abs() @ right.abs().mT).sum(0))
        if features_last:
            dy, x = dy.mT.contiguous(), x.mT.contiguous()
        _close(block_outer(pattern, dy, x, features_last=features_last), wanted, scale)


@pytest.mark.parametrize(
    ("block_size", "shape"),
    [((4, 4), (96, 64)), ((8, 16), (96, 64)), ((1, 1), (24, 2048)), ((8, 1), (24, 2048))],
    ids=str,
)
@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize("n", [600, 2061])
def test_gradient_of_the_values_in_chunks_of_columns(
    block_size: tuple[int, int], shape: tuple[int, int], features_last: bool, n: int
) -> None:
    # Chunks are 128 to 1024 columns long, whichever kernel takes them.
    pattern = gappy_pattern(block_size, 0.3, shape)
    for dtype in DTYPES:
        dy, x = (_draw(f, n, dtype=dtype, seed=f) for f in pattern.shape)
        wanted = at_pattern(pattern, dy.double() @ x.double().mT)
        scale = at_pattern(pattern, dy.double().abs() @ x.double().abs().mT)
        if features_last:
            dy, x = dy.mT.contiguous(), x.mT.contiguous()
        _close(block_outer(pattern, dy, x, features_last=features_last), wanted, scale)


def test_gradients_of_few_blocks_go_by_rows() -> None:
    few = gappy_pattern((16, 16), 0.03, (1024, 1024))
    many = gappy_pattern((16, 16), 0.5, (1024, 1024))
    alone = gappy_pattern((1, 1), 0.03, (64, 2048))

    def kernel(pattern: BlockPattern, n: int, features_last: bool = False) -> str:
        plan = native_plan(pattern, "outer", torch.float32, 1, n, features_last=features_last)
        return plan.kernel

    assert kernel(few, 256) == "rows"
    assert kernel(few, 64) == kernel(many, 256) == kernel(alone, 64) == "outer"
    assert kernel(few, 256, features_last=True) == "outer"
    wide = instruction_set() == "avx512"
    assert kernel(alone, 256) == kernel(alone, 512) == ("rows" if wide else "outer")
    assert kernel(alone, 1024) == "outer"


@pytest.mark.parametrize(("block_size", "shape"), [((1, 1), (64, 2048)), ((4, 4), (64, 4096))])
def test_bands_of_x_change_nothing(block_size: tuple[int, int], shape: tuple[int, int]) -> None:
    pattern = gappy_pattern(block_size, 0.4, shape)
    plan = native_plan(pattern, "forward", torch.float32, 1, 100, features_last=False)
    assert plan.bands > 1
    _check_multiply(pattern, 100, torch.float32, False, False)
    turned = gappy_pattern(block_size, 0.4, shape[::-1])
    _check_multiply(turned, 100, torch.float32, True, True)
    dy, x = _draw(shape[0], 100, seed=1), _draw(shape[1], 100, seed=2)
    wanted = at_pattern(pattern, dy.double() @ x.double().mT)
    scale = at_pattern(pattern, dy.double().abs() @ x.double().abs().mT)
    _close(block_outer(pattern, dy, x, features_last=False), wanted, scale)


@pytest.mark.parametrize("features_last", [False, True])
@pytest.mark.parametrize(("m", "n"), [(1040, 2064), (1036, 2059)])
def test_outputs_that_no_cache_holds(m: int, n: int, features_last: bool) -> None:
    # From 8 MB on y is written past the caches, where its rows begin on lines of 64 bytes.
    assert m * n * 4 >= 8 << 20
    pattern = BlockPattern.random((m, 64), 4, 0.2, generator=torch.Generator().manual_seed(0))
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        _check_multiply(pattern, n, dtype, False, features_last)


@pytest.mark.parametrize("features_last", [False, True])
def test_leading_dimensions_and_strides(features_last: bool) -> None:
    pattern = gappy_pattern((8, 8))
    m, k = pattern.shape
    values = _draw(pattern.nnz, 8, 8).mT  # not contiguous
    weight = dense_of(pattern, values)
    x = _draw(2, 3, 9, k).mT  # (2, 3, k, 9), not contiguous
    dy = _draw(3, 2, m, 9, seed=3).transpose(0, 1)
    wanted, scale = weight @ x.double(), weight.abs() @ x.double().abs()
    outer = (dy.double() @ x.double().mT).sum((0, 1))
    magnitude = (dy.double().abs() @ x.double().abs().mT).sum((0, 1))
    if features_last:
        x, dy, wanted, scale = x.mT, dy.mT, wanted.mT, scale.mT
    _close(
        multiply(pattern, values, x, transpose=False, features_last=features_last), wanted, scale
    )
    found = block_outer(pattern, dy, x, features_last=features_last)
    _close(found, at_pattern(pattern, outer), at_pattern(pattern, magnitude))


def test_a_vector_of_features() -> None:
    pattern = gappy_pattern((4, 4))
    values, x = _draw(pattern.nnz, 4, 4), _draw(pattern.shape[1], seed=1)
    found = multiply(pattern, values, x, transpose=False, features_last=True)
    weight = dense_of(pattern, values)
    _close(found, weight @ x.double(), weight.abs() @ x.double().abs())


@pytest.mark.parametrize("block_size", [(1, 1), (4, 4), (16, 16), (1, 8)], ids=str)
@pytest.mark.parametrize("features_last", [False, True])
def test_nothing_stored_and_no_columns(block_size: tuple[int, int], features_last: bool) -> None:
    empty = gappy_pattern(block_size, 0.0)
    m, k = empty.shape
    values = torch.zeros(0, *block_size)
    for n in (1, 2, 100):
        x = _draw(n, k) if features_last else _draw(k, n)
        found = multiply(empty, values, x, transpose=False, features_last=features_last)
        assert found.shape == ((n, m) if features_last else (m, n))
        assert int(found.count_nonzero()) == 0
        dy = _draw(n, m) if features_last else _draw(m, n)
        assert block_outer(empty, dy, x, features_last=features_last).shape == (0, *block_size)
    pattern = gappy_pattern(block_size)
    values = _draw(pattern.nnz, *block_size)
    nothing = torch.zeros((0, k) if features_last else (k, 0))
    found = multiply(pattern, values, nothing, transpose=False, features_last=features_last)
    assert found.shape == ((0, m) if features_last else (m, 0))
    dy = torch.zeros((0, m) if features_last else (m, 0))
    zero = block_outer(pattern, dy, nothing, features_last=features_last)
    assert zero.shape == (pattern.nnz, *block_size)
    assert int(zero.count_nonzero()) == 0


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_patterns(data: st.DataObject) -> None:
    sides = st.sampled_from([1, 4, 8, 16])
    size = (data.draw(sides), data.draw(sides))
    grid = (data.draw(st.integers(1, 9)), data.draw(st.integers(1, 9)))
    bits = data.draw(st.lists(st.booleans(), min_size=grid[0] * grid[1], max_size=81))
    mask = torch.tensor(bits[: grid[0] * grid[1]]).view(grid)
    pattern = BlockPattern.from_mask(mask, size)
    n, dtype = data.draw(st.integers(1, 40)), data.draw(st.sampled_from(DTYPES))
    _check_multiply(pattern, n, dtype, data.draw(st.booleans()), data.draw(st.booleans()))


@pytest.mark.parametrize("block_size", [(1, 1), (4, 4), (16, 16)], ids=str)
@pytest.mark.parametrize("n", [1, 17, 200])
def test_same_bits_with_any_number_of_threads(block_size: tuple[int, int], n: int) -> None:
    pattern = gappy_pattern(block_size, 0.5, (512, 512))
    values = _draw(pattern.nnz, *block_size)
    x, dy = _draw(512, n, seed=1), _draw(512, n, seed=2)
    before, found = torch.get_num_threads(), []
    try:
        for threads in (1, 2, 3, 6):  # from five on they share what they pack
            torch.set_num_threads(threads)
            found.append(
                [
                    multiply(pattern, values, x, transpose=False, features_last=False),
                    multiply(pattern, values, x, transpose=True, features_last=False),
                    multiply(pattern, values, x.mT, transpose=False, features_last=True),
                    block_outer(pattern, dy, x, features_last=False),
                    block_outer(pattern, dy.mT, x.mT, features_last=True),
                ]
            )
    finally:
        torch.set_num_threads(before)
    for other in found[1:]:
        assert all(torch.equal(a, b) for a, b in zip(found[0], other, strict=True))


def test_columns_do_not_depend_on_their_neighbours() -> None:
    """A column's bits are the same alone in its panel or among others."""
    pattern = gappy_pattern((8, 8), 0.5)
    values, x = _draw(pattern.nnz, 8, 8), _draw(pattern.shape[1], 100)
    whole = multiply(pattern, values, x, transpose=False, features_last=False)
    part = multiply(pattern, values, x[:, 40:45], transpose=False, features_last=False)
    assert torch.equal(whole[:, 40:45], part)


@pytest.mark.parametrize("n", [1, 30])
def test_convention_not_finite_inputs_reach_only_stored_blocks(n: int) -> None:
    mask = torch.tensor([[True, False], [False, True], [False, False]])
    pattern = BlockPattern.from_mask(mask, 4)
    values, x = _draw(2, 4, 4), _draw(8, n)
    x[0], x[5] = torch.nan, torch.inf
    found = multiply(pattern, values, x, transpose=False, features_last=False)
    assert bool(found[:4].isnan().all())
    assert bool((~found[4:8].isfinite()).all())
    assert not bool(found[4:8].isnan().any())
    assert int(found[8:].count_nonzero()) == 0


def test_a_plan_is_made_once_and_says_what_it_does() -> None:
    pattern = gappy_pattern((16, 16), 0.5, (1024, 1024))
    plan = native_plan(pattern, "forward", torch.float32, 1, 256, features_last=False)
    again = native_plan(pattern, "forward", torch.float32, 1, 256, features_last=False)
    assert plan is again
    assert (plan.kernel, plan.threads) == ("multiply", torch.get_num_threads())
    lanes = {"baseline": 4, "avx2": 8, "avx512": 16}[instruction_set() or "baseline"]
    assert plan.panel == 3 * lanes
    assert plan.group % lanes == 0
    alone = native_plan(pattern, "forward", torch.float32, 1, 1, features_last=False)
    assert alone.kernel == "vector"


@pytest.mark.parametrize("compiler", ["g++", "clang++"])
def test_kernels_compile_without_warnings(compiler: str, tmp_path: Path) -> None:
    """Syntax only, of the level with the fewest and the one with the most instructions."""
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    flags = [*_build.FLAGS, *_build.FUSED, "-O0", "-fsyntax-only", "-Wall", "-Wextra", "-Werror"]
    flags.append("-Wno-psabi")  # vectors wider than the baseline's registers, in common.h
    for level in (_build.levels()[0], _build.levels()[-1]):
        for source in sorted(_build.SOURCES.glob("blocksparse*.cpp")):
            more = _build.instructions(level, source)
            done = subprocess.run(
                [compiler, *flags, *more, str(source)], capture_output=True, text=True, cwd=tmp_path
            )
            assert done.returncode == 0, done.stderr
