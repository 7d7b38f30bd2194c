"""Cycle formulas against the sheet's, written out for one worker and blocks per row."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from diffrender.blocksparse.ipu import BOW, MK2, IpuMachine
from diffrender.blocksparse.ipu.costs import (
    exchange_cycles,
    reduction_cycles,
    shared_exchange,
    static_cycles,
    zeroing_cycles,
)
from diffrender.blocksparse.ipu.dynamic_costs import (
    bucket_blocks,
    bucket_words,
    dynamic_cycles,
    expected_rows,
)
from diffrender.errors import InputError


def _elements(m: int, k: int, n: int, half: bool) -> int:
    """popsparse.md 1.4.3, "b=1 half" and "b=1 float"; rows a worker, blocks a row."""
    if half:
        if n == 4:
            return 31 + m * (7 + 2 * (k - 1))
        if n == 8:
            return 31 + m * (8 + 3 * (k - 1))
        tail = (n % 8 != 0) * (9 + 2 * (k - 1))
        return 33 + m * (11 + n // 8 * (14 + 3 * (k - 1)) + tail)
    if n == 2:
        return 29 + m * (5 + 2 * (k - 1))
    if n == 4:
        return 30 + m * (6 + 3 * (k - 1))
    return 31 + m * (12 + n // 4 * (10 + 3 * (k - 1)) + (n % 4 != 0) * (10 + 2 * (k - 1)))


def _blocks(b: int, m: int, k: int, n: int, half: bool) -> int:
    """The same section's table for b > 1; n columns a worker."""
    h, x, y = {
        (4, True): (17, 1, 7 + n if n <= 2 else 13 + n),
        (4, False): (13, 1, 12 + 4 * (n - 1)),
        (8, True): (13, 1, 14 + 2 * (n - 1)),
        (8, False): (13, 4, 19 + 8 * (n - 1)),
        (16, True): (13, 1, 19 + 4 * (n - 1)),
        (16, False): (16, 4, 58 if n == 1 else 2 * (37 + 8 * (n - 1))),
    }[b, half]
    size = 2 if half else 4
    return 30 + 6 * h + m * (6 * x + 17 + k * (16 + b * b * size // 8 + 6 * y))


@given(m=st.integers(1, 300), k=st.integers(1, 40), vectors=st.integers(1, 40), half=st.booleans())
def test_element_kernel_is_the_sheets(m: int, k: int, vectors: int, half: bool) -> None:
    n = vectors * (4 if half else 2)
    cycles = static_cycles(BOW, 1, 2 if half else 4, 6 * m, 6 * m * k, n)
    assert int(cycles) == 6 * _elements(m, k, n, half)


@given(
    b=st.sampled_from([4, 8, 16]),
    m=st.integers(1, 300),
    k=st.integers(1, 40),
    n=st.integers(1, 60),
    half=st.booleans(),
)
def test_block_kernel_is_the_sheets(b: int, m: int, k: int, n: int, half: bool) -> None:
    cycles = static_cycles(BOW, b, 2 if half else 4, m, m * k, 6 * n)
    assert int(cycles) == _blocks(b, m, k, n, half)


@pytest.mark.parametrize(("b", "rate"), [(1, 8 / 3), (4, 16.0), (8, 32.0), (16, 64.0)])
def test_long_rows_reach_the_known_rates(b: int, rate: float) -> None:
    """Multiply-adds a cycle and tile in halves: popsparse.md 1.4.3, "Consequences"."""
    rows, blocks, n = 60, 600_000, 12_000
    cycles = int(static_cycles(BOW, b, 2, rows, blocks, n))
    assert b * b * blocks * n / cycles == pytest.approx(rate, rel=0.02)


def test_peaks_are_the_vendors() -> None:
    import torch

    assert BOW.peak_tflops(torch.float16) == pytest.approx(350, rel=0.01)
    assert BOW.peak_tflops(torch.float32) == pytest.approx(87.5, rel=0.01)
    assert MK2.peak_tflops(torch.float16) == pytest.approx(250, rel=0.01)


def test_exchange_is_as_fast_as_its_bus() -> None:
    assert int(exchange_cycles(BOW, 4001)) == 1001
    assert int(exchange_cycles(BOW, 4001, shared=True)) == 501
    assert shared_exchange(BOW, np.array([800, 800]), np.array([3, 4])).tolist() == [200, 100]


def test_reduction_and_zeroing_are_the_sheets() -> None:
    outputs, depth = 5000, 9
    loops = math.ceil(math.ceil(outputs / 6) / 8)
    wanted = 6 * (16 + loops * (8 + 6 + depth - 1))
    assert int(reduction_cycles(BOW, outputs, depth, partial_bytes=2, output_bytes=2)) == wanted
    assert int(reduction_cycles(BOW, outputs, 1, partial_bytes=2, output_bytes=2)) == 0
    assert int(zeroing_cycles(BOW, 4800)) == 6 * (12 + 100)


def test_dynamic_block_kernel_loads_a_block_of_16_twice() -> None:
    """popsparse.md 1.5.5: b² / 4 + 3 + 12 a load, 4 cycles a column and load, six workers."""
    more = dynamic_cycles(BOW, 16, 2, 10, 101, 60, 1) - dynamic_cycles(BOW, 16, 2, 10, 100, 60, 1)
    assert int(more) == 64 + 3 + 24 + 6 * 2 * (24 + 4 * 10 - 3)
    more = dynamic_cycles(BOW, 8, 2, 10, 101, 60, 1) - dynamic_cycles(BOW, 8, 2, 10, 100, 60, 1)
    assert int(more) == 16 + 3 + 12 + 6 * (23 + 4 * 10 - 3)


@given(rows=st.integers(1, 500), blocks=st.integers(1, 5000), n=st.integers(1, 100))
def test_dynamic_elements_cost_more_with_more_of_anything(rows: int, blocks: int, n: int) -> None:
    for size in (2, 4):
        one = int(dynamic_cycles(BOW, 1, size, rows, blocks, 4 * n, 1))
        assert int(dynamic_cycles(BOW, 1, size, rows, blocks + 6, 4 * n, 1)) > one
        assert int(dynamic_cycles(BOW, 1, size, rows, blocks, 4 * n, 2)) == one + 90


def test_bucket_capacities() -> None:
    # 4096 blocks over 64 tiles, 30 % larger, halves of 16 × 16 need no rounding to words.
    assert int(bucket_blocks(4096, 64, 0.3, 512)) == 83
    # Single halves come in pairs, so that a bucket is whole 4-byte words.
    assert int(bucket_blocks(4096, 64, 0.3, 2)) == 84
    rows = int(expected_rows(1 / 16, 32, 16))
    assert rows == math.ceil(32 * (1 - (15 / 16) ** 16))
    each = math.ceil(math.ceil(32 * 16 / 16) / rows)
    wanted = 2 * 7 + math.ceil(1.3 * rows * (2 + each))
    assert int(bucket_words(BOW, 16, 1 / 16, 0.3, 32, 16)) == wanted + wanted % 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"tiles": 3}, "multiple of the 2 tiles"),
        ({"tiles": 0}, "tiles is 0"),
        ({"clock": -1.0}, "clock is -1.0"),
        ({"clock": math.inf}, "clock is inf"),
        ({"tiles": True}, "tiles is True, expected a whole number"),
        ({"workers": 1.5}, "workers is 1.5, expected a whole number"),
        ({"tile_bytes": math.inf}, "tile_bytes is inf, expected a whole number"),
        ({"path_bytes": 2}, "path_bytes is 2, expected a multiple of 4"),
    ],
)
def test_broken_machines_are_refused(settings: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        IpuMachine("broken", **settings)  # type: ignore[arg-type]
