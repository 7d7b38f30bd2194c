"""Training of the mesh networks: AdamW, checkpoints to go on from, an end that may be put off.

The rate rises, stays, and falls to zero over the last part (warm-up, stable, decay). A checkpoint
of the stable part belongs to runs of any number of steps, so that a run can be made longer.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
from torch import Tensor

from diffrender._checkpoint import (
    Checkpoint,
    load_state,
    moments_of,
    read_checkpoint,
    restore_generator,
    restore_optimizer,
    write_checkpoint,
)
from diffrender._seeds import check_seed
from diffrender._training import is_late, set_rate
from diffrender.errors import InputError
from diffrender.graph.meshes.examples import Example
from diffrender.graph.meshes.network import MeshNetwork, MeshSettings

__all__ = ["Examples", "MeshTrainSettings", "displacement_loss", "train_mesh_network"]

_RISING = 100  # steps


class Examples(Protocol):
    """Where examples come from; a frozen dataclass, since its fields name the run."""

    @property
    def evidence(self) -> int:
        """Inputs of each vertex beyond its geometry."""
        ...

    def draw(self, generator: torch.Generator) -> Example:
        """A new batch."""
        ...


@dataclass(frozen=True)
class MeshTrainSettings:
    """How long and how fast.

    Attributes:
        steps: of AdamW. rate: the highest learning rate. every: steps between checkpoints.
        along: weight of errors along the surface, against 1 for those across it.
        seed: of weights and examples.
    """

    steps: int = 2000
    rate: float = 2e-3
    every: int = 50
    along: float = 0.1
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        if self.steps < 1 or not 0 < self.rate < math.inf or self.every < 1:
            raise InputError(
                f"steps {self.steps}, rate {self.rate}, every {self.every}: expected more than 0"
            )

    @property
    def falling(self) -> int:
        """Steps over which the rate falls to zero."""
        return max(1, self.steps // 5)

    def share(self, step: int) -> float:
        """Of the highest rate, at a step counted from 0."""
        return min((step + 1) / _RISING, 1.0, (self.steps - step) / self.falling)


def displacement_loss(found: Tensor, example: Example, along: float) -> Tensor:  # (N, 3)
    """Mean square error in the noise's deviations: across the surface, and `along` times all."""
    error = (found - example.target) / example.unit
    across = (error * example.normals).sum(1)
    return (across.square() + along * error.square().sum(1)).mean()


def train_mesh_network(
    examples: Examples,
    sizes: MeshSettings,
    settings: MeshTrainSettings,
    checkpoint: Path | None = None,
    until: float | None = None,
    progress: Callable[[int, float], None] | None = None,
) -> MeshNetwork | None:
    """The trained network, or None where `until` came first: the same call then goes on.

    A run that was stopped and goes on ends with the bits of one that was not. A checkpoint from
    before the rate falls also goes on in a run of another number of steps.

    Args:
        examples: what is learned from. sizes: of the network.
        checkpoint: file to go on from and to write to; None keeps none.
        until: time.monotonic() at which to stop after a checkpoint.
        progress: told the step and its loss after every step.

    Raises:
        InputError: sizes that do not fit the examples, a checkpoint of another run, or a loss
            that stops being finite.
    """
    if sizes.evidence != examples.evidence:
        raise InputError(
            f"the network takes {sizes.evidence} inputs of evidence, the examples have "
            f"{examples.evidence}"
        )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(settings.seed)
        net = MeshNetwork(sizes)
    generator = torch.Generator().manual_seed(settings.seed + 1)
    optimizer = torch.optim.AdamW(net.parameters(), settings.rate, weight_decay=1e-4)
    state = Checkpoint(f"mesh network {sizes} {examples} {_fixed(settings)}")
    if checkpoint is not None and checkpoint.is_file():
        state = read_checkpoint(checkpoint, state.identity, ("net", "moments", "generator"))
        load_state(net, state.parts["net"], checkpoint)
        restore_optimizer(optimizer, state.parts["moments"], path=checkpoint)
        restore_generator(generator, state.parts["generator"], checkpoint)
        other = MeshTrainSettings(steps=_steps_of(state, checkpoint))
        if other.steps != settings.steps and state.step > other.steps - other.falling:
            raise InputError(
                f"{checkpoint}: its rate falls already, at step {state.step} of {other.steps}; go "
                f"on with {other.steps} steps or start anew"
            )
    state.facts = {"steps": settings.steps}
    while state.step < settings.steps:
        example = examples.draw(generator)
        loss = displacement_loss(net(example.batch), example, settings.along)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        set_rate(optimizer, settings.rate * settings.share(state.step))
        optimizer.step()
        state.step += 1
        value = float(loss.detach())
        if not value < float("inf"):
            raise InputError(f"the loss is {value} at step {state.step}: lower the rate")
        if progress is not None:
            progress(state.step, value)
        late = is_late(until)
        if checkpoint is not None and (late or state.step % settings.every == 0):
            state.parts = {"net": net.state_dict(), "moments": moments_of(optimizer)}
            state.parts["generator"] = {"state": generator.get_state()}
            write_checkpoint(checkpoint, state)
        if late and state.step < settings.steps:
            return None
    return net.eval().requires_grad_(False)


def _steps_of(state: Checkpoint, path: Path) -> int:
    """How many steps the run had that wrote the checkpoint."""
    steps = state.facts.get("steps")
    if not isinstance(steps, int) or steps < 1:
        raise InputError(
            f"{path}: the steps of its run are {steps!r}, expected a number of at least 1; delete "
            "it to start anew"
        )
    return steps


def _fixed(settings: MeshTrainSettings) -> MeshTrainSettings:
    """What decides the bits of the stable part."""
    return dataclasses.replace(settings, every=1, steps=1)
