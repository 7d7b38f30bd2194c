"""Train a `dpt-timm` network: `python -m diffrender.depth.train --help`.

How the shipped weights (assets/dpt_street.*) were made is in docs/depth.md, with the commands.
An interrupted run goes on from OUT/checkpoint.pt, with the frames that there are by then.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._backbones import classifier_colours
from diffrender._commands import run_module
from diffrender._files import write_text_atomic
from diffrender._recolour import Augmentation
from diffrender._training import keep_freed_memory
from diffrender.blocksparse import SparsityConfig
from diffrender.depth.dpt import DptConfig
from diffrender.depth.dpt_timm import load_dpt, save_dpt
from diffrender.depth.train_check import check_errors
from diffrender.depth.train_data import FrameSet, load_frames, make_batch
from diffrender.depth.train_loss import LossWeights
from diffrender.depth.train_run import Run, TrainSettings
from diffrender.errors import InputError
from diffrender.road import CAMERA_HEIGHT

__all__ = ["TrainSettings", "train"]


def train(
    frames: FrameSet,
    check: FrameSet,
    out: Path,
    config: DptConfig | None = None,
    settings: TrainSettings | None = None,
    start: Path | None = None,
    backbone: Path | None = None,
) -> Path:
    """Train, or go on with `out`/checkpoint.pt; returns `out`/weights.safetensors.

    `out`/log.csv gets a row every `settings.every` steps with the loss and the errors on `check`.
    A new run begins with the weights of `start`, a file of `save_dpt` that may have looked at
    another size, or with random ones and the backbone of `backbone`, a classifier's weights
    (`load_backbone`). Given again with `out`, they have to be those that the run began with.

    Raises:
        InputError: `start` or the checkpoint is of another configuration or broken, the
            checkpoint's run began with other weights, or both `start` and `backbone` are given.
    """
    if start is not None and backbone is not None:
        raise InputError(
            "start and backbone are both given, expected weights of the whole or of it"
        )
    config, settings = config or DptConfig(), settings or TrainSettings()
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(settings.seed)
    run = Run(config, settings)
    if start is not None:
        run.begin_with(start)
    elif backbone is not None:
        run.begin_with_backbone(backbone)
    if (out / "checkpoint.pt").is_file():
        run.restore(out / "checkpoint.pt")
    weights = out / "weights.safetensors"
    with ThreadPoolExecutor(1) as ahead:  # the next batch is made while this one is learnt from

        def prepare(step: int) -> Any:
            draw = np.random.default_rng([settings.seed, step])
            now = config if run.progress(step) >= settings.small else _smaller(config)
            return ahead.submit(make_batch, frames, now, Augmentation(), settings.batch, draw)

        coming = prepare(run.step)
        while run.progress() < 1:
            batch, coming = coming.result(), prepare(run.step + 1)
            run.learn(batch)
            if run.step % settings.every == 0 or run.progress() >= 1:
                run.note(check_errors(run.mean.module, check))
                write_text_atomic(out / "log.csv", run.table())
                save_dpt(run.mean.module, weights, half=True)
                run.save(out / "checkpoint.pt")  # last: it is what counts
        coming.cancel()
    if not weights.is_file():  # of a run that had ended
        save_dpt(run.mean.module, weights, half=True)
    return weights


def _smaller(config: DptConfig) -> DptConfig:
    height, width = (max(32, side * 3 // 4 // 32 * 32) for side in config.size)
    return replace(config, size=(height, width))


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Train a dpt-timm depth network.")
    parser.add_argument(
        "--frames", type=Path, nargs="+", required=True, help="folders of frames_*.npz"
    )
    parser.add_argument("--check", type=Path, required=True, help="folder of frames to check on")
    parser.add_argument("--out", type=Path, required=True, help="folder for weights and log")
    begin = parser.add_mutually_exclusive_group()
    begin.add_argument(
        "--start", type=Path,
        help="weights to begin with, in place of random ones: of this network, whatever their size",
    )  # fmt: skip
    begin.add_argument(
        "--start-backbone", type=Path, help="a classifier's weights to begin the backbone with"
    )
    parser.add_argument("--backbone-rate", type=float, default=TrainSettings.backbone_rate)
    parser.add_argument("--frozen-norm", action="store_true", help="keep the batch statistics")
    parser.add_argument("--minutes", type=float, default=TrainSettings.minutes)
    parser.add_argument("--steps", type=int, default=None, help="in place of --minutes")
    parser.add_argument("--batch", type=int, default=TrainSettings.batch)
    parser.add_argument("--rate", type=float, default=TrainSettings.rate)
    parser.add_argument(
        "--small", type=float, default=TrainSettings.small, help="share at 3/4 of the size"
    )
    parser.add_argument(
        "--object", type=float, default=LossWeights.object, help="weight of the vehicles' errors"
    )
    parser.add_argument("--every", type=int, default=TrainSettings.every)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--limit", type=int, default=None, help="frames to load at most")
    parser.add_argument("--threads", type=int, default=1, help="of torch")
    parser.add_argument("--backbone", default=DptConfig.backbone, help="timm model")
    parser.add_argument("--channels", type=int, default=DptConfig.channels, help="of the head")
    parser.add_argument("--size", type=int, nargs=2, default=DptConfig.size, metavar=("H", "W"))
    parser.add_argument(
        "--heights", choices=["input", "unit"],
        help="of the camera above the road, to be told afterwards: an input of the network, or "
        "the unit of its depth",
    )  # fmt: skip
    parser.add_argument("--bfloat16", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--density", type=float, help="of a transformer's linear layers")
    parser.add_argument("--block", type=int, default=SparsityConfig.block_size, help="of --density")
    given = parser.parse_args(arguments)
    torch.set_num_threads(given.threads)
    keep_freed_memory()
    height, width = given.size
    sparsity = None if given.density is None else SparsityConfig(given.density, given.block)
    begun = DptConfig() if given.start is None else load_dpt(given.start).config
    config = replace(
        begun, backbone=given.backbone, channels=given.channels, size=(height, width),
        sparsity=sparsity,
    )  # fmt: skip
    if given.heights == "input":
        config = replace(config, height_input=True)
    if given.heights == "unit" and begun.reference_height is None:
        config = replace(config, reference_height=CAMERA_HEIGHT)
    if given.start_backbone is not None:
        mean, std = classifier_colours(given.backbone)
        config = replace(config, mean=mean, std=std)
    settings = TrainSettings(
        given.minutes, given.steps, given.batch, given.rate, small=given.small,
        bfloat16=given.bfloat16, every=given.every, seed=given.seed,
        backbone_rate=given.backbone_rate, frozen_norm=given.frozen_norm,
        weights=LossWeights(object=given.object),
    )  # fmt: skip
    frames, check = load_frames(*given.frames, limit=given.limit), load_frames(given.check)
    print(f"{len(frames)} frames, {len(check)} to check on, {settings}, {config}", flush=True)
    print(train(frames, check, given.out, config, settings, given.start, given.start_backbone))


if __name__ == "__main__":
    run_module(main)
