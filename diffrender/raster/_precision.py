"""Half precision and autocast: operations compute in float32 at least and return what came."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError

__all__ = ["full_precision", "require_finite", "widen"]


def full_precision(tensor: Tensor) -> torch.autocast:
    """A context in which matrix products on the tensor's device are not narrowed."""
    return torch.autocast(tensor.device.type, enabled=False)


def widen(tensor: Tensor) -> Tensor:
    """float16 and bfloat16 as float32, others as they are."""
    return tensor.float() if tensor.dtype in (torch.float16, torch.bfloat16) else tensor


def require_finite(name: str, tensor: Tensor) -> None:
    """Raise InputError naming the tensor if it holds NaN or infinite values."""
    with torch.no_grad():
        if bool(torch.isfinite(tensor.sum())):  # one pass; a sum may overflow, so look again
            return
        bad = ~torch.isfinite(tensor)
        if bool(bad.any()):
            where = tuple(int(i) for i in bad.nonzero()[0])
            raise InputError(
                f"{name} holds {int(bad.sum())} NaN or infinite values, the first at {where}; "
                f"check the step that made it"
            )
