"""The state of a training run of a `dpt-timm` network, and its settings."""

from __future__ import annotations

import csv
import io
import json
import time
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from diffrender._backbones import load_backbone
from diffrender._files import atomic_path
from diffrender._seeds import check_seed
from diffrender._training import (
    backbone_groups,
    freeze_norm,
    one_cosine,
    running_mean,
    set_shared_rate,
    weights_digest,
)
from diffrender.depth.dpt import DptConfig, DptNet
from diffrender.depth.dpt_timm import load_dpt
from diffrender.depth.train_data import Batch
from diffrender.depth.train_loss import LossWeights, depth_loss
from diffrender.errors import InputError

__all__ = ["Run", "TrainSettings"]


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
        backbone_rate: share of the rate at which the backbone learns; less than 1 keeps more of
            what a pretrained one knows of photographs.
        frozen_norm: keep the backbone's batch statistics, which are those of photographs, and do
            not take the synthetic pictures'.
        weights: of the terms of the loss.
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
    backbone_rate: float = 1.0
    frozen_norm: bool = False
    weights: LossWeights = field(default_factory=LossWeights)

    def __post_init__(self) -> None:
        check_seed(self.seed)
        positive = (
            self.minutes, self.batch, self.rate, self.every, self.steps or 1, self.backbone_rate
        )  # fmt: skip
        shares = 0 <= self.average < 1 and 0 <= self.small <= 1
        if min(positive) <= 0 or not shares:
            raise InputError(
                f"{self}: expected positive numbers, average in [0, 1) and small in [0, 1]"
            )


class Run:
    """The state of a run: network, its running mean, optimizer, step, time and log."""

    def __init__(self, config: DptConfig, settings: TrainSettings) -> None:
        self.settings = settings
        self.net = DptNet(config).train()
        for parameter in self.net.parameters():  # 1.4 times as fast on a CPU
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.mean: Any = torch.optim.swa_utils.AveragedModel(
            self.net,
            multi_avg_fn=running_mean(settings.average),
            use_buffers=True,
        )
        self.optimizer = torch.optim.AdamW(
            backbone_groups(self.net, settings.decay, settings.backbone_rate), lr=settings.rate
        )
        self.begun: str | None = None  # the weights that it began with, where they were given
        self.step = 0
        self.before = 0.0  # seconds of the runs that this one goes on from
        self.begin = time.monotonic()
        self.rows: list[dict[str, float]] = []
        self.recent: list[dict[str, float]] = []

    def seconds(self) -> float:
        """Time spent, with the runs before."""
        return self.before + time.monotonic() - self.begin

    def progress(self, step: int | None = None) -> float:
        """Share of the run that is over, or will be at a step; the clock tells no step."""
        if self.settings.steps is not None:
            return (self.step if step is None else step) / self.settings.steps
        return self.seconds() / (60 * self.settings.minutes)

    def learn(self, batch: Batch) -> None:
        """One step."""
        rate = self.settings.rate * one_cosine(self.progress())
        set_shared_rate(self.optimizer, rate)
        if self.settings.frozen_norm:
            freeze_norm(self.net.backbone)
        image = batch.image.contiguous(memory_format=torch.channels_last)
        with torch.autocast("cpu", torch.bfloat16, enabled=self.settings.bfloat16):
            predicted = self.net(image, batch.height)
        far = self.net.config.depth_range[1]
        terms = depth_loss(predicted, batch.depth, batch.owner, far, self.settings.weights)
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
        """The log as CSV."""
        text = io.StringIO()
        writer = csv.DictWriter(text, fieldnames=list(self.rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(self.rows)
        return text.getvalue()

    def save(self, path: Path) -> None:
        """Write all that `restore` needs; the file appears whole or not at all."""
        state = {
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds(),
            "rows": self.rows,
            "config": _plain(asdict(self.net.config)),
            "settings": _identity(self.settings),
            "begun": self.begun,
        }
        with atomic_path(path) as temporary:
            torch.save(state, temporary)

    def begin_with(self, path: Path) -> None:
        """Take the weights of a file of `save_dpt`, whatever the size that it looked at.

        One that was not told the camera's height may become one that is.
        """
        first, mine = load_dpt(path), self.net.config
        may_differ: dict[str, Any] = {"size": mine.size}
        if first.config.reference_height is None:  # it then means the same at the reference's
            may_differ["reference_height"] = mine.reference_height
        if not first.config.height_input:  # what is told changes nothing yet
            may_differ["height_input"] = mine.height_input
        if replace(first.config, **may_differ) != mine:
            raise InputError(f"{path}: made with another configuration: {first.config}")
        state = self.net.state_dict() | first.state_dict()
        self.net.load_state_dict(state)
        self.mean.module.load_state_dict(state)
        self.begun = weights_digest(self.net)

    def begin_with_backbone(self, path: Path) -> None:
        """Take the backbone's weights out of a classifier's file."""
        load_backbone(self.net.backbone, self.net.config.backbone, path)
        self.mean.module.load_state_dict(self.net.state_dict())
        self.begun = weights_digest(self.net.backbone)

    def restore(self, path: Path) -> None:
        """Go on from a file of `save`; rates and decays are those of these settings.

        Raises:
            InputError: not such a file, a broken one, or one of another configuration or of another
                seed, batch, share of small pictures, average or choice of batch statistics, or of a
                run that began with other weights than this one.
        """
        state = _read(path)
        before = {"reference_height": None, "height_input": False}  # runs then do not say
        config = before | state["config"]
        if config != _plain(asdict(self.net.config)):
            raise InputError(f"{path}: made with another configuration: {state['config']}")
        mine, theirs = _identity(self.settings), state["settings"]
        if mine != theirs:
            raise InputError(
                f"{path} is of a run with other settings: {theirs}, now {mine}; give the same ones "
                "to go on with it, or another --out to start anew"
            )
        if self.begun is not None and state.get("begun") != self.begun:
            raise InputError(
                f"{path} is of a run that began with other weights; give the same ones to go on "
                "with it, or another --out to start anew"
            )
        self.begun = state.get("begun")
        groups = self.optimizer.state_dict()["param_groups"]
        try:
            self.net.load_state_dict(state["net"])
            self.mean.load_state_dict(state["mean"])
            moments = state["optimizer"]["state"]
            self.optimizer.load_state_dict({"state": moments, "param_groups": groups})
        except (AttributeError, KeyError, RuntimeError, TypeError, ValueError) as error:
            raise InputError(f"{path}: does not fit the network ({error})") from error
        self.step, self.before, self.rows = state["step"], state["seconds"], state["rows"]


_KEPT = ("seed", "batch", "small", "average", "frozen_norm")


def _identity(settings: TrainSettings) -> dict[str, Any]:
    """What a run keeps to its end; rates, decay, length, precision and weights may change."""
    return {name: getattr(settings, name) for name in _KEPT}


def _read(path: Path) -> dict[str, Any]:
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch raises what it likes on a broken file
        said = " ".join(str(error).split())[:160]
        raise InputError(
            f"{path}: not a readable checkpoint ({said}); delete it to start anew"
        ) from error
    kinds = {
        "net": dict, "mean": dict, "optimizer": dict, "step": int, "seconds": float, "rows": list,
        "config": dict, "settings": dict,
    }  # fmt: skip
    known = isinstance(state, dict)
    if not known or not all(isinstance(state.get(name), kind) for name, kind in kinds.items()):
        raise InputError(f"{path}: not a checkpoint of this training; delete it to start anew")
    return state


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    """As JSON gives it back."""
    return json.loads(json.dumps(values))
