"""COCO run lengths: round trips, the reference implementation, and broken input."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from diffrender.errors import InputError
from diffrender.instances import decode_rle, encode_rle
from diffrender.instances.rle import counts_from_string, counts_to_string, encode_counts

_masks = hnp.arrays(bool, hnp.array_shapes(min_dims=2, max_dims=2, max_side=12))


def test_convention_runs_go_down_the_columns_and_begin_with_background() -> None:
    mask = np.array([[True, False], [True, True]])
    assert encode_counts(mask) == [0, 2, 1, 1]
    assert np.array_equal(decode_rle({"size": [2, 2], "counts": [0, 2, 1, 1]}), mask)
    assert np.array_equal(decode_rle({"size": [2, 2], "counts": [4]}), np.zeros((2, 2), bool))


@settings(deadline=None)
@given(_masks)
def test_encoded_masks_decode_to_themselves(mask: np.ndarray) -> None:
    assert np.array_equal(decode_rle(encode_rle(mask)), mask)
    plain = {"size": list(mask.shape), "counts": encode_counts(mask)}
    assert np.array_equal(decode_rle(plain), mask)


@settings(deadline=None)
@given(st.lists(st.integers(0, 10**9), max_size=20))
def test_strings_keep_any_counts(counts: list[int]) -> None:
    assert counts_from_string(counts_to_string(counts)) == counts


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
@settings(deadline=None)
@given(_masks)
def test_strings_are_those_of_the_reference(mask: np.ndarray) -> None:
    reference = pytest.importorskip("pycocotools.mask")
    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode_rle(mask)["counts"] == theirs["counts"].decode()
    ours = {"size": list(mask.shape), "counts": encode_rle(mask)["counts"]}
    assert np.array_equal(reference.decode(ours) > 0, mask)
    assert np.array_equal(decode_rle(theirs), mask)


def test_a_large_mask_against_the_reference() -> None:
    reference = pytest.importorskip("pycocotools.mask")
    rng = np.random.default_rng(3)
    rows, columns = np.mgrid[:375, :1242]
    mask = ((columns - 600) / 200.0) ** 2 + ((rows - 200) / 90.0) ** 2 < 1
    mask ^= rng.random(mask.shape) < 1e-3
    theirs = reference.encode(np.asfortranarray(mask.astype(np.uint8)))
    assert encode_rle(mask)["counts"] == theirs["counts"].decode()
    assert np.array_equal(decode_rle(theirs, (375, 1242)), mask)


@pytest.mark.parametrize(
    ("rle", "message"),
    [
        (None, "not an object with 'size' and 'counts'"),
        ({"size": [2, 2]}, "not an object with 'size' and 'counts'"),
        ({"size": [2], "counts": [4]}, r"size is \[2\], expected \[height, width\]"),
        ({"size": [2, -2], "counts": [4]}, "expected .height, width."),
        ({"size": [2, True], "counts": [4]}, "expected .height, width."),
        ({"size": [2, 3], "counts": [6]}, r"size is \[2, 3\], the image has \[2, 2\]"),
        ({"size": [2, 2], "counts": [3]}, "add up to 3 pixels, expected 2 x 2 = 4"),
        ({"size": [2, 2], "counts": [10**30]}, "add up to 1000000000000"),
        ({"size": [2, 2], "counts": [5, -1]}, "neither a string nor a list of whole numbers"),
        ({"size": [2, 2], "counts": [4.0]}, "neither a string nor a list of whole numbers"),
        ({"size": [2, 2], "counts": 4}, "neither a string nor a list of whole numbers"),
        ({"size": [2, 2], "counts": "4\n"}, "character 2 is '\\\\n', expected '0' to 'o'"),
        ({"size": [2, 2], "counts": "o"}, "ends inside a number; it is cut short"),
        ({"size": [2, 2], "counts": "ooooooo1"}, "character 7: the number is too long"),
        ({"size": [2, 2], "counts": "O"}, "character 1: run of -1 pixels"),
        ({"size": [2, 2], "counts": "0" * 36}, "longer than its image could need"),
        ({"size": [2, 2], "counts": b"\xff"}, "character 1 is 'ÿ'"),
    ],
)
def test_broken_run_lengths_are_explained(rle: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_rle(rle, (2, 2))


def test_a_size_that_would_fill_the_memory_is_refused() -> None:
    with pytest.raises(InputError, match="has 10000000000000000 pixels, expected at most"):
        decode_rle({"size": [10**8, 10**8], "counts": [10**16]})


@settings(deadline=None)
@given(st.text(st.characters(min_codepoint=40, max_codepoint=120), max_size=12))
def test_any_string_gives_a_mask_or_an_input_error(text: str) -> None:
    try:
        mask = decode_rle({"size": [3, 4], "counts": text})
    except InputError:
        return
    assert mask.shape == (3, 4)
    assert counts_from_string(text)[1::2] == [] or mask.sum() == sum(counts_from_string(text)[1::2])
