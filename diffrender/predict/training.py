"""Train a predictor by rendering: steps, checkpoints, log. No pose, size or yaw is read."""

from __future__ import annotations

import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffrender._checkpoint import Checkpoint
from diffrender._training import Report, RunFolder, check_finite, is_late, set_rate
from diffrender.errors import InputError
from diffrender.losses import Loss
from diffrender.native import small_tensors
from diffrender.predict.batches import altered, indices_of
from diffrender.predict.config import PredictorConfig
from diffrender.predict.decode import decode
from diffrender.predict.files import config_text, save_predictor
from diffrender.predict.hindsight import all_losses, hindsight
from diffrender.predict.inputs import network_inputs
from diffrender.predict.network import PredictorNet
from diffrender.predict.samples import Samples
from diffrender.predict.settings import Group, TrainSettings
from diffrender.reconstruct import DepthNoise, ReconstructSettings, objective
from diffrender.road import Road
from diffrender.shape_priors import ShapePrior

__all__ = ["Trainer", "check_losses", "split_shards", "training_loss"]


def training_loss(prior: ShapePrior) -> Loss:
    """The optimizer's objective with its photometric term, for samples of mixed depth noise."""
    return objective(
        ReconstructSettings(), DepthNoise(scale=0.03), tuple(prior.part_names), Road()
    )(True)


def split_shards(shards: list[Samples], check: int) -> tuple[Samples, Samples]:
    """Objects to learn from, and whole last shards with about `check` objects to check on.

    Raises:
        InputError: fewer than two shards.
    """
    if len(shards) < 2:
        raise InputError(
            f"{sum(map(len, shards))} objects in one file of samples: too few frames to set some "
            "aside, expected more than 8 frames with usable objects"
        )
    aside = 1
    while aside < len(shards) // 4 and sum(map(len, shards[-aside:])) < check:
        aside += 1
    return Samples.join(shards[:-aside]), Samples.join(shards[-aside:])


class Trainer:
    """A run in a folder; an interrupted one goes on from its last checkpoint, to the same end.

    OUT/checkpoint.safetensors, OUT/log.csv, OUT/predictor.safetensors and, if asked for,
    TensorBoard events under OUT/board. On one process and one device a run that was killed ends
    with the same bits as one that was not.

    Args:
        samples, check: what to learn from and what to check on; see `split_shards`.
        out: the run's folder.
        config, settings: of network and training.
        prior: shape prior, with the latents and parts that `config` says; the weights' file says
            which one it was.
        group: this process among several that `torch.distributed` connects.
        board: write TensorBoard events.
        source: what the samples are, kept in the checkpoint: a run goes on only with the same.

    Raises:
        InputError: prior and configuration do not fit, the batch does not divide by the processes,
            or the folder holds another run.
        MissingExtraError: `board` without TensorBoard.
    """

    def __init__(
        self,
        samples: tuple[Samples, Samples],
        out: Path,
        config: PredictorConfig,
        settings: TrainSettings,
        prior: ShapePrior,
        group: Group | None = None,
        *,
        board: bool = False,
        source: str = "",
    ) -> None:
        group = group or Group()
        _check(config, settings, prior, group)
        config = dataclasses.replace(config, prior=prior.digest())
        self.out, self.settings, self.group = out, settings, group
        self.samples, self.check = samples
        self.prior = prior.to(group.device)
        self.loss = training_loss(prior)
        torch.manual_seed(settings.seed)
        self.net = PredictorNet(config).to(group.device).train()
        for parameter in self.net.parameters():  # faster convolutions on a CPU
            if parameter.ndim == 4:
                parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
        self.mean = PredictorNet(config).to(group.device).eval()
        self.mean.load_state_dict(self.net.state_dict())
        flat = [p for p in self.net.parameters() if p.ndim <= 1]
        deep = [p for p in self.net.parameters() if p.ndim > 1]
        groups: list[dict[str, Any]] = [
            {"params": flat, "weight_decay": 0.0},
            {"params": deep, "weight_decay": settings.decay},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=settings.rate)
        self._run = RunFolder(
            out,
            self._identity(source, len(self.samples), len(self.check)),
            {"net": self.net, "mean": self.mean},
            self.optimizer,
            board=board and group.rank == 0,
        )
        self.see: nn.Module = self.net
        if group.count > 1:
            from torch.nn.parallel import DistributedDataParallel

            self.see = DistributedDataParallel(self.net)

    @property
    def state(self) -> Checkpoint:
        """Steps, seconds and rows so far."""
        return self._run.state

    @property
    def checkpoint(self) -> Path:
        return self._run.checkpoint

    @property
    def weights(self) -> Path:
        return self.out / "predictor.safetensors"

    @property
    def done(self) -> bool:
        return self.state.step >= self.settings.steps

    def run(self, until: float | None = None, report: Report | None = None) -> bool:
        """Train to the end; True when it is reached.

        Args:
            until: `time.monotonic()` after which the run stops at a checkpoint; the same call goes
                on from there.
            report: called with every row of the log.

        Raises:
            RuntimeError: the loss is not finite.
        """
        settings, begin = self.settings, time.monotonic() - self.state.seconds
        if self.done and self.group.rank == 0 and not self.weights.is_file():
            save_predictor(self.mean, self.weights, half=True)  # of a run that had ended
        while not self.done:
            with small_tensors():
                self._run.count(self._step(self.state.step))
            late = self._late(until)
            if self.state.step % settings.every == 0 or self.done or late:
                self.state.seconds = time.monotonic() - begin
                self._save(report)
            if late:
                break
        self._run.close()
        return self.done

    def _step(self, step: int) -> dict[str, float]:
        """One gradient step; returns what the log averages."""
        settings, group = self.settings, self.group
        rate = settings.rate_at(step)
        set_rate(self.optimizer, rate)
        index = indices_of(len(self.samples), settings.batch, step, settings.seed)
        plain, seen = altered(self.samples[index], step, settings.seed)
        mine = torch.arange(group.rank, settings.batch, group.count)
        plain, seen = plain[mine].to(group.device), seen[mine].to(group.device)
        inputs = network_inputs(seen)
        planes = inputs.planes.contiguous(memory_format=torch.channels_last)
        raw = self.see(planes, inputs.boxes, inputs.scalars)
        prediction = decode(raw, inputs, seen, self.net.config)
        value = hindsight(self.prior, plain, prediction, self.loss, settings.hindsight)
        check_finite(value.total, step)
        self.optimizer.zero_grad(set_to_none=True)
        value.total.backward()
        for parameter in self.net.parameters():
            if parameter.grad is not None:  # a car that fills its window may have wild edges
                torch.nan_to_num_(parameter.grad, nan=0.0, posinf=0.0, neginf=0.0)
        nn.utils.clip_grad_norm_(self.net.parameters(), 20.0)
        self.optimizer.step()
        self._average(step)
        row = {"rate": rate, "total": float(value.total.detach())}
        return row | {name: float(term) for name, term in value.terms.items()}

    @torch.no_grad()
    def _average(self, step: int) -> None:
        keep = min(self.settings.average, (1 + step) / (10 + step))
        now = self.net.state_dict()
        for name, old in self.mean.state_dict().items():
            if old.is_floating_point():
                old.lerp_(now[name], 1 - keep)
            else:
                old.copy_(now[name])

    def _late(self, until: float | None) -> bool:
        late = is_late(until)
        if self.group.count > 1:  # the processes stop together
            flag = torch.tensor(float(late), device=self.group.device)
            torch.distributed.broadcast(flag, 0)
            late = bool(flag)
        return late

    def _save(self, report: Report | None) -> None:
        """Weights and a row of the log, then the checkpoint, which is what counts."""
        means = self._run.means()
        if self.group.rank != 0:
            return
        errors = check_losses(self.mean, self.check.to(self.group.device), self.prior, self.loss)
        save_predictor(self.mean, self.weights, half=True)
        row = {"step": float(self.state.step), "seconds": self.state.seconds} | means | errors
        self._run.save(row, 5, report)

    def _identity(self, source: str, learned: int, checked: int) -> str:
        plain = dataclasses.asdict(self.settings)
        config = json.loads(config_text(self.net.config))
        prior = config.pop("prior")
        parts = [config, plain, self.group.count, source, learned, checked, prior]
        return json.dumps(parts, sort_keys=True)


