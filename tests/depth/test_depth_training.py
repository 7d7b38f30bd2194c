"""Training of the shipped network, on a few tiny frames made on the spot."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrender._recolour import Augmentation, _patched, recolour
from diffrender._training import one_cosine
from diffrender.depth import DptConfig, load_dpt, save_dpt
from diffrender.depth.dpt import DptNet
from diffrender.depth.train import TrainSettings, main, train
from diffrender.depth.train_check import check_errors
from diffrender.depth.train_data import Batch, FrameSet, load_frames, make_batch, whole_frames
from diffrender.depth.train_loss import LossWeights, depth_loss, object_errors
from diffrender.depth.train_run import Run
from diffrender.errors import InputError

TINY = DptConfig(backbone="test_convnext", channels=8, size=(64, 96), depth_range=(1.0, 100.0))


def planes(count: int = 6, side: int = 80) -> FrameSet:
    """Flat roads of several shades below a sky, seen by cameras of several focal lengths."""
    draw = np.random.default_rng(0)
    width = side * 3 // 2
    rows = (np.arange(side) + 0.5) / side * 80
    images, depths, focals = [], [], []
    for _ in range(count):
        focal = draw.uniform(90, 130) * side / 80
        horizon = side * 30 / 80
        with np.errstate(divide="ignore"):
            below = np.maximum(np.arange(side) + 0.5 - horizon, 1e-6)
            depth = np.where(rows > 32, focal * 1.65 / below, np.inf)
        shade = np.where(rows > 32, 60 + rows, 250)
        noise = draw.normal(0, 8, (side, width, 3))
        images.append(np.clip(shade[:, None, None] + noise, 0, 255).astype(np.uint8))
        depths.append(np.repeat(depth[:, None], width, axis=1).astype(np.float16))
        focals.append(focal)
    owner = np.zeros((count, side, width), np.uint8)
    owner[:, side * 3 // 4 : side * 7 // 8, width // 3 : width // 2] = 1
    height = np.full(count, 1.65, np.float32)
    return FrameSet(np.stack(images), np.stack(depths), np.array(focals, np.float32), height, owner)


def write(folder: Path, frames: FrameSet) -> Path:
    folder.mkdir()
    half = len(frames) // 2
    for number, part in enumerate((slice(0, half), slice(half, None))):
        np.savez(
            folder / f"frames_{number:05d}.npz",
            image=frames.images[part],
            depth=frames.depth[part],
            focal=frames.focal[part],
            height=frames.height[part],
            owner=frames.owner[part],
        )
    return folder


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


def test_loss_by_hand() -> None:
    truth = torch.tensor([[4.0, 8.0], [0.0, torch.inf]]).view(1, 1, 2, 2)
    none = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    exact = torch.tensor([[4.0, 8.0], [3.0, 90.0]]).view(1, 1, 2, 2)
    zero = depth_loss(exact, truth, none, far=100)
    assert float(zero["total"]) == pytest.approx(1e-3)  # the root's guard
    twice = depth_loss(2 * exact, truth, none, far=100)
    two = float(np.log(2))
    assert float(twice["log"]) == pytest.approx(two)
    assert float(twice["scale_invariant"]) == pytest.approx(two * np.sqrt(0.5))
    assert float(twice["gradient"]) == 0
    near_sky = depth_loss(torch.full_like(exact, 7.0), truth, none, far=100)
    assert float(near_sky["sky"]) == pytest.approx(np.log(10) / 4)


def test_loss_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = 5 + 20 * torch.rand(1, 1, 4, 4, generator=draw, dtype=torch.float64)
    truth[0, 0, 1, 0], truth[0, 0, 2, 3] = 0, torch.inf
    predicted = 5 + 20 * torch.rand(1, 1, 4, 4, generator=draw, dtype=torch.float64)
    predicted.requires_grad_()
    owner = torch.tensor([[1, 1, 1, 2], [0, 1, 1, 2], [1, 1, 1, 0], [1, 1, 1, 1]]).view(1, 1, 4, 4)

    def loss(p: torch.Tensor) -> torch.Tensor:
        terms = depth_loss(p, truth, owner, 60.0)
        assert float(terms["object"].detach()) > 0
        return terms["total"]

    assert torch.autograd.gradcheck(loss, predicted)
    loss(predicted).backward()
    assert predicted.grad is not None
    assert float(predicted.grad[0, 0, 1, 0]) == 0


def test_every_vehicle_counts_alike() -> None:
    owner = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    owner[0, 0, :2], owner[0, 0, 4:] = 3, 4  # 16 and 32 pixels
    owner[1, 0, :2] = 3  # another picture's
    owner[1, 0, 2, :3] = 5  # too few
    owner[1, 0, 4:6] = 255
    known = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    known[0, 0, 0, :4] = False
    d = torch.full((2, 1, 8, 8), 9.0)
    d[0, 0, :2], d[0, 0, 4:], d[1, 0, :2] = 0.1, -0.4, 0.7
    d[0, 0, 0, :4] = torch.inf  # not known
    torch.testing.assert_close(object_errors(d, known, owner), torch.tensor([0.1, -0.4, 0.7]))
    truth = torch.full((2, 1, 8, 8), 10.0)
    truth[0, 0, 0, :4] = 0
    terms = depth_loss(truth.clamp_min(1) * d.nan_to_num(posinf=0).exp(), truth, owner, far=100)
    assert float(terms["object"]) == pytest.approx((0.1 + 0.4 + 0.7) / 3, rel=1e-5)


def test_weights_of_the_terms() -> None:
    truth = torch.full((1, 1, 8, 8), 10.0)
    owner = torch.ones_like(truth, dtype=torch.uint8)
    plain, more = (depth_loss(1.1 * truth, truth, owner, 60, LossWeights(object=k)) for k in (1, 3))
    assert float(more["total"] - plain["total"]) == pytest.approx(2 * np.log(1.1), rel=1e-4)
    with pytest.raises(InputError, match="expected weights of at least 0"):
        LossWeights(object=-1.0)
    for share in ({"small": 1.5}, {"small": -0.1}, {"average": 1.0}):
        with pytest.raises(InputError, match=r"average in \[0, 1\) and small in \[0, 1\]"):
            TrainSettings(**share)
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    depth, known = torch.full((2, 1, 32, 48), 10.0), torch.ones(2, 1, 32, 48, dtype=torch.uint8)
    batch = Batch(image, depth, torch.ones(2), known)
    totals = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        run = Run(TINY, TrainSettings(weights=LossWeights(object=weight)))
        run.learn(batch)
        totals.append((run.recent[0]["total"], run.recent[0]["object"]))
    assert totals[0][1] > 0
    assert totals[1][0] - totals[0][0] == pytest.approx(2 * totals[0][1], rel=1e-3)


def test_training_learns_and_goes_on_where_it_stopped(tmp_path: Path) -> None:
    frames = planes()
    settings = TrainSettings(steps=8, batch=4, rate=3e-3, every=4, average=0.5, small=0.0)
    train(frames, frames, tmp_path, TINY, settings)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(float(r["step"])) for r in rows] == [4, 8]
    more = TrainSettings(steps=60, batch=4, rate=3e-3, every=30, average=0.5, small=0.0)
    weights = train(frames, frames, tmp_path, TINY, more)
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(float(r["step"])) for r in rows] == [4, 8, 30, 60]
    assert float(rows[-1]["total"]) < 0.5 * float(rows[0]["total"])
    errors = check_errors(load_dpt(weights), frames)
    assert errors["abs_rel"] == pytest.approx(float(rows[-1]["abs_rel"]), abs=0.01)
    assert errors["abs_rel"] < 0.5 * float(rows[0]["abs_rel"])
    with pytest.raises(InputError, match="another configuration"):
        train(frames, frames, tmp_path, DptConfig(backbone="test_vit", channels=8), more)


def test_a_killed_run_ends_with_the_same_bits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed where pictures become larger, after the checkpoint and before anything else."""
    frames = planes()
    settings = TrainSettings(steps=4, batch=2, every=2, small=0.5)
    whole = train(frames, frames, tmp_path / "whole", TINY, settings)
    save = Run.save

    def save_and_stop(run: Run, path: Path) -> None:
        save(run, path)
        raise KeyboardInterrupt

    monkeypatch.setattr(Run, "save", save_and_stop)
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            train(frames, frames, tmp_path / "cut", TINY, settings)
    monkeypatch.undo()
    cut = train(frames, frames, tmp_path / "cut", TINY, settings)
    assert cut.read_bytes() == whole.read_bytes()
    cut.unlink()  # a run that has ended writes it again
    assert train(frames, frames, tmp_path / "cut", TINY, settings).read_bytes() == (
        whole.read_bytes()
    )


