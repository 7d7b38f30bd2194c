"""Train a mesh auto-encoder: points of a surface to a latent, a latent to the template's vertices.

First the decoder, which starts as principal components (see `decoder`), together with a linear
encoder over vertices; then, the decoder held, the encoder over points, which is kept.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffrender._checkpoint import (
    Checkpoint,
    load_state,
    moments_of,
    read_checkpoint,
    restore_generator,
    restore_optimizer,
    write_checkpoint,
)
from diffrender._training import rising_share, tensors_digest
from diffrender.errors import InputError, check_shape
from diffrender.shape_priors.autoencoder_settings import AutoencoderSettings, TrainingReport
from diffrender.shape_priors.decoder import ShapeDecoder
from diffrender.shape_priors.decoder_training import (
    ShapeAutoencoder,
    mask_step,
    standardise,
    start_at_components,
)
from diffrender.shape_priors.pca import principal_components
from diffrender.shape_priors.point_encoder import PointEncoder, surface_points

__all__ = ["train_point_autoencoder"]


def train_point_autoencoder(
    shapes: Tensor,  # (N, V, 3)
    topology: tuple[Tensor, Tensor],  # (F, 3), (V,)
    axis_weights: Tensor,  # (3,)
    settings: AutoencoderSettings,
    generator: torch.Generator,
    checkpoint: Path | None = None,
    progress: Callable[[TrainingReport], None] | None = None,
) -> tuple[ShapeDecoder, PointEncoder]:
    """Fit a decoder and an encoder over points; the latents of the set get unit variance.

    Args:
        shapes: (N, V, 3) symmetric, in the unit box.
        topology: faces (F, 3), and the vertex on the other side of each vertex (V,).
        axis_weights: (3,) metres per unit along x, y, z; errors are in metres.
        settings: sizes, steps, rates.
        generator: of weights, masks, batches, points. With a checkpoint that exists its state
            is taken from there: a resumed run ends with the bits of one that was not stopped.
        checkpoint: file to go on from and to write to, every `settings.checkpoint_every` steps
            and at the end; None keeps none.
        progress: called after every step.

    Raises:
        InputError: the shapes do not fit, the checkpoint is another run's, or the loss stops
            being finite.
    """
    check_shape("shapes", shapes, None, None, 3)
    if not bool(torch.isfinite(shapes).all()):
        raise InputError("shapes hold coordinates that are not finite; leave those meshes out")
    faces, mirror = topology
    shapes = shapes.float()
    run = _Run(shapes, faces, mirror, axis_weights.float(), settings, generator)
    if checkpoint is not None and checkpoint.is_file():
        run.load(checkpoint)
    began, first = time.perf_counter(), run.step
    total = settings.steps + settings.encoder_steps
    while run.step < total:
        loss = run.advance()
        if progress is not None:
            rate = (run.step - first) / max(time.perf_counter() - began, 1e-9)
            progress(TrainingReport(run.step, total, loss, rate))
        last = run.step == total
        if checkpoint is not None and (last or run.step % settings.checkpoint_every == 0):
            run.save(checkpoint)
    return run.finish()


class _Phase:
    """An optimizer and its learning rate over one of the two trainings."""

    def __init__(
        self, groups: list[tuple[list[nn.Parameter], float]], steps: int, rate: float
    ) -> None:
        listed = [{"params": params, "weight_decay": decay} for params, decay in groups]
        self.optimizer = torch.optim.AdamW(listed, rate, fused=True)
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimizer, rate, total_steps=steps + 1, pct_start=rising_share(steps + 1)
        )

    def step(self) -> None:
        self.optimizer.step()
        self.schedule.step()

    def facts(self) -> dict[str, Any]:
        """What a checkpoint keeps beside the moments: rates and momenta move by the schedule."""
        groups = self.optimizer.state_dict()["param_groups"]
        return {"groups": groups, "schedule": self.schedule.state_dict()}

    def load(self, moments: dict[str, Tensor], facts: Any, path: Path) -> None:
        kinds = {"groups": list, "schedule": dict}
        given = facts if isinstance(facts, dict) else {}
        if not all(isinstance(given.get(name), kind) for name, kind in kinds.items()):
            raise InputError(
                f"{path}: holds no options and schedule of its optimizers; delete it to start anew"
            )
        restore_optimizer(self.optimizer, moments, facts["groups"], path)
        self.schedule.load_state_dict(facts["schedule"])


class _Run:
    """All that changes while an auto-encoder is trained."""

    def __init__(
        self,
        shapes: Tensor,
        faces: Tensor,
        mirror: Tensor,
        axis_weights: Tensor,
        settings: AutoencoderSettings,
        generator: torch.Generator,
    ) -> None:
        self.shapes, self.faces, self.weights = shapes, faces, axis_weights
        self.mirror = mirror
        self.settings, self.generator, self.step = settings, generator, 0
        mean, basis, _ = principal_components(shapes, settings.latent_size, axis_weights)
        self.pair: ShapeAutoencoder = start_at_components(
            (mean.float(), basis.float()), mirror, axis_weights, settings.decoder, generator
        )
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(int(torch.randint(2**31, (1,), generator=generator)))
            self.encoder = PointEncoder(settings.latent_size, settings.encoder_width)
        self.net = nn.ModuleDict({"pair": self.pair, "encoder": self.encoder})
        network = list(self.pair.decoder.network.parameters())
        others = [p for p in self.pair.parameters() if all(p is not q for q in network)]
        self.pair_phase = _Phase(
            [(network, settings.weight_decay), (others, 0.0)],
            settings.steps,
            settings.learning_rate,
        )
        self.encoder_phase = _Phase(
            [(list(self.encoder.parameters()), 0.0)],
            settings.encoder_steps,
            settings.encoder_rate,
        )

    def advance(self) -> float:
        """One step; returns its loss."""
        batch, leads = self._batch(), self.step < self.settings.steps
        loss = self._lead(batch) if leads else self._read(batch)
        if not loss < float("inf"):
            raise InputError(f"the loss is {loss} at step {self.step}: lower learning_rate")
        (self.pair_phase if leads else self.encoder_phase).step()
        self.step += 1
        return loss

    def _lead(self, batch: Tensor) -> float:
        """Gradients of decoder and linear encoder."""

        def loss_of() -> Tensor:
            return ((self.pair(batch) - batch) * self.weights).square().mean()

        optimizer = self.pair_phase.optimizer
        optimizer.zero_grad()
        settings, last = self.settings, (3 * self.settings.steps) // 4
        if 0 < self.step <= last and self.step % settings.mask_interval == 0:
            share = (self.step, last, settings.drop_fraction)
            loss = mask_step(self.pair.decoder, loss_of, share, optimizer)
        else:
            loss = loss_of()
            loss.backward()
        return float(loss.detach())

    def _read(self, batch: Tensor) -> float:
        """Gradients of the encoder over points."""
        points = surface_points(
            batch, self.faces, self.settings.points, self.generator, self.weights
        )
        with torch.no_grad():
            led = self.pair.encode(batch)
        self.encoder_phase.optimizer.zero_grad()
        read = self.encoder(points)
        error = ((self.pair.decoder(read) - batch) * self.weights).square().mean()
        # The linear encoder's latents are the smoother aim at first.
        (error + 1e-2 * (read - led).square().mean()).backward()
        return float(error.detach())

    def _batch(self) -> Tensor:
        count, g = self.settings.batch, self.generator
        first = self.shapes[torch.randint(len(self.shapes), (count,), generator=g)]
        other = self.shapes[torch.randint(len(self.shapes), (count,), generator=g)]
        share = torch.rand(count, 1, 1, generator=g)
        blended = torch.rand(count, 1, 1, generator=g) < self.settings.mix
        return torch.where(blended, self.pair.decoder.symmetry.fitted(
            first.lerp(other, share)), first)  # fmt: skip

    def finish(self) -> tuple[ShapeDecoder, PointEncoder]:
        with torch.no_grad():
            mean, deviation = standardise(self.pair, self.shapes)
            last = self.encoder.head[-1]
            assert isinstance(last, nn.Linear)
            last.weight.div_(deviation[:, None])
            last.bias.copy_((last.bias - mean) / deviation)
        self.net.requires_grad_(False)
        return self.pair.decoder.eval(), self.encoder.eval()

    def save(self, path: Path) -> None:
        state = Checkpoint(self._what(), self.step)
        state.parts = {
            "net": self.net.state_dict(),
            "generator": {"state": self.generator.get_state()},
            "pair": moments_of(self.pair_phase.optimizer),
            "encoder": moments_of(self.encoder_phase.optimizer),
        }
        state.facts = {"pair": self.pair_phase.facts(), "encoder": self.encoder_phase.facts()}
        write_checkpoint(path, state)

    def load(self, path: Path) -> None:
        parts = ("net", "generator", "pair", "encoder")
        state = read_checkpoint(path, self._what(), parts, (self._of_data(), self._summary()))
        self.step = state.step
        load_state(self.net, state.parts["net"], path)
        for name, phase in (("pair", self.pair_phase), ("encoder", self.encoder_phase)):
            phase.load(state.parts[name], state.facts.get(name), path)
        restore_generator(self.generator, state.parts["generator"], path)

    def _what(self) -> str:
        """What a checkpoint must agree with: settings, seed, and what is trained on, to the bit."""
        return f"{self._of_data()} seed {self.generator.initial_seed()}"

    def _of_data(self) -> str:
        """Settings, and what is trained on, to the bit."""
        data = {"shapes": self.shapes, "faces": self.faces, "mirror": self.mirror}
        return f"{self._summary()} {tensors_digest(data | {'weights': self.weights})}"

    def _summary(self) -> str:
        """Settings, and the shapes by their sum."""
        plain = dataclasses.asdict(self.settings)
        total = float(self.shapes.double().abs().sum())
        return f"autoencoder {sorted(plain.items())} of {tuple(self.shapes.shape)} {total:.6f}"
