"""What moves along when a mask changes: whatever is kept for each block, to its new place."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffrender.errors import InputError

__all__ = ["carry", "state_by_block"]


def state_by_block(optimizer: torch.optim.Optimizer, values: nn.Parameter) -> list[Tensor]:
    """What an optimizer remembers of `values`, a row for each block; raises InputError else."""
    found: list[Tensor] = []
    # LBFGS remembers all parameters in one vector, and that with the first of them.
    flat = isinstance(optimizer, torch.optim.LBFGS) and bool(optimizer.state)
    for state in optimizer.state.get(values, {}).values():
        if not isinstance(state, Tensor) or state.dim() == 0 or state.numel() == 1 < values.numel():
            continue  # counts of steps and the like
        if state.dim() >= 2 and state.shape[0] == values.shape[0]:
            found.append(state)
        elif state.numel():
            flat = True
            break
    if flat:
        raise InputError(
            f"{type(optimizer).__name__} remembers what does not lie block by block, so it cannot "
            "follow a mask; change masks without passing it, and start it anew afterwards"
        )
    return found


def carry(tensor: Tensor, moves: Tensor) -> None:  # (slots, b_m, b_k), (slots,)
    """Put each block's entries where the new mask wants them; -1 becomes zero."""
    kept = moves >= 0
    stay = tensor.index_select(0, moves[kept])
    tensor.zero_()
    tensor[kept] = stay