def test_a_resumed_run_has_the_rates_that_are_given(tmp_path: Path) -> None:
    Run(TINY, TrainSettings(backbone_rate=0.25, decay=0.02)).save(tmp_path / "checkpoint.pt")
    run = Run(TINY, TrainSettings(backbone_rate=0.5, decay=0.01))
    run.restore(tmp_path / "checkpoint.pt")
    assert [group["share"] for group in run.optimizer.param_groups] == [0.5, 0.5, 1.0, 1.0]
    assert [group["weight_decay"] for group in run.optimizer.param_groups] == [0.0, 0.01] * 2


def test_a_run_goes_on_as_itself_alone(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    Run(TINY, TrainSettings(seed=1)).save(path)
    Run(TINY, TrainSettings(seed=1, rate=1e-4, minutes=2.0)).restore(path)  # these may change
    for other in ({"seed": 2}, {"seed": 1, "batch": 4}):
        with pytest.raises(InputError, match="run with other settings: {'seed': 1, 'batch': 16"):
            Run(TINY, TrainSettings(**other)).restore(path)  # type: ignore[arg-type]


def test_checkpoints_that_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.pt"
    run = Run(TINY, TrainSettings())
    run.save(path)
    good = path.read_bytes()
    for broken in (b"", good[: len(good) // 2], good[:-30], b"nothing like it"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="checkpoint.pt: not a readable checkpoint"):
            Run(TINY, TrainSettings()).restore(path)
    for foreign in (run.net.state_dict(), [1], {"net": {}, "config": {}}):
        torch.save(foreign, path)
        with pytest.raises(InputError, match="checkpoint.pt: not a checkpoint of this training"):
            Run(TINY, TrainSettings()).restore(path)
    path.write_bytes(good)
    for part in ("net", "mean", "optimizer"):
        state = torch.load(path, weights_only=True)
        state[part] = {}
        torch.save(state, tmp_path / "other.pt")
        with pytest.raises(InputError, match="other.pt: does not fit the network"):
            Run(TINY, TrainSettings()).restore(tmp_path / "other.pt")


def test_a_run_begins_with_the_weights_of_a_file(tmp_path: Path) -> None:
    frames = planes()
    torch.manual_seed(1)
    start = save_dpt(DptNet(TINY), tmp_path / "start.safetensors")
    still = TrainSettings(steps=1, batch=2, rate=1e-12, decay=0.0, every=1, average=0.0)
    weights = train(frames, frames, tmp_path / "out", TINY, still, start)
    first, after = load_dpt(start), load_dpt(weights)
    for (name, old), new in zip(first.named_parameters(), after.parameters(), strict=True):
        # the file of a run holds halves
        torch.testing.assert_close(new, old, rtol=1e-3, atol=1e-6, msg=name)
    train(frames, frames, tmp_path / "out", TINY, still, start)  # the run that had ended
    train(frames, frames, tmp_path / "out", TINY, still)
    torch.manual_seed(5)
    another = save_dpt(DptNet(TINY), tmp_path / "another.safetensors")
    with pytest.raises(InputError, match="run that began with other weights"):
        train(frames, frames, tmp_path / "out", TINY, still, another)
    with pytest.raises(InputError, match="start.safetensors: made with another configuration"):
        train(frames, frames, tmp_path / "other", replace(TINY, channels=16), still, start)
    with pytest.raises(InputError, match="start and backbone are both given"):
        train(frames, frames, tmp_path / "both", TINY, still, start, start)
    told = train(
        frames, frames, tmp_path / "told", replace(TINY, reference_height=1.65), still, start
    )
    with pytest.raises(InputError, match="made with another configuration"):  # nor back again
        train(frames, frames, tmp_path / "blind", TINY, still, told)


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = write(tmp_path / "frames", planes()), tmp_path / "out"
    files = ["--frames", str(folder), "--check", str(folder), "--out", str(out)]
    small = "--steps 2 --batch 2 --every 1 --backbone test_convnext --channels 8 --size 64 96"
    main([*files, *small.split()])
    printed = capsys.readouterr().out
    assert printed.startswith("6 frames, 6 to check on")
    assert printed.rstrip().endswith("weights.safetensors")
    more = [*files[:-1], str(tmp_path / "more"), "--start", str(out / "weights.safetensors")]
    larger = small.replace("--size 64 96", "--size 96 128")
    main([*more, *larger.split()])
    assert load_dpt(tmp_path / "more" / "weights.safetensors").config.size == (96, 128)
    told = [*files[:-1], str(tmp_path / "told"), *more[-2:], *small.split()]
    main([*told, "--heights"])
    assert load_dpt(tmp_path / "told" / "weights.safetensors").config.reference_height == 1.65
    with pytest.raises(InputError, match="another configuration"):
        main(
            [*files[:-1], str(tmp_path / "other"), *more[-2:], *small.replace("8", "4", 1).split()]
        )


def test_unfit_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="make some with"):
        load_frames(tmp_path)
    folder = write(tmp_path / "frames", planes())
    assert len(load_frames(folder)) == 6
    assert len(load_frames(folder, limit=2)) == 2
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
        np.savez(bad, **{**arrays, "height": arrays["height"][1:]})
        with pytest.raises(InputError, match=r"height \(2,\), owner"):
            load_frames(folder)
        np.savez(bad, **{**arrays, "owner": arrays["owner"][:, 1:]})
        with pytest.raises(InputError, match=r"owner uint8 \(3, 79, 120\); expected"):
            load_frames(folder)
        np.savez(bad, **{**arrays, "focal": np.array(["a", "b", "c"])})
    with pytest.raises(InputError, match="'focal' is <U1, expected numbers"):
        load_frames(folder)


def test_schedule_and_settings() -> None:
    assert one_cosine(0.015) == pytest.approx(0.5)
    assert one_cosine(0.03) == pytest.approx(1)
    assert one_cosine(1.0) == pytest.approx(0.01)
    with pytest.raises(InputError, match="expected positive numbers"):
        TrainSettings(batch=0)
