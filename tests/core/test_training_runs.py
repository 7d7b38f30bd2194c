"""What all training runs share: draws by seed and number, the folder that a run goes on from."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn

from diffrender._checkpoint import Checkpoint, read_checkpoint, write_checkpoint
from diffrender._seeds import stream, stream_seed
from diffrender._training import (
    RunFolder,
    check_finite,
    epoch_places,
    is_late,
    rising_share,
    set_rate,
)
from diffrender.errors import InputError


def _run(folder: Path, identity: str = "a line") -> tuple[RunFolder, nn.Module, torch.optim.AdamW]:
    torch.manual_seed(0)
    net = nn.Linear(3, 1)
    optimizer = torch.optim.AdamW(net.parameters(), 0.1)
    return RunFolder(folder, identity, {"net": net}, optimizer, board=False), net, optimizer


def _learn(run: RunFolder, net: nn.Module, optimizer: torch.optim.AdamW, steps: int) -> None:
    for _ in range(steps):
        loss = net(torch.randn(8, 3, generator=stream(5, run.state.step))).square().mean()
        optimizer.zero_grad()
        loss.backward()
        set_rate(optimizer, 0.1 / (1 + run.state.step))
        optimizer.step()
        run.count({"loss": float(loss.detach())})
        run.save({"step": float(run.state.step)} | run.means(), 5, None)


def test_a_folder_goes_on_with_the_same_bits(tmp_path: Path) -> None:
    whole, cut = _run(tmp_path / "whole"), _run(tmp_path / "cut")
    _learn(*whole, 5)
    _learn(*cut, 2)
    again = _run(tmp_path / "cut")
    assert again[0].state.step == 2
    _learn(*again, 3)
    for one, other in zip(whole[1].parameters(), again[1].parameters(), strict=True):
        assert torch.equal(one, other)
    assert (tmp_path / "cut/log.csv").read_text() == (tmp_path / "whole/log.csv").read_text()
    with (tmp_path / "cut/log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["1.0", "2.0", "3.0", "4.0", "5.0"]


def test_the_log_holds_means_since_the_last_row(tmp_path: Path) -> None:
    run, _, _ = _run(tmp_path)
    for value in (1.0, 2.0):
        run.count({"loss": value})
    told: list[dict[str, float]] = []
    run.save(run.means(), 3, told.append)
    run.count({"loss": 1 / 3})
    run.save(run.means(), 3, told.append)
    assert told == run.state.rows == [{"loss": 1.5}, {"loss": 0.333}]


def test_checkpoints_keep_parts_and_facts(tmp_path: Path) -> None:
    kept = Checkpoint("me", 3, 1.5, [{"step": 3.0}])
    shared = torch.arange(6.0).view(2, 3)
    kept.parts = {"net": {"a.b": shared, "c": shared.mT}, "generator": {"state": torch.ones(2)}}
    kept.facts = {"rate": 0.1, "betas": [0.9, 0.999]}
    path = tmp_path / "run.checkpoint"
    write_checkpoint(path, kept)
    found = read_checkpoint(path, "me", ("net", "generator", "moments"))
    assert (found.step, found.seconds, found.rows) == (3, 1.5, [{"step": 3.0}])
    assert found.facts == kept.facts
    assert found.parts["moments"] == {}
    assert torch.equal(found.parts["net"]["a.b"], shared)
    assert torch.equal(found.parts["net"]["c"], shared.mT)
    with pytest.raises(InputError, match=r"unknown tensor 'generator\.state'"):
        read_checkpoint(path, "me", ("net",))
    with pytest.raises(InputError, match="a run with other settings or data: me"):
        read_checkpoint(path, "you", ("net", "generator"))


@pytest.mark.parametrize(
    "header",
    [None, "[]", '{"identity": "me"}', '{"identity": 1, "step": 1, "seconds": 0.0, "rows": []}',
     '{"identity": "me", "step": 1, "seconds": 0.0, "rows": [], "facts": 7}'],
)  # fmt: skip
def test_what_is_no_checkpoint(tmp_path: Path, header: str | None) -> None:
    path = tmp_path / "run.checkpoint"
    write_checkpoint(path, Checkpoint("me", parts={"net": {"a": torch.ones(1)}}))
    metadata = None if header is None else {"diffrender.training": header}
    save_file(load_file(path), path, metadata)
    with pytest.raises(InputError, match="not a checkpoint of this package"):
        read_checkpoint(path, "me", ("net",))


def test_a_checkpoint_of_another_network(tmp_path: Path) -> None:
    _learn(*_run(tmp_path), 1)
    other = nn.Linear(4, 1)
    optimizer = torch.optim.AdamW(other.parameters(), 0.1)
    with pytest.raises(InputError, match="does not fit the network"):
        RunFolder(tmp_path, "a line", {"net": other}, optimizer, board=False)


@pytest.mark.parametrize("part", ["exp_avg.0", "exp_avg_sq.1", "step.0"])
@pytest.mark.parametrize("how", ["absent", "shape", "unknown"])
def test_moments_that_do_not_fit(tmp_path: Path, part: str, how: str) -> None:
    _learn(*_run(tmp_path), 1)
    path = tmp_path / "checkpoint.safetensors"
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    tensor = tensors.pop(f"moments.{part}")
    if how != "absent":
        name = f"moments.{part}" if how == "shape" else f"moments.{part}x"
        tensors[name] = torch.ones(7) if how == "shape" else tensor
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match=r"checkpoint\.safetensors: the moments do not fit"):
        _run(tmp_path)


def test_every_epoch_is_a_permutation() -> None:
    places = [epoch_places(7, 3, step, lambda epoch: stream(2, epoch)) for step in range(14)]
    seen = torch.cat(places).view(6, 7)
    assert (seen.sort(dim=1).values == torch.arange(7)).all()
    assert len({tuple(order.tolist()) for order in seen}) == 6


def test_streams_are_their_own() -> None:
    seeds = {stream_seed(seed, number) for seed in range(20) for number in range(-10, 10)}
    assert len(seeds) == 400 and all(0 <= seed < 2**63 for seed in seeds)
    assert torch.equal(torch.rand(3, generator=stream(1, 2)), torch.rand(3, generator=stream(1, 2)))


def test_late_and_not_finite() -> None:
    assert not is_late(None) and not is_late(time.monotonic() + 60)
    assert is_late(time.monotonic())
    check_finite(torch.tensor(1.0), 3)
    with pytest.raises(RuntimeError, match="the loss is inf at step 3"):
        check_finite(torch.tensor(float("inf")), 3)


@pytest.mark.parametrize("steps", [2, 9, 10, 11, 100])
def test_a_run_of_any_length_has_a_rising_rate(steps: int) -> None:
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], 1.0)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, 1.0, steps, pct_start=rising_share(steps)
    )
    rates = [cycle.get_last_lr()[0]]
    for _ in range(steps - 1):
        optimizer.step()
        cycle.step()
        rates.append(cycle.get_last_lr()[0])
    assert all(0 < rate <= 1 for rate in rates) and rates[-1] < rates[0]
