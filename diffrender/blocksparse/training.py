"""Training with changing masks: drop and grow (RigL), gradual magnitude pruning.

Sources: Evci et al., "Rigging the Lottery", arXiv 1911.11134, section 3 (drop by magnitude, grow
by the dense gradient, cosine-decayed share). Zhu and Gupta, "To prune, or not to prune",
arXiv 1710.01878, equation 1 (cubic schedule).
"""

from __future__ import annotations

import math
from types import TracebackType

import torch
from torch import Tensor, nn

from diffrender.blocksparse._structure import block_energy, largest, stored_blocks
from diffrender.blocksparse.layers import DynamicBlockSparseLinear
from diffrender.errors import InputError, check_shape

__all__ = [
    "GradientWatch",
    "cubic_density",
    "drop_and_grow",
    "prune_",
    "rigl_fraction",
]


class GradientWatch:
    """Dense weight gradients of dynamic layers while it is open, for growing blocks by them.

    Each backward pass under it costs one dense product a layer, so open it only for the steps
    that change masks:

        with GradientWatch(model) as watch:
            loss(model(x)).backward()
        for layer, gradient in watch.gradients.items():
            drop_and_grow(layer, gradient, 0.3, optimizer)

    Layers call it themselves, so that it also sees models that are compiled already (they are
    compiled once more for it; with fullgraph=True torch says that it cannot) and layers whose input
    is given by its name.

    Attributes:
        gradients: for each dynamic layer, (out_features, in_features), summed over its calls.
    """

    def __init__(self, model: nn.Module) -> None:
        self.gradients: dict[DynamicBlockSparseLinear, Tensor] = {}
        self._layers = [m for m in model.modules() if isinstance(m, DynamicBlockSparseLinear)]

    def __enter__(self) -> GradientWatch:
        for layer in self._layers:
            layer.watches += (self._watch,)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for layer in self._layers:
            layer.watches = tuple(w for w in layer.watches if w != self._watch)

    def _watch(self, layer: DynamicBlockSparseLinear, x: Tensor, y: Tensor) -> None:
        if not y.requires_grad:
            return
        x = x.detach()

        def add(dy: Tensor) -> None:
            columns = x.reshape(-1, x.shape[-1]).to(dy.dtype)
            gradient = dy.detach().reshape(-1, dy.shape[-1]).mT @ columns
            before = self.gradients.get(layer)
            self.gradients[layer] = gradient if before is None else before + gradient

        y.register_hook(add)


def drop_and_grow(
    layer: DynamicBlockSparseLinear,
    gradient: Tensor,  # (out_features, in_features)
    fraction: float,
    optimizer: torch.optim.Optimizer | None = None,
) -> int:
    """Drop the weakest blocks, grow as many where the dense gradient is largest (RigL).

    Blocks are dropped by the L2 norm of their values and grown by that of their gradient. A block
    that was just dropped may grow again and then never left. Kept blocks keep their values and the
    optimizer's state; new ones start at zero.

    Args:
        layer: its mask changes in place.
        gradient: dense gradient of the weight, as GradientWatch gathers it.
        fraction: share of the stored blocks to replace, in [0, 1].
        optimizer: whose state moves along.

    Returns:
        How many blocks the new mask has that the old one had not.

    Raises:
        InputError: the gradient does not fit or holds NaN, or fraction is not in [0, 1].
    """
    check_shape("gradient", gradient, layer.out_features, layer.in_features)
    if not 0.0 <= fraction <= 1.0:
        raise InputError(f"fraction is {fraction}, expected a number in [0, 1]")
    before = layer.pattern.current
    count = round(fraction * before.nnz)
    if count == 0:
        return 0
    old = before.mask()
    mask = _strongest(layer, before.nnz - count)
    energy = block_energy(gradient.detach(), before.block_size)
    if bool(energy.isnan().any()):
        raise InputError("gradient holds NaN; skip this step, or lower the learning rate")
    energy[mask] = -1  # already stored
    mask |= largest(energy.flatten(), count).view(mask.shape)
    layer.set_mask(mask, optimizer)
    return int(torch.count_nonzero(mask & ~old))


def prune_(
    layer: DynamicBlockSparseLinear,
    density: float,
    optimizer: torch.optim.Optimizer | None = None,
) -> None:
    """Keep the ceil(density × blocks) strongest blocks of those stored, in place.

    Raises:
        InputError: density is not in [0, 1].
    """
    before = layer.pattern.current
    count = min(stored_blocks(before.grid, density), before.nnz)
    layer.set_mask(_strongest(layer, count), optimizer)


def rigl_fraction(step: int, last: int, first: float = 0.3) -> float:
    """Share of blocks to replace at a step: first / 2 × (1 + cos(π step / last)), 0 afterwards."""
    if last < 1:
        raise InputError(f"last is {last}, expected at least 1 step")
    return first / 2 * (1 + math.cos(math.pi * min(max(step, 0), last) / last))


def cubic_density(step: int, last: int, final: float, first: float = 1.0) -> float:
    """Density at a step of gradual pruning: final + (first - final) (1 - step / last)^3."""
    if last < 1:
        raise InputError(f"last is {last}, expected at least 1 step")
    return final + (first - final) * (1 - min(max(step, 0), last) / last) ** 3


def _strongest(layer: DynamicBlockSparseLinear, count: int) -> Tensor:
    """(m_B, k_B) bool: the stored blocks of largest norm."""
    stored = layer.pattern.current
    values = layer.values.detach()[: stored.nnz]
    energy = block_energy(values.flatten(0, 1), stored.block_size).flatten()
    if bool(energy.isnan().any()):
        raise InputError("the layer's values hold NaN; load an earlier state")
    kept = largest(energy, count)
    mask = torch.zeros(stored.grid, dtype=torch.bool, device=values.device)
    mask[stored.row_indices[kept].long(), stored.column_indices[kept].long()] = True
    return mask
