"""What all training runs do: draws from (seed, number) alone, and a folder that a run goes on from.

A run whose draws follow from its seed and step needs no random state to go on with the same bits.
"""

from __future__ import annotations

import ctypes
import hashlib
import math
import sys
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from diffrender._checkpoint import (
    Checkpoint,
    load_state,
    moments_of,
    read_checkpoint,
    restore_optimizer,
    write_checkpoint,
)
from diffrender._logs import Board, write_csv
from diffrender._tensors import ARRAY_ERRORS, check_members
from diffrender.errors import InputError

__all__ = [
    "Report",
    "RunFolder",
    "backbone_groups",
    "check_finite",
    "epoch_places",
    "freeze_norm",
    "is_late",
    "keep_freed_memory",
    "one_cosine",
    "read_arrays",
    "rising_share",
    "running_mean",
    "set_rate",
    "set_shared_rate",
    "tensors_digest",
    "training_files",
    "weights_digest",
]

Report = Callable[[dict[str, float]], None]  # told every row of the log


def is_late(until: float | None) -> bool:
    """Whether `until`, a `time.monotonic()`, has come; None never does."""
    return until is not None and time.monotonic() >= until


def keep_freed_memory() -> bool:
    """Have the C library keep what is freed for the next step; False where that cannot be asked.

    glibc gives blocks beyond 32 MB back at once, and the system clears their pages anew at every
    step: a fifth of the time of a depth network's training, at a third more memory.
    """
    if not sys.platform.startswith("linux"):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    trim_threshold, mmap_threshold, most = -1, -3, 2**31 - 1  # names and numbers of malloc.h
    return bool(mallopt(mmap_threshold, most)) and bool(mallopt(trim_threshold, most))


def training_files(folders: Sequence[Path], pattern: str, maker: str) -> list[Path]:
    """The files of that pattern, folder by folder; `maker` is the module that makes such folders.

    Raises:
        InputError: a folder holds none.
    """
    found: list[Path] = []
    for folder in folders:
        some = sorted(folder.glob(pattern))
        if not some:
            raise InputError(
                f"{folder}: no {pattern}; make some with `python -m {maker} --out FOLDER`"
            )
        found += some
    return found


def read_arrays(
    path: Path, names: Collection[str], optional: Collection[str] = ()
) -> dict[str, np.ndarray]:
    """The arrays of those names in an .npz file, `optional` ones if there; nothing in it is run.

    Raises:
        InputError: not such a file, a broken one, or one that lacks a name or holds no numbers.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            missing = set(names) - set(arrays.files)
            if missing:
                raise InputError(f"{path}: holds {arrays.files}, expected {', '.join(names)}")
            there = [name for name in optional if name in arrays.files]
            check_members(arrays.zip, {*names, *there}, path.stat().st_size)
            found = {name: arrays[name] for name in [*names, *there]}
    except InputError:
        raise
    except ARRAY_ERRORS as error:
        raise InputError(f"{path}: not a readable .npz file ({error}); make it again") from error
    for name, array in found.items():
        if array.dtype.kind not in "buif":
            raise InputError(f"{path}: '{name}' is {array.dtype}, expected numbers")
    return found


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give all parameters of an optimizer one learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate


def backbone_groups(net: nn.Module, decay: float, share: float) -> list[dict[str, Any]]:
    """Parameters by whether they decay and how fast they learn: `net.backbone` at a share."""
    backbone = {id(p) for p in net.get_submodule("backbone").parameters()}
    return [
        {
            "params": [
                p
                for p in net.parameters()
                if (id(p) in backbone) is inside and (p.ndim > 1) is decayed
            ],
            "share": share if inside else 1.0,
            "weight_decay": decay if decayed else 0.0,
        }
        for inside in (True, False)
        for decayed in (False, True)
    ]


def rising_share(steps: int) -> float:
    """Of a `OneCycleLR` over so many steps: a tenth. torch divides by the rising steps less one."""
    return 0.2 if steps == 10 else 0.1


def set_shared_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Give the groups of `backbone_groups` their shares of a learning rate."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group["share"]


def check_finite(loss: Tensor, step: int) -> None:
    """Raise RuntimeError for a loss that is NaN or infinite."""
    if not torch.isfinite(loss):
        raise RuntimeError(f"the loss is {float(loss.detach())} at step {step}")


def epoch_places(
    count: int, batch: int, step: int, order: Callable[[int], torch.Generator]
) -> Tensor:
    """(batch,) places of a step among `count`: every epoch is a permutation, run without gaps.

    `order` gives an epoch's generator.
    """
    found: list[Tensor] = []
    place, wanted = step * batch, batch
    while wanted:
        epoch, start = divmod(place, count)
        some = torch.randperm(count, generator=order(epoch))[start : start + wanted]
        found.append(some)
        place, wanted = place + len(some), wanted - len(some)
    return torch.cat(found)


def freeze_norm(module: nn.Module) -> None:
    """Keep the batch statistics of a module that is otherwise in training."""
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.eval()


_Tensors = tuple[torch.Tensor, ...] | list[torch.Tensor]


def running_mean(keep: float) -> Callable[[_Tensors, _Tensors, torch.Tensor | int], None]:
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


def one_cosine(progress: float) -> float:
    """Share of the highest learning rate: warm-up of 3 %, then a cosine to 1 %."""
    if progress < 0.03:
        return max(progress, 1e-3) / 0.03
    return 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, (progress - 0.03) / 0.97)))


def weights_digest(net: nn.Module) -> str:
    """A name for a network's tensors: a run that began with others is another run."""
    return tensors_digest(net.state_dict())


