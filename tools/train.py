"""`diffrender train`: a predictor by rendering, from folders or streets; further networks."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffrender.errors import InputError
from diffrender.tools.console import guarded, note, out
from diffrender.tools.given import check_places, path_of, refuse_empty
from diffrender.tools.inputs import DEFAULT_NETWORK, DepthChoice
from diffrender.tools.train_meshes import mesh_denoiser, mesh_refiner
from diffrender.tools.train_molecules import molecules
from diffrender.tools.train_options import Out, Pause, Tensorboard, board_ready, deadline
from diffrender.tools.train_sources import kitti_frames

if TYPE_CHECKING:
    from diffrender.predict import FrameSource, Group

__all__ = ["train"]

train = typer.Typer(help="Learn networks of this package.", no_args_is_help=True)
train.command("mesh-denoiser")(mesh_denoiser)
train.command("mesh-refiner")(mesh_refiner)


@train.callback()
def _group() -> None:
    """Learn networks of this package."""


@train.command()
@guarded
def predictor(
    out_dir: Out,
    kitti: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT",
            parser=path_of("--kitti"),
            help="Learn from a folder in KITTI's layout.",
        ),
    ] = None,
    split: Annotated[str, typer.Option(help="Split of --kitti.")] = "training",
    listing: Annotated[
        str | None, typer.Option("--list", metavar="NAME", help="Split list, such as train.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Masks of --kitti; left out, instance_2 or 2D boxes.")
    ] = None,
    depth: Annotated[
        str,
        typer.Option(
            metavar="SOURCE",
            help="Depth of --kitti: a folder of maps such as depth_2, a network, lidar or none.",
        ),
    ] = DEFAULT_NETWORK,
    depth_weights: Annotated[
        str | None, typer.Option(metavar="FILE", help="Weights of the depth network.")
    ] = None,
    streets: Annotated[
        int | None, typer.Option(help="Learn from so many synthetic streets instead.")
    ] = None,
    samples: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of("--samples"),
            help="Where samples are kept; DIR/samples.",
        ),
    ] = None,
    backbone: Annotated[str, typer.Option(help="timm model with strides 8 and 16.")] = "resnet10t",
    hypotheses: Annotated[int, typer.Option(help="Yaw bins, each with its own head.")] = 8,
    density: Annotated[
        float | None, typer.Option(help="Density of block-sparse heads; left out, dense.")
    ] = None,
    prior: Annotated[str, typer.Option(metavar="NAME_OR_FILE", help="Shape prior.")] = "car",
    steps: Annotated[int, typer.Option(help="Gradient steps.")] = 4000,
    batch: Annotated[int, typer.Option(help="Objects a step, over all processes.")] = 32,
    rate: Annotated[float, typer.Option(help="Learning rate.")] = 1e-3,
    every: Annotated[int, typer.Option(help="Steps between checkpoints.")] = 200,
    seed: Annotated[int, typer.Option(help="Of weights, batches and streets' order.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    pause_after: Pause = None,
    tensorboard: Tensorboard = False,
) -> None:
    """Train the predictor for `reconstruct --init predictor`; no 3D label is read.

    Interrupted at any moment, the same command goes on from the last checkpoint. Several processes:
    torchrun --nproc-per-node 2 -m diffrender.tools.train predictor ...
    """
    from diffrender._backbones import timm_with
    from diffrender.blocksparse import SparsityConfig
    from diffrender.predict import (
        PredictorConfig,
        PredictorNet,
        SampleSettings,
        Trainer,
        TrainSettings,
        left_out,
        load_samples,
        prepare,
        split_shards,
    )
    from diffrender.shape_priors import load_prior

    refuse_empty(
        {"--split": split, "--list": listing, "--masks": masks, "--depth": depth,
         "--depth-weights": depth_weights, "--backbone": backbone, "--prior": prior,
         "--device": device}
    )  # fmt: skip
    board_ready(tensorboard)
    timm_with(backbone)  # an unknown one is refused before samples are made
    until = deadline(pause_after)
    source = _source(kitti, split, listing, masks, DepthChoice(depth, depth_weights), streets)
    shape = load_prior(prior)
    config = PredictorConfig(
        backbone=backbone,
        hypotheses=hypotheses,
        latent_size=shape.latent_size,
        parts=len(shape.part_names),
        sparsity=None if density is None else SparsityConfig(density),
    )
    settings = TrainSettings(steps=steps, batch=batch, rate=rate, every=every, seed=seed)
    check_places({}, [out_dir, samples])
    PredictorNet(config)  # a backbone without the strides is refused before samples are made
    folder = samples or out_dir / "samples"
    wanted = SampleSettings(size=config.size)
    with _group_of(device) as group:
        chief = group.rank == 0
        ready = prepare(source, folder, wanted, share=(group.rank, group.count), until=until)
        if not _all(ready, group):
            if chief:
                out().print("paused while samples are made: the same command goes on")
            return
        shards = load_samples(source, folder, wanted)
        learned, checked = split_shards(shards, settings.check)
        if chief:
            _say_left_out(left_out(source, folder, wanted))
            _say(f"{len(learned)} objects to learn from, {len(checked)} to check on")
        trainer = Trainer(
            (learned, checked), out_dir, config, settings, shape, group,
            board=tensorboard, source=source.description,
        )  # fmt: skip
        if trainer.done and chief:
            _say("the run in its checkpoint had already ended")
        finished = trainer.run(until, _report if chief else None)
        if not chief:
            return
        if finished:
            out().print(f"wrote {trainer.weights}", markup=False, soft_wrap=True)
        else:
            out().print(f"paused at step {trainer.state.step} of {steps}: the same command goes on")


def _source(
    kitti: Path | None,
    split: str,
    listing: str | None,
    masks: str | None,
    depth: DepthChoice,
    streets: int | None,
) -> FrameSource:
    from diffrender.predict import StreetFrames

    if (kitti is None) == (streets is None):
        raise InputError("give either --kitti ROOT or --streets N to learn from")
    if kitti is not None:
        return kitti_frames(kitti, split, listing, masks, depth)
    assert streets is not None
    named = {"--list": listing, "--masks": masks, "--depth-weights": depth.weights}
    idle = [option for option, value in named.items() if value is not None]
    if depth.source != DepthChoice().source:
        idle.append("--depth")
    if idle:
        raise InputError(f"{idle[0]} goes with --kitti: streets have their own masks and depth")
    if streets < 1:
        raise InputError(f"--streets is {streets}, expected at least 1")
    return StreetFrames(streets)


@contextlib.contextmanager
def _group_of(device: str) -> Iterator[Group]:
    """This process alone, or among those that torchrun started."""
    from diffrender.depth.model import pick_device
    from diffrender.predict import Group

    count = int(os.environ.get("WORLD_SIZE", "1"))
    if count == 1:
        pick_device(device)
        yield Group(device=device)
        return
    import torch

    rank = int(os.environ["RANK"])
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}" if device == "cuda" else device
    pick_device(own)
    torch.distributed.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield Group(rank, count, own)
        torch.distributed.barrier()  # who left first would cut the connections of the others
    finally:
        torch.distributed.destroy_process_group()


def _all(ready: bool, group: Group) -> bool:
    """Whether every process is ready; waits for all of them."""
    if group.count == 1:
        return ready
    import torch

    flag = torch.tensor(float(ready), device=group.device)
    torch.distributed.all_reduce(flag, torch.distributed.ReduceOp.MIN)
    return bool(flag)


def _say(text: str) -> None:
    note().print(text, markup=False)


def _say_left_out(reasons: list[str]) -> None:
    for reason in reasons[:10]:
        _say(f"left out: {reason}")
    if len(reasons) > 10:
        _say(f"... and {len(reasons) - 10} more")


def _report(row: dict[str, float]) -> None:
    names = ("objective", "silhouette", "depth", "student", "check_believed", "check_best")
    parts = [f"step {row['step']:g}", f"{row['seconds']:.0f} s"]
    _say("  ".join(parts + [f"{name} {row[name]:.4g}" for name in names]))


train.command()(molecules)


if __name__ == "__main__":
    train()
