"""Checkpoints of trainings: whole or absent, tied to their run, read without unpickling code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from diffrender._files import atomic_path
from diffrender.errors import InputError

__all__ = ["load_checkpoint", "save_checkpoint"]

_FORMAT = "diffrender-training-1"
_LARGEST_FILE = 2 * 2**30  # bytes


def save_checkpoint(path: Path, what: str, step: int, state: dict[str, Any]) -> None:
    """Write the state of a run. `what` names the run, for `load_checkpoint` to compare."""
    with atomic_path(path) as temporary:
        torch.save({"format": _FORMAT, "what": what, "step": step, "state": state}, temporary)


def load_checkpoint(path: Path, what: str) -> tuple[int, dict[str, Any]]:
    """Steps done and the state of a run.

    Raises:
        InputError: the file is no checkpoint, or one of a run with other settings or data.
    """
    if path.stat().st_size > _LARGEST_FILE:
        raise InputError(f"{path}: larger than {_LARGEST_FILE} bytes, no checkpoint of ours")
    try:
        raw = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, OSError, ValueError) as error:
        raise InputError(f"{path}: not a readable checkpoint ({str(error)[:120]})") from error
    keys = {"format": str, "what": str, "step": int, "state": dict}
    sound = isinstance(raw, dict) and all(isinstance(raw.get(k), t) for k, t in keys.items())
    if not sound or raw["format"] != _FORMAT:
        raise InputError(f"{path}: not a checkpoint of a training of ours")
    if raw["what"] != what:
        raise InputError(
            f"{path}: the checkpoint is of a run with other settings or data; name another file, "
            "or delete this one to start anew"
        )
    return raw["step"], raw["state"]