def check_losses(
    net: PredictorNet, samples: Samples, prior: ShapePrior, loss: Loss
) -> dict[str, float]:
    """Mean objective on objects that were not learned from, at half resolution.

    "check_believed": of the hypothesis that the student believes in; "check_best": of the best of
    K; "check_agreed": share of objects where these are one. The means are of log(1 + x), turned
    back, so that they are not those of a few objects.
    """
    was_training = net.training
    net.eval()
    rows: list[Tensor] = []
    with torch.no_grad(), small_tensors():
        for start in range(0, len(samples), 64):
            some = samples[torch.arange(start, min(start + 64, len(samples)))]
            inputs = network_inputs(some)
            prediction = decode(net.see(inputs), inputs, some, net.config)
            losses = all_losses(prior, some.halved(), prediction.hypotheses, loss)
            picked = prediction.belief.argmax(1)
            chosen = losses.gather(1, picked[:, None])[:, 0]
            agreed = (picked == losses.argmin(1)).to(losses)
            low = losses.min(1).values
            rows.append(
                torch.stack([chosen.clamp(min=0).log1p(), low.clamp(min=0).log1p(), agreed])
            )
    net.train(was_training)
    believed, best, agreed_share = torch.cat(rows, dim=1).mean(dim=1)
    return {
        "check_believed": float(believed.expm1()),
        "check_best": float(best.expm1()),
        "check_agreed": float(agreed_share),
    }


def _check(
    config: PredictorConfig, settings: TrainSettings, prior: ShapePrior, group: Group
) -> None:
    if config.latent_size != prior.latent_size or config.parts != len(prior.part_names):
        raise InputError(
            f"the prior '{prior.name}' has {prior.latent_size} latents and "
            f"{len(prior.part_names)} parts, the configuration {config.latent_size} and "
            f"{config.parts}: give PredictorConfig the prior's"
        )
    if settings.batch % group.count or settings.batch // group.count < 2:
        raise InputError(
            f"a batch of {settings.batch} over {group.count} processes: expected a multiple of "
            "them, at least 2 for each"
        )