def tensors_digest(tensors: Mapping[str, Tensor]) -> str:
    """16 hexadecimal digits of tensors, to the bit, and of their names."""
    total = hashlib.sha256()
    for name, tensor in sorted(tensors.items()):
        total.update(name.encode())
        flat = tensor.detach().cpu().contiguous().reshape(-1)
        total.update(flat.view(torch.uint8).numpy().tobytes())
    return total.hexdigest()[:16]


class RunFolder:
    """Checkpoint, log and events of a run; what the checkpoint holds is loaded here.

    FOLDER/checkpoint.safetensors, FOLDER/log.csv and, with `board`, TensorBoard events under
    FOLDER/board.

    Args:
        folder: of the run.
        identity: what the run is; it goes on only as itself.
        nets: networks by their name in the checkpoint. optimizer: of the one that learns.
        board: write events.

    Raises:
        InputError: the folder holds another run.
        MissingExtraError: `board` without TensorBoard.
    """

    def __init__(
        self,
        folder: Path,
        identity: str,
        nets: Mapping[str, nn.Module],
        optimizer: torch.optim.Optimizer,
        *,
        board: bool,
    ) -> None:
        self.folder, self.state = folder, Checkpoint(identity)
        self._nets, self._optimizer = nets, optimizer
        self._recent: list[dict[str, float]] = []
        if self.checkpoint.is_file():
            self.state = read_checkpoint(self.checkpoint, identity, (*nets, "moments"))
            for name, net in nets.items():
                load_state(net, self.state.parts[name], self.checkpoint)
            restore_optimizer(optimizer, self.state.parts["moments"], path=self.checkpoint)
        self._board = Board(folder / "board", self.state.step) if board else None

    @property
    def checkpoint(self) -> Path:
        """The file that the run goes on from."""
        return self.folder / "checkpoint.safetensors"

    def count(self, values: dict[str, float]) -> None:
        """One step is done; `values` are what the log averages."""
        self.state.step += 1
        self._recent.append(values)

    def means(self) -> dict[str, float]:
        """Means over the steps since the last call."""
        recent, self._recent = self._recent, []
        return {name: sum(row[name] for row in recent) / len(recent) for name in recent[0]}

    def save(self, row: dict[str, float], digits: int, report: Report | None) -> None:
        """Add a row, rounded; write log, then checkpoint, which is what counts; tell the row."""
        row = {name: float(f"{value:.{digits}g}") for name, value in row.items()}
        self.state.rows.append(row)
        self.state.parts = {name: net.state_dict() for name, net in self._nets.items()}
        self.state.parts["moments"] = moments_of(self._optimizer)
        write_csv(self.folder / "log.csv", self.state.rows)
        write_checkpoint(self.checkpoint, self.state)
        if self._board is not None:
            self._board.write(row)
        if report is not None:
            report(row)

    def close(self) -> None:
        """Close the events; nothing may be saved after that."""
        if self._board is not None:
            self._board.close()
