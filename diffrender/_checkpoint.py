"""A training run's state in one safetensors file: all of it or none, and no pickle."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from diffrender._tensors import read_tensors, write_tensors
from diffrender.errors import InputError

__all__ = ["Checkpoint", "load_state", "read_checkpoint", "restore_optimizer", "write_checkpoint"]

_KEY = "diffrender.training"
_MAX_BYTES = 4 << 30


@dataclass
class Checkpoint:
    """Attributes:
    identity: what the run is (configuration, settings, data); a run goes on only as itself.
    step: steps done.
    seconds: time spent.
    rows: of the log.
    net, mean: state dicts of the network and of its running mean.
    moments: of the optimizer, "exp_avg.3" and so on, by parameter's position.
    """

    identity: str
    step: int = 0
    seconds: float = 0.0
    rows: list[dict[str, float]] = field(default_factory=list)
    net: dict[str, Tensor] = field(default_factory=dict)
    mean: dict[str, Tensor] = field(default_factory=dict)
    moments: dict[str, Tensor] = field(default_factory=dict)


def write_checkpoint(
    path: Path,
    state: Checkpoint,
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the state whole or not at all; the moments are taken from the optimizer."""
    tensors = {f"net.{n}": t for n, t in state.net.items()}
    tensors |= {f"mean.{n}": t for n, t in state.mean.items()}
    for index, values in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{n}.{index}": torch.as_tensor(v) for n, v in values.items()}
    # Contiguous copies: a file holds every tensor once, and state dicts may share memory.
    plain = {n: t.detach().cpu().clone().contiguous() for n, t in tensors.items()}
    header = {
        "identity": state.identity,
        "step": state.step,
        "seconds": state.seconds,
        "rows": state.rows,
    }
    write_tensors(path, plain, _KEY, header)


def read_checkpoint(path: Path, identity: str) -> Checkpoint:
    """The state of an interrupted run.

    Raises:
        InputError: not such a file, or a run with other settings, configuration or data.
    """
    header, tensors = read_tensors(path, _KEY, _MAX_BYTES, "a readable checkpoint")
    if not isinstance(header, dict) or set(header) != {"identity", "step", "seconds", "rows"}:
        raise InputError(f"{path}: a safetensors file, but not a checkpoint of this package")
    if header["identity"] != identity:
        raise InputError(
            f"{path} is of a run with other settings: {str(header['identity'])[:600]}; give the "
            "same ones to go on with it, or name another folder with --out"
        )
    state = Checkpoint(identity, int(header["step"]), float(header["seconds"]), header["rows"])
    for name, tensor in tensors.items():
        part, _, rest = name.partition(".")
        if part not in ("net", "mean", "moments"):
            raise InputError(f"{path}: unknown tensor '{name}'")
        getattr(state, part)[rest] = tensor
    return state


def restore_optimizer(optimizer: torch.optim.Optimizer, moments: dict[str, Tensor]) -> None:
    """Give an optimizer over the same parameters its moments back."""
    saved = optimizer.state_dict()
    state: dict[int, dict[str, Tensor]] = {}
    for name, tensor in moments.items():
        moment, _, index = name.rpartition(".")
        state.setdefault(int(index), {})[moment] = tensor
    saved["state"] = state
    optimizer.load_state_dict(saved)


def load_state(net: nn.Module, tensors: dict[str, Tensor], path: Path) -> None:
    """Load a state dict; what does not fit is the file's fault."""
    try:
        net.load_state_dict(tensors)
    except RuntimeError as error:
        raise InputError(f"{path}: does not fit the network ({error})") from error
