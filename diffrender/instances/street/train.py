"""Train a street segmenter: `python -m diffrender.instances.street.train --help`.

How the shipped weights were made is in docs/segmenters.md, with the commands. An interrupted run
goes on from OUT/checkpoint.safetensors.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from diffrender._backbones import classifier_colours, load_backbone
from diffrender._commands import run_module
from diffrender._seeds import check_seed, stream
from diffrender._training import (
    RunFolder,
    backbone_groups,
    check_finite,
    epoch_places,
    freeze_norm,
    keep_freed_memory,
    one_cosine,
    running_mean,
    set_shared_rate,
    weights_digest,
)
from diffrender.errors import InputError
from diffrender.instances.street.check import check_street
from diffrender.instances.street.files import load_street, save_street
from diffrender.instances.street.network import StreetConfig, StreetNet
from diffrender.instances.street.train_data import OwnedSet, load_owned, make_street_batch
from diffrender.instances.street.train_loss import street_loss

__all__ = ["StreetTrainSettings", "train_street", "untrained_street"]


@dataclass(frozen=True)
class StreetTrainSettings:
    """Settings of a run.

    Attributes:
        steps, batch: of the training.
        size: (height, width) of the crops, multiples of 32.
        scale: pixels of a crop per pixel of the frame, (low, high).
        rate, decay: highest learning rate (AdamW, warm-up of 3 %, cosine to 1 %), weight decay.
        backbone_rate: share of the rate at which the backbone learns; its batch statistics stay.
        average: share that each step keeps of the running mean of the weights, which is written.
        every: steps between two rows of the log (and checkpoints).
        bfloat16: compute in bfloat16 where autocast does.
        seed: of the initial weights and of every batch.
    """

    steps: int = 3000
    batch: int = 8
    size: tuple[int, int] = (224, 736)
    scale: tuple[float, float] = (0.6, 1.35)
    rate: float = 1.5e-3
    decay: float = 0.02
    backbone_rate: float = 0.25
    average: float = 0.998
    every: int = 100
    bfloat16: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        positive = (self.steps, self.batch, self.rate, self.every, self.backbone_rate)
        whole = all(32 <= side <= 4096 and side % 32 == 0 for side in self.size)
        if min(positive) <= 0 or not 0 <= self.average < 1 or not whole:
            raise InputError(
                f"{self}: expected positive numbers, average in [0, 1), sides multiples of 32"
            )
        if not 0 < self.scale[0] <= self.scale[1]:
            raise InputError(f"scale is {self.scale}, expected 0 < low <= high")


def untrained_street(config: StreetConfig, backbone: Path, seed: int = 0) -> StreetNet:
    """A network to begin with: random weights over a classifier's.

    Raises:
        InputError: weights of another model.
    """
    torch.manual_seed(seed)
    net = StreetNet(config)
    load_backbone(net.backbone, config.backbone, backbone)
    return net


def train_street(
    net: StreetNet,
    frames: OwnedSet,
    check: OwnedSet,
    out: Path,
    settings: StreetTrainSettings | None = None,
) -> Path:
    """Train `net` in place, or go on with `out`; returns `out`/weights.safetensors.

    Raises:
        InputError: a run in `out` of other settings, or one that began with other weights.
    """
    settings = settings or StreetTrainSettings()
    net.train().requires_grad_(True)
    for parameter in net.parameters():  # 1.4 times as fast on a CPU
        if parameter.ndim == 4:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    mean: Any = torch.optim.swa_utils.AveragedModel(
        net, multi_avg_fn=running_mean(settings.average), use_buffers=True
    )
    optimizer = torch.optim.AdamW(
        backbone_groups(net, settings.decay, settings.backbone_rate), settings.rate
    )
    who = {"config": asdict(net.config), "settings": asdict(settings), "frames": len(frames)}
    who |= {"begun": weights_digest(net)}
    out.mkdir(parents=True, exist_ok=True)
    nets: dict[str, nn.Module] = {"net": net, "mean": mean}
    run = RunFolder(out, json.dumps(who), nets, optimizer, board=False)
    with ThreadPoolExecutor(1) as ahead:  # the next batch is made while this one is learnt from

        def prepare(step: int) -> Any:
            places = epoch_places(
                len(frames), settings.batch, step, lambda epoch: stream(settings.seed, epoch)
            )
            draw = np.random.default_rng([settings.seed, step])
            return ahead.submit(
                make_street_batch, frames, settings.size, settings.scale, places.numpy(), draw
            )

        coming = prepare(run.state.step)
        while run.state.step < settings.steps:
            batch, coming = coming.result(), prepare(run.state.step + 1)
            run.count(_learn(net, mean, optimizer, batch, run.state.step, settings))
            if run.state.step % settings.every == 0 or run.state.step == settings.steps:
                errors = check_street(mean.module.eval(), check)
                save_street(mean.module, out / "weights.safetensors", half=True)
                run.save({"step": run.state.step} | run.means() | errors, 5, _tell)
        coming.cancel()
    weights = out / "weights.safetensors"
    if not weights.is_file():  # of a run that had ended
        save_street(mean.module, weights, half=True)
    return weights


def _learn(
    net: StreetNet,
    mean: Any,
    optimizer: torch.optim.Optimizer,
    batch: Any,
    step: int,
    settings: StreetTrainSettings,
) -> dict[str, float]:
    rate = settings.rate * one_cosine(step / settings.steps)
    set_shared_rate(optimizer, rate)
    freeze_norm(net.backbone)
    image = batch[0].contiguous(memory_format=torch.channels_last)
    with torch.autocast("cpu", torch.bfloat16, enabled=settings.bfloat16):
        maps = net(image)
    terms = street_loss(maps, batch[1])
    check_finite(terms["total"], step)
    optimizer.zero_grad(set_to_none=True)
    terms["total"].backward()  # type: ignore[no-untyped-call]
    nn.utils.clip_grad_norm_(net.parameters(), 5.0)
    optimizer.step()
    mean.update_parameters(net)
    return {name: float(value.detach()) for name, value in terms.items()} | {"rate": rate}


def _tell(row: dict[str, float]) -> None:
    print(" ".join(f"{name}={value:g}" for name, value in row.items()), flush=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Train a street segmenter.")
    parser.add_argument(
        "--frames", type=Path, nargs="+", required=True, help="folders of frames_*.npz"
    )
    parser.add_argument("--check", type=Path, required=True, help="folder of frames to check on")
    begin = parser.add_mutually_exclusive_group(required=True)
    begin.add_argument("--start", type=Path, help="a street segmenter to go on with")
    begin.add_argument("--backbone", type=Path, help="a classifier's weights to begin over")
    parser.add_argument("--model", help=f"timm's name of it (default: {StreetConfig.backbone})")
    parser.add_argument("--channels", type=int, help=f"(default: {StreetConfig.channels})")
    parser.add_argument("--steps", type=int, default=StreetTrainSettings.steps)
    parser.add_argument("--batch", type=int, default=StreetTrainSettings.batch)
    parser.add_argument("--rate", type=float, default=StreetTrainSettings.rate)
    parser.add_argument("--every", type=int, default=StreetTrainSettings.every)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--no-bfloat16", action="store_true")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    given = parser.parse_args(arguments)
    if given.start is not None and (given.model or given.channels):
        parser.error("--model and --channels are those of the network that --start names")
    keep_freed_memory()
    if given.threads is not None:
        torch.set_num_threads(given.threads)
    net = load_street(given.start) if given.start is not None else _beginning(given)
    settings = StreetTrainSettings(
        given.steps, given.batch, rate=given.rate, every=given.every,
        bfloat16=not given.no_bfloat16, seed=given.seed,
    )  # fmt: skip
    frames, check = load_owned(*given.frames), load_owned(given.check)
    print(train_street(net, frames, check, given.out, settings))


def _beginning(given: argparse.Namespace) -> StreetNet:
    model = given.model or StreetConfig.backbone
    mean, std = classifier_colours(model)
    config = StreetConfig(model, given.channels or StreetConfig.channels, mean=mean, std=std)
    return untrained_street(config, given.backbone, given.seed)


if __name__ == "__main__":
    run_module(main)
