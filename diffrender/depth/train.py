"""Train a `dpt-timm` network: `python -m diffrender.depth.train --help`.

How the shipped weights (assets/dpt_street.*) were made is in docs/depth.md, with the commands.
An interrupted run goes on from OUT/checkpoint.pt, with the frames that there are by then.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._files import atomic_path, write_text_atomic
from diffrender.blocksparse import SparsityConfig
from diffrender.depth.dpt import DptConfig, DptNet
from diffrender.depth.dpt_timm import load_dpt, save_dpt
from diffrender.depth.train_augment import Augmentation
from diffrender.depth.train_check import check_errors
from diffrender.depth.train_data import Batch, FrameSet, load_frames, make_batch
from diffrender.depth.train_loss import depth_loss
from diffrender.errors import InputError

__all__ = ["TrainSettings", "train"]


@dataclass(frozen=True)
class TrainSettings:
    """Settings of a run.

    Attributes:
        minutes: time for the whole run, over all its resumptions; the learning rate follows it.
        steps: end after so many steps instead; the learning rate follows them.
        batch: frames a step.
        rate: highest learning rate (AdamW, warm-up of 3 %, cosine to 1 %).
        decay: weight decay.
        small: share of the run on pictures of three quarters the size, which cost half as much;
            depth is normalized by the focal length in pixels, so it is the same task.
        bfloat16: compute in bfloat16 where autocast does; on a processor without instructions for
            it a step takes fifteen times as long as in float32.
        average: share that each step keeps of the running mean of the weights, which is shipped.
        every: steps between two rows of the log (and checkpoints).
        seed: of the initial weights and of every batch.
    """

    minutes: float = 50.0
    steps: int | None = None
    batch: int = 16
    rate: float = 2.5e-3
    decay: float = 0.02
    small: float = 0.5
    bfloat16: bool = True
    average: float = 0.998
    every: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        positive = (self.minutes, self.batch, self.rate, self.every, self.steps or 1)
        if min(positive) <= 0 or not 0 <= self.average < 1:
            raise InputError(f"{self}: expected positive numbers, and average in [0, 1)")


def train(
    frames: FrameSet,
    check: FrameSet,
    out: Path,
    config: DptConfig | None = None,
    settings: TrainSettings | None = None,
    start: Path | None = None,
) -> Path:
    """Train, or go on with `out`/checkpoint.pt; returns `out`/weights.safetensors.

    `out`/log.csv gets a row every `settings.every` steps with the loss and the errors on `check`.
    A new run begins with the weights of `start`, a file of `save_dpt`, or with random ones.

    Raises:
        InputError: `start` or the checkpoint is of another configuration, or the run had ended.
    """
    config, settings = config or DptConfig(), settings or TrainSettings()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    run = _Run(config, settings)
    if (out / "checkpoint.pt").is_file():
        run.restore(out / "checkpoint.pt")
    elif start is not None:
        run.begin_with(start)
    weights = out / "weights.safetensors"
    with ThreadPoolExecutor(1) as ahead:  # the next batch is made while this one is learnt from

        def prepare(step: int) -> Any:
            draw = np.random.default_rng([settings.seed, step])
            now = config if run.progress() >= settings.small else _smaller(config)
            return ahead.submit(make_batch, frames, now, Augmentation(), settings.batch, draw)

        coming = prepare(run.step)
        while run.progress() < 1:
            batch, coming = coming.result(), prepare(run.step + 1)
            run.learn(batch)
            if run.step % settings.every == 0 or run.progress() >= 1:
                run.note(check_errors(run.mean.module, check))
                run.save(out / "checkpoint.pt")
                write_text_atomic(out / "log.csv", run.table())
                save_dpt(run.mean.module, weights, half=True)
        coming.cancel()
    if not weights.is_file():
        raise InputError(f"{out}: the run in its checkpoint had already ended; nothing to do")
    return weights


class _Run:
    """The state of a run: network, its running mean, optimizer, step, time and log."""

    def __init__(self, config: DptConfig, settings: TrainSettings) -> None:
        self.settings = settings
        self.net = DptNet(config).train()
        for parameter in self.net.parameters():  # 1.4 times as fast on a CPU
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.mean: Any = torch.optim.swa_utils.AveragedModel(
            self.net,
            multi_avg_fn=_running_mean(settings.average),
            use_buffers=True,
        )
        plain = [p for p in self.net.parameters() if p.ndim <= 1]
        decayed = [p for p in self.net.parameters() if p.ndim > 1]
        groups: list[dict[str, Any]] = [
            {"params": plain, "weight_decay": 0.0},
            {"params": decayed},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate, weight_decay=settings.decay)
        self.step = 0
        self.before = 0.0  # seconds of the runs that this one goes on from
        self.begin = time.monotonic()
        self.rows: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []

    def seconds(self) -> float:
        return self.before + time.monotonic() - self.begin

    def progress(self) -> float:
        if self.settings.steps is not None:
            return self.step / self.settings.steps
        return self.seconds() / (60 * self.settings.minutes)

    def learn(self, batch: Batch) -> None:
        rate = self.settings.rate * _schedule(self.progress())
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bfloat16):
            predicted = self.net(image)
        terms = depth_loss(predicted, batch.depth, self.net.config.depth_range[1])
        if not torch.isfinite(terms["total"]):
            raise RuntimeError(f"the loss is {float(terms['total'])} at step {self.step}")
        self.optimizer.zero_grad(set_to_none=True)
        terms["total"].backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), 5.0)
        self.optimizer.step()
        self.mean.update_parameters(self.net)
        self.step += 1
        self.recent.append({k: float(v.detach()) for k, v in terms.items()} | {"rate": rate})

    def note(self, errors: dict[str, float]) -> None:
        """Add a row to the log."""
        names = self.recent[0]
        means = {k: sum(r[k] for r in self.recent) / len(self.recent) for k in names}
        row = {"step": self.step, "seconds": self.seconds()} | means | errors
        self.rows.append({k: float(f"{v:.5g}") for k, v in row.items()})
        self.recent = []
        print(" ".join(f"{k}={v:g}" for k, v in self.rows[-1].items()), flush=True)

    def table(self) -> str:
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def save(self, path: Path) -> None:
        state = {
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds(),
            "rows": self.rows,
            "config": _plain(asdict(self.net.config)),
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def begin_with(self, path: Path) -> None:
        first = load_dpt(path)
        if first.config != self.net.config:
            raise InputError(f"{path}: made with another configuration: {first.config}")
        self.net.load_state_dict(first.state_dict())
        self.mean.module.load_state_dict(first.state_dict())

    def restore(self, path: Path) -> None:
        state = torch.load(path, weights_only=True)
        if state["config"] != _plain(asdict(self.net.config)):
            raise InputError(f"{path}: made with another configuration: {state['config']}")
        self.net.load_state_dict(state["net"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.before, self.rows = state["step"], state["seconds"], state["rows"]


_Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def _running_mean(keep: float) -> Callable[[_Tensors, _Tensors, torch.Tensor | int], None]:
    """Exponential mean that forgets its start faster, as the first weights are random."""

    @torch.no_grad()
    def update(mean: _Tensors, now: _Tensors, count: torch.Tensor | int) -> None:
        steps = int(count)
        share = min(keep, (1 + steps) / (10 + steps))
        for old, new in zip(mean, now, strict=True):
            if old.is_floating_point():
                old.lerp_(new, 1 - share)
            else:
                old.copy_(new)

    return update


def _smaller(config: DptConfig) -> DptConfig:
    height, width = (max(32, side * 3 // 4 // 32 * 32) for side in config.size)
    return replace(config, size=(height, width))


def _schedule(progress: float) -> float:
    if progress < 0.03:
        return max(progress, 1e-3) / 0.03
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.03) / 0.97)))


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(values))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Train a dpt-timm depth network.")
    parser.add_argument(
        "--frames", type=Path, nargs="+", required=True, help="folders of frames_*.npz"
    )
    parser.add_argument("--check", type=Path, required=True, help="folder of frames to check on")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    parser.add_argument("--start", type=Path, help="weights to begin with, in place of random ones")
    parser.add_argument("--minutes", type=float, default=TrainSettings.minutes)
    parser.add_argument("--steps", type=int, default=None, help="in place of --minutes")
    parser.add_argument("--batch", type=int, default=TrainSettings.batch)
    parser.add_argument("--rate", type=float, default=TrainSettings.rate)
    parser.add_argument("--every", type=int, default=TrainSettings.every)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None, help="frames to load at most")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--backbone", default=DptConfig.backbone, help="timm model")
    parser.add_argument("--channels", type=int, default=DptConfig.channels, help="of the head")
    parser.add_argument("--size", type=int, nargs=2, default=DptConfig.size, metavar=("H", "W"))
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--density", type=float, help="of a transformer's linear layers")
    parser.add_argument("--block", type=int, default=SparsityConfig.block_size, help="of --density")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    height, width = given.size
    sparsity = None if given.density is None else SparsityConfig(given.density, given.block)
    config = DptConfig(
        backbone=given.backbone, channels=given.channels, size=(height, width), sparsity=sparsity
    )
    settings = TrainSettings(
        given.minutes, given.steps, given.batch, given.rate, bfloat16=given.bfloat16,
        every=given.every, seed=given.seed,
    )  # fmt: skip
    frames, check = load_frames(*given.frames, limit=given.limit), load_frames(given.check)
    print(f"{len(frames)} frames, {len(check)} to check on, {settings}, {config}", flush=True)
    print(train(frames, check, given.out, config, settings, given.start))


if __name__ == "__main__":
    main()
