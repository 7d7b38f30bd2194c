"""Masks without the small pieces that would decide where their boxes end."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from diffrender.instances import box_of_mask, without_crumbs


def test_crumbs_go_and_what_a_pole_cuts_off_stays() -> None:
    mask = np.zeros((60, 100), bool)
    mask[20:40, 20:50] = True  # 600 pixels
    mask[20:40, 53:57] = True  # 80: beyond a pole
    whole = mask.copy()
    mask[5:10, 90:95] = True  # 25
    assert box_of_mask(mask) == (20, 5, 95, 40)
    assert np.array_equal(without_crumbs(mask), whole)
    assert np.array_equal(without_crumbs(mask, share=0.2)[:, :50], whole[:, :50])
    assert not without_crumbs(mask, share=0.2)[:, 50:].any()


def test_a_mask_without_crumbs_comes_back_itself() -> None:
    for mask in (np.zeros((8, 8), bool), np.eye(8, dtype=bool), np.ones((8, 8), bool)):
        assert without_crumbs(mask) is mask


@given(st.binary(min_size=1, max_size=1000), st.floats(0.001, 1.0))
def test_the_largest_piece_stays_and_nothing_is_added(bits: bytes, share: float) -> None:
    pixels = np.unpackbits(np.frombuffer(bits, np.uint8))
    mask = np.zeros(-(-len(pixels) // 40) * 40, bool)
    mask[: len(pixels)] = pixels
    mask = mask.reshape(-1, 40)
    kept = without_crumbs(mask, share)
    assert not (kept & ~mask).any()
    assert kept.any() == mask.any()
    assert np.array_equal(without_crumbs(kept, share), kept)
