"""Frames for training a depth network: how they are read, cropped and varied."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from depth_planes import TINY, planes, write

from diffrender._recolour import Augmentation, _patched, recolour
from diffrender.depth.train_data import load_frames, make_batch, whole_frames
from diffrender.errors import InputError


def test_convention_depth_is_divided_by_the_focal_length_of_the_input() -> None:
    frames = planes()
    batch = whole_frames(frames, TINY, np.array([0, 1]))
    assert batch.image.shape == (2, 3, 64, 96)
    assert batch.depth.shape == (2, 1, 32, 48)
    focal_of_input = frames.focal[:2] * 96 / 120
    np.testing.assert_allclose(batch.factor, focal_of_input / TINY.reference_focal, rtol=1e-6)
    metres = (batch.depth * batch.factor.view(2, 1, 1, 1))[0, 0, -1, 0]
    assert float(metres) == pytest.approx(float(frames.depth[0, 78, 0]), rel=0.01)
    assert torch.isinf(batch.depth[:, :, :10]).all()
    assert int(batch.owner.sum()) == 2 * 4 * 8 == int(batch.owner[:, :, 24:28, 16:24].sum())


def test_convention_depth_is_told_in_heights_where_the_network_is_told_them() -> None:
    frames = replace(planes(), height=np.full(6, 3.3, np.float32))
    told = replace(TINY, reference_height=1.65)
    for make in (
        lambda config: whole_frames(frames, config, np.array([0, 1])),
        lambda config: make_batch(frames, config, Augmentation(), 4, np.random.default_rng(3)),
    ):
        blind, batch = make(TINY), make(told)
        torch.testing.assert_close(batch.factor, 2 * blind.factor)
        torch.testing.assert_close(2 * batch.depth, blind.depth)


def test_heights_are_told_about_right_in_training_and_as_they_are_in_checks() -> None:
    frames = replace(planes(), height=np.full(6, 2.2, np.float32))
    asked = replace(TINY, height_input=True)
    assert whole_frames(frames, asked, np.array([0, 1])).height.tolist() == [pytest.approx(2.2)] * 2
    blind, told = (
        make_batch(frames, config, Augmentation(), 64, np.random.default_rng(3)).height.numpy()
        for config in (TINY, asked)
    )
    np.testing.assert_allclose(blind, 2.2, rtol=1e-6)
    off = np.log(told / 2.2)
    assert 0.015 < off.std() < 0.025
    assert abs(off.mean()) < 0.008


def test_crops_keep_depth_and_focal_length_together() -> None:
    # On a road seen at focal length f, depth times the row below the horizon is 1.65 f; in the
    # normalized depth that is 1.65 times the reference, whatever the crop and its resizing were.
    # (Crops are whole pixels wide and high: hence frames much larger than elsewhere here.)
    frames = planes(side=800)
    plain = Augmentation(crop=(0.7, 1.0), stretch=(1.0, 1.0))
    batch = make_batch(frames, TINY, plain, 8, np.random.default_rng(1))
    assert batch.owner.shape == batch.depth.shape
    assert bool(((batch.owner == 1).flatten(1).any(dim=1)).all())
    assert bool(torch.isfinite(batch.depth[batch.owner == 1]).all())
    for depth in batch.depth[:, 0, :, 0]:
        known = torch.isfinite(depth)
        inverse = 1 / depth[known]
        slope = (inverse[1:] - inverse[:-1]).median() / 2  # a row of depth is two of the input
        assert float(1 / slope) == pytest.approx(1.65 * TINY.reference_focal, rel=0.03)


def test_batches_depend_on_the_generator_alone() -> None:
    frames = planes()
    first, second, other = (
        make_batch(frames, TINY, Augmentation(), 4, np.random.default_rng(seed))
        for seed in (3, 3, 4)
    )
    assert torch.equal(first.image, second.image)
    assert not torch.equal(first.image, other.image)
    assert first.image.min() >= 0
    assert first.image.max() <= 1


def test_every_change_of_looks_keeps_the_picture_in_range() -> None:
    image = np.random.default_rng(0).random((64, 96, 3), dtype=np.float32)
    still = Augmentation(
        blur=0, grey=0, shuffle=0, field=0, cutout=0, patches=0, clip=0, coded=0, noise=0, gain=0,
        gamma=0, contrast=0, saturation=(1, 1),
    )  # fmt: skip
    for name in ("blur", "grey", "shuffle", "field", "cutout", "patches", "clip", "coded"):
        changed, kept = (
            recolour(image.copy(), given, np.random.default_rng(7))
            for given in (replace(still, **{name: 1.0}), still)
        )
        assert changed.dtype == np.float32
        assert changed.shape == image.shape
        assert 0 <= changed.min() <= changed.max() <= 1
        assert not np.array_equal(changed, kept), name


def test_patches_of_shade_have_edges_and_leave_the_rest() -> None:
    flat = np.full((64, 96, 3), 0.4, np.float32)
    some = [_patched(flat, np.random.default_rng(seed)) for seed in range(12)]
    assert sum(float((np.abs(image - 0.4) < 1e-6).mean()) > 0.2 for image in some) >= 9
    assert min(float(image.min()) for image in some) < 0.25
    assert max(float(image.max()) for image in some) > 0.6
    steps = [np.abs(np.diff(image[..., 0], axis=1)).max() for image in some]
    assert np.median(steps) > 0.05


def test_unfit_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make some with"):
        load_frames(tmp_path)
    folder = write(tmp_path / "frames", planes())
    assert len(load_frames(folder)) == 6
    assert len(load_frames(folder, limit=2)) == 2
    with pytest.raises(InputError, match="limit is 0, expected at least one frame"):
        load_frames(folder, limit=0)
    assert len(load_frames(folder, folder)) == 12
    assert len(load_frames(folder, folder, limit=8)) == 8
    assert np.array_equal(load_frames(folder).owner, planes().owner)
    bad = folder / "frames_00001.npz"
    np.savez(bad, image=np.zeros((2, 8, 8, 3), np.uint8), depth=np.zeros((2, 8, 8)), focal=[1, 1])
    with pytest.raises(InputError, match="alike in all files"):
        load_frames(folder)
    np.savez(bad, picture=np.zeros(3))
    with pytest.raises(InputError, match="expected image, depth, focal"):
        load_frames(folder)
    good = (folder / "frames_00000.npz").read_bytes()
    flipped = bytearray(good)
    flipped[len(good) // 3] ^= 255
    for broken in (b"", b"no archive", good[: len(good) // 2], bytes(flipped)):
        bad.write_bytes(broken)
        with pytest.raises(InputError, match="frames_00001.npz: not a readable .npz file"):
            load_frames(folder)
    with np.load(folder / "frames_00000.npz") as arrays:
        np.savez(bad, **{k: v for k, v in arrays.items() if k != "owner"})
        assert not load_frames(folder).owner[3:].any()  # nobody says whose pixels they are
        np.savez(bad, **{k: v for k, v in arrays.items() if k != "height"})
        assert (load_frames(folder).height[3:] == np.float32(1.65)).all()
        for name, wrong in (("height", 0.0), ("height", np.nan), ("focal", -700.0)):
            np.savez(bad, **{**arrays, name: np.full(3, wrong, np.float32)})
            with pytest.raises(InputError, match=f"{name} is .*expected positive numbers"):
                load_frames(folder)
        np.savez(bad, **{**arrays, "height": arrays["height"][1:]})
        with pytest.raises(InputError, match=r"height \(2,\), owner"):
            load_frames(folder)
        np.savez(bad, **{**arrays, "owner": arrays["owner"][:, 1:]})
        with pytest.raises(InputError, match=r"owner uint8 \(3, 79, 120\); expected"):
            load_frames(folder)
        np.savez(bad, **{**arrays, "focal": np.array(["a", "b", "c"])})
    with pytest.raises(InputError, match="'focal' is <U1, expected numbers"):
        load_frames(folder)
