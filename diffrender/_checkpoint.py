"""A training run's state in one safetensors file: all of it or none, and no pickle."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffrender._tensors import read_tensors, write_tensors
from diffrender.errors import InputError

__all__ = [
    "Checkpoint",
    "load_state",
    "moments_of",
    "read_checkpoint",
    "restore_generator",
    "restore_optimizer",
    "write_checkpoint",
]

_KEY = "diffrender.training"
_HEADER = {"identity": str, "step": int, "seconds": float, "rows": list}
_MAX_BYTES = 4 << 30
_MOMENTS = {"step", "exp_avg", "exp_avg_sq"}  # Adam's, of every parameter


@dataclass
class Checkpoint:
    """Attributes:
    identity: what the run is (configuration, settings, data); a run goes on only as itself.
    step: steps done.
    seconds: time spent.
    rows: of the log.
    parts: tensors by part and name: state dicts of networks, moments of optimizers, a generator.
    facts: what else the run needs, as JSON holds it.
    """

    identity: str
    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    parts: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)


def write_checkpoint(path: Path, state: Checkpoint) -> None:
    """Write the state whole or not at all."""
    tensors = {f"{part}.{n}": t for part, held in state.parts.items() for n, t in held.items()}
    # Contiguous copies: a file holds every tensor once, and state dicts may share memory.
    plain = {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}
    header = {name: getattr(state, name) for name in _HEADER}
    write_tensors(path, plain, _KEY, header | ({"facts": state.facts} if state.facts else {}))


def read_checkpoint(
    path: Path, identity: str, parts: Collection[str], earlier: Collection[str] = ()
) -> Checkpoint:
    """The state of an interrupted run with these parts; one without tensors is empty.

    `earlier` are identities that the same run had before identities said more.

    Raises:
        InputError: not such a file, or a run with other settings, configuration or data.
    """
    header, tensors = read_tensors(path, _KEY, _MAX_BYTES, "a readable checkpoint")
    sound = isinstance(header, dict) and set(header) - {"facts"} == set(_HEADER)
    kinds = _HEADER | {"facts": dict}
    if not sound or not all(isinstance(value, kinds[name]) for name, value in header.items()):
        raise InputError(f"{path}: a safetensors file, but not a checkpoint of this package")
    if header["identity"] not in (identity, *earlier):
        raise InputError(
            f"{path} is of a run with other settings or data: {header['identity'][:600]}; give "
            "the same ones to go on with it, or another place to start anew"
        )
    state = Checkpoint(**header, parts={part: {} for part in parts})
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in state.parts:
            raise InputError(f"{path}: unknown tensor '{name}'")
        state.parts[part][rest] = tensor
    return state


def moments_of(optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """What an optimizer remembers: "exp_avg.3" and so on, by the parameter's position."""
    state: Mapping[int, Mapping[str, Any]] = optimizer.state_dict()["state"]
    return {
        f"{name}.{index}": torch.as_tensor(value)
        for index, values in state.items()
        for name, value in values.items()
    }


def restore_optimizer(
    optimizer: torch.optim.Optimizer,
    moments: dict[str, Tensor],
    groups: list[dict[str, Any]] | None = None,
    path: Path | None = None,
) -> None:
    """Give Adam over the same parameters its moments back, and other groups' options.

    Raises:
        InputError: moments of other parameters, or not all of one; `path` is named.
    """
    shapes = [tuple(p.shape) for group in optimizer.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        moment, _, index = name.rpartition(".")
        place = int(index) if index.isdecimal() else -1
        known = moment in _MOMENTS and 0 <= place < len(shapes)
        if not known or tuple(tensor.shape) != (() if moment == "step" else shapes[place]):
            raise _unfit(path, f"'{name}' of shape {tuple(tensor.shape)}")
        state.setdefault(place, {})[moment] = tensor
    for place, held in state.items():  # none at all: a parameter without a gradient so far
        if set(held) != _MOMENTS:
            raise _unfit(path, f"of parameter {place} only {', '.join(sorted(held))}")
    groups = optimizer.state_dict()["param_groups"] if groups is None else groups
    try:
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise _unfit(path, f"its groups: {error}") from error


def restore_generator(generator: torch.Generator, tensors: dict[str, Tensor], path: Path) -> None:
    """Give a generator the state that a part of a checkpoint holds as "state".

    Raises:
        InputError: it is not there, or no state of such a generator.
    """
    if "state" not in tensors:
        raise InputError(f"{path}: holds no state of the generator; delete it to start anew")
    try:
        generator.set_state(tensors["state"])
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"{path}: the generator's state cannot be used ({error}); delete it to start anew"
        ) from error


def _unfit(path: Path | None, found: str) -> InputError:
    return InputError(
        f"{path or 'the checkpoint'}: the moments do not fit the optimizer ({found}); the file is "
        "broken, delete it to start anew"
    )


def load_state(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load a state dict; what does not fit is the file's fault."""
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit the network ({error})") from error
