"""Masks from boxes on painted pictures whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.instances import Box, masks_from_boxes

SIZE = (120, 200)


def _scene(noise: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Image, depth and true mask: a reddish rounded block at 10 m before a grey road."""
    rows, columns = np.mgrid[: SIZE[0], : SIZE[1]] + 0.5
    body = (np.abs(columns - 100) / 40) ** 3 + (np.abs(rows - 60) / 30) ** 3 <= 1
    rng = np.random.default_rng(noise)
    image = np.full((*SIZE, 3), (120, 125, 130)) + rng.integers(-8, 9, (*SIZE, 3))
    image[body] = (180, 40, 40) + rng.integers(-8, 9, (int(body.sum()), 3))
    depth = np.where(body, 10.0, 30.0).astype(np.float32)
    return image.astype(np.uint8), depth, body


CAR = Box((60, 30, 140, 90), "Car", 0.8, "car_01")


def _overlap(first: np.ndarray, second: np.ndarray) -> float:
    return float((first & second).sum() / (first | second).sum())


@pytest.mark.parametrize("with_depth", [False, True])
def test_a_block_in_its_box_is_found(with_depth: bool) -> None:
    image, depth, body = _scene()
    (found,), rejected = masks_from_boxes([CAR], image, depth if with_depth else None)
    assert rejected == []
    assert (found.box, found.category, found.score, found.name) == (
        CAR.box,
        "Car",
        0.8,
        "car_01",
    )
    assert _overlap(found.mask, body) > 0.9
    assert not found.mask[:, :60].any()
    assert not found.mask[:30].any()


def test_the_same_masks_twice() -> None:
    image, depth, _ = _scene()
    first, second = (masks_from_boxes([CAR], image, depth)[0][0].mask for _ in range(2))
    assert np.array_equal(first, second)


def test_grabcut_moves_the_border_to_the_colours() -> None:
    image, _, body = _scene()
    loose = Box((57, 27, 143, 93), "Car", 1.0, "car_01")
    from diffrender.instances.templates import template_mask

    outline = template_mask(loose.box, "Car", SIZE)
    refined = masks_from_boxes([loose], image)[0][0].mask
    assert _overlap(refined, body) > _overlap(outline, body) + 0.02


def test_depth_cuts_out_what_stands_before_the_object() -> None:
    image, depth, body = _scene()
    pole = np.zeros(SIZE, bool)
    pole[:, 108:124] = True
    depth[pole] = 5
    (found,), _ = masks_from_boxes([CAR], image, depth)
    blind = masks_from_boxes([CAR], image)[0][0]
    # Colours do not show this pole, and depth borders are not believed to the pixel.
    assert (found.mask & pole).sum() < (blind.mask & pole).sum()
    assert _overlap(found.mask, body & ~pole) > _overlap(blind.mask, body & ~pole)


def test_sparse_depth_helps_too() -> None:
    image, depth, body = _scene()
    pole = np.zeros(SIZE, bool)
    pole[:, 108:124] = True
    depth[pole] = 5
    sparse = np.zeros_like(depth)
    sparse[1::5, ::3] = depth[1::5, ::3]
    (found,), _ = masks_from_boxes([CAR], image, sparse)
    assert (found.mask & pole).sum() < 0.3 * (body & pole).sum()
    assert _overlap(found.mask, body & ~pole) > 0.8


def test_unbelievable_depth_changes_nothing() -> None:
    image, _, _ = _scene()
    noise = np.random.default_rng(1).uniform(1, 90, SIZE).astype(np.float32)
    empty = np.zeros(SIZE, np.float32)
    plain = masks_from_boxes([CAR], image)[0][0].mask
    for depth in (noise, empty, np.full(SIZE, np.nan, np.float32)):
        assert np.array_equal(masks_from_boxes([CAR], image, depth)[0][0].mask, plain)


def test_the_box_that_reaches_lower_takes_the_pixels() -> None:
    image, _, _ = _scene()
    behind = Box((100, 25, 180, 80), "Van", 1.0, "van_02")
    found, _ = masks_from_boxes([behind, CAR], image)
    assert [one.name for one in found] == ["van_02", "car_01"]  # the caller's order
    assert not (found[0].mask & found[1].mask).any()
    alone = masks_from_boxes([CAR], image)[0][0]
    assert np.array_equal(found[1].mask, alone.mask)


def test_a_box_that_is_wholly_covered_is_rejected() -> None:
    image, _, _ = _scene()
    hidden = Box((90, 50, 110, 70), "Car", 1.0, "car_02")
    found, rejected = masks_from_boxes([hidden, CAR], image)
    assert [one.name for one in found] == ["car_01"]
    assert rejected[0].name == "car_02"
    assert "no pixel of the box is left" in rejected[0].reason


@pytest.mark.parametrize(
    "box",
    [
        (10.2, 10.2, 10.4, 10.4),
        (0, 0, 200, 120),
        (0, 0, 1, 120),
        (199.5, 119.5, 200, 120),
        (3, 3, 5, 5),
    ],
)
def test_extreme_boxes_give_a_mask_in_the_box_or_a_reason(
    box: tuple[float, float, float, float],
) -> None:
    flat = np.full((*SIZE, 3), 90, np.uint8)
    found, rejected = masks_from_boxes([Box(box, "Car", 1.0, "a")], flat)
    assert len(found) + len(rejected) == 1
    for one in found:
        rows, columns = np.nonzero(one.mask)
        assert rows.min() >= np.floor(box[1])
        assert rows.max() < np.ceil(box[3])
        assert columns.min() >= np.floor(box[0])
        assert columns.max() < np.ceil(box[2])


def test_wrong_shapes_are_refused() -> None:
    image, depth, _ = _scene()
    with pytest.raises(InputError, match=r"depth has shape \(10, 200\), expected \(120, 200\)"):
        masks_from_boxes([CAR], image, depth[:10])
    with pytest.raises(InputError, match="image has shape"):
        masks_from_boxes([CAR], image[..., 0])
    # OpenCV would refuse it too late: the outline would stand as if its colours were flat.
    with pytest.raises(InputError, match="image is float64, expected uint8 RGB"):
        masks_from_boxes([CAR], image / 255)


def test_a_box_beside_the_picture_is_rejected_and_one_across_its_border_cut() -> None:
    image, _, _ = _scene()
    beside = Box((2000, 10, 2050, 60), "Car", 1.0, "beside")
    across = Box((150, 30, 260, 90), "Car", 1.0, "across")
    (first, second), (rejected,) = masks_from_boxes([beside, CAR, across], image)
    assert (first.name, second.name, second.box) == ("car_01", "across", (150, 30, 200, 90))
    assert rejected.name == "beside" and "lies outside the image" in rejected.reason
