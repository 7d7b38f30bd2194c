"""The three named passes of a block-sparse layer, without autograd: plan, then run.

forward is y = W x, grad_input is dx = W^T dy, grad_weight is dW = dy x^T at W's blocks (the names
of PopSparse's dynamic API). Arguments are taken as they are: `spmm` and
`sddmm` check them.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from diffrender.blocksparse.backends import products
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.blocksparse.plan import plan_for

__all__ = ["forward", "grad_input", "grad_weight", "own_dtypes"]


def forward(
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    x: Tensor,  # (..., k, n) or (..., n, k)
    *,
    features_last: bool = False,
    backend: str | None = None,
) -> Tensor:
    """y = W x, in x's dtype and layout."""
    plan = plan_for(pattern, "forward", x, features_last, backend)
    with own_dtypes(x):
        return products(plan.backend).multiply(
            pattern, values, x, transpose=False, features_last=features_last, plan=plan.kernel
        )


def grad_input(
    pattern: BlockPattern,
    values: Tensor,  # (nnz, b_m, b_k)
    dy: Tensor,  # (..., m, n) or (..., n, m)
    *,
    features_last: bool = False,
    backend: str | None = None,
) -> Tensor:
    """dx = W^T dy, in dy's dtype and layout."""
    plan = plan_for(pattern, "grad_input", dy, features_last, backend)
    with own_dtypes(dy):
        return products(plan.backend).multiply(
            pattern, values, dy, transpose=True, features_last=features_last, plan=plan.kernel
        )


def grad_weight(
    pattern: BlockPattern,
    dy: Tensor,  # (..., m, n) or (..., n, m)
    x: Tensor,  # (..., k, n) or (..., n, k)
    *,
    features_last: bool = False,
    backend: str | None = None,
) -> Tensor:
    """dW at the stored blocks, (nnz, b_m, b_k) in x's dtype."""
    plan = plan_for(pattern, "grad_weight", x, features_last, backend)
    with own_dtypes(x):
        return products(plan.backend).block_outer(
            pattern, dy, x, features_last=features_last, plan=plan.kernel
        )


_NOTHING: AbstractContextManager[None] = nullcontext()


def own_dtypes(x: Tensor) -> AbstractContextManager[None]:
    """Autocast has had its say: inside, half precision is summed in float32."""
    kind = x.device.type
    return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else _NOTHING
