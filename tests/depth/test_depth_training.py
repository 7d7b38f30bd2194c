"""Training of the shipped network, on a few tiny frames made on the spot."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from depth_planes import TINY, planes, write

from diffrender._training import one_cosine
from diffrender.depth import DptConfig, load_dpt, save_dpt
from diffrender.depth.dpt import DptNet
from diffrender.depth.train import TrainSettings, main, train
from diffrender.depth.train_check import check_errors
from diffrender.depth.train_run import Run
from diffrender.errors import InputError


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
    state = torch.load(path, weights_only=True)
    del state["config"]["reference_height"]  # as runs of before it was told
    torch.save(state, path)
    Run(TINY, TrainSettings(seed=1)).restore(path)
    with pytest.raises(InputError, match="another configuration"):
        Run(replace(TINY, reference_height=1.65), TrainSettings(seed=1)).restore(path)
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
    main([*told, "--heights", "unit"])
    assert load_dpt(tmp_path / "told" / "weights.safetensors").config.reference_height == 1.65
    told[told.index("--out") + 1] = str(tmp_path / "input")
    main([*told, "--heights", "input"])
    learned = load_dpt(tmp_path / "input" / "weights.safetensors")
    assert learned.config.height_input
    assert all(float(layer.weight.detach().abs().max()) > 0 for layer in learned.told)
    with pytest.raises(InputError, match="another configuration"):
        main(
            [*files[:-1], str(tmp_path / "other"), *more[-2:], *small.replace("8", "4", 1).split()]
        )


def test_schedule_and_settings() -> None:
    assert one_cosine(0.015) == pytest.approx(0.5)
    assert one_cosine(0.03) == pytest.approx(1)
    assert one_cosine(1.0) == pytest.approx(0.01)
    with pytest.raises(InputError, match="expected positive numbers"):
        TrainSettings(batch=0)
