"""Which blocks a mask keeps, by the C++ kernels; the twins are in `_structure`."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.blocksparse._native_kernels import DTYPES, check_status, kernel
from diffrender.blocksparse.native_lists import available
from diffrender.native import kernel_threads

__all__ = ["can_choose", "can_weigh", "energy", "strongest"]

_WEIGHED = (torch.float32, torch.bfloat16, torch.float16)  # their squares fit a double


def can_weigh(weight: Tensor) -> bool:
    """Whether `energy` takes it."""
    return weight.device.type == "cpu" and weight.dtype in _WEIGHED and available()


def energy(weight: Tensor, block_size: tuple[int, int]) -> Tensor:  # (m, k)
    """(m_B, k_B) sums of squares, float64."""
    weight, (rows, columns) = weight.contiguous(), block_size
    m, k = weight.shape
    found = torch.empty(m // rows, k // columns, dtype=torch.float64, device="cpu")
    if found.numel() == 0:
        return found
    check_status(
        kernel("energy", "piiiiiip")(
            weight.data_ptr(),
            DTYPES[weight.dtype],
            m,
            k,
            rows,
            columns,
            kernel_threads(),
            found.data_ptr(),
        )
    )
    return found


def can_choose(scores: Tensor) -> bool:
    """Whether `strongest` takes them."""
    return scores.device.type == "cpu" and scores.dtype == torch.float32 and available()


def strongest(scores: Tensor, count: int) -> Tensor:  # (N,)
    """(N,) bool: the `count` >= 1 largest of float32 scores, of equal ones the first."""
    scores = scores.contiguous()
    chosen = torch.empty(scores.shape, dtype=torch.bool, device="cpu")
    check_status(
        kernel("strongest", "piiip")(
            scores.data_ptr(), len(scores), count, kernel_threads(), chosen.data_ptr()
        )
    )
    return chosen
