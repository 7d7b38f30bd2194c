"""The device that a network runs on, by name."""

from __future__ import annotations

import torch

from diffrender.errors import InputError

__all__ = ["pick_device"]


def pick_device(device: str | torch.device) -> torch.device:
    """The device by name, or InputError where this torch cannot use it."""
    try:
        chosen = torch.device(device)
    except (RuntimeError, TypeError) as error:
        raise InputError(f"device is {device!r}, expected 'cpu', 'cuda' or 'cuda:N'") from error
    if chosen.type == "cuda" and not torch.cuda.is_available():
        raise InputError(
            f"device is {device!r}, but this torch ({torch.__version__}) sees no CUDA device; "
            "use device='cpu' or install a CUDA build of torch"
        )
    return chosen
