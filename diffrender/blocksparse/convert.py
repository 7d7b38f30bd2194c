"""Linear layers of any model to block-sparse ones and back, by magnitude and in place."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import torch
from torch import nn

from diffrender.blocksparse._structure import check_sizes
from diffrender.blocksparse.config import SparsityConfig
from diffrender.blocksparse.layers import (
    BlockSparseLinear,
    DynamicBlockSparseLinear,
    SparseLinear,
)
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.errors import InputError

__all__ = ["Conversion", "densify_", "linear", "sparsify_"]


@dataclass(frozen=True)
class Conversion:
    """What a conversion did.

    Attributes:
        converted: names of the layers that were replaced.
        left: names of layers that could have been and stay as they are, and why.
    """

    converted: tuple[str, ...]
    left: dict[str, str] = field(default_factory=dict)


def linear(
    in_features: int,
    out_features: int,
    sparsity: SparsityConfig | None,
    bias: bool = True,
    *,
    device: torch.device | str | None = None,
    dtype: torch.dtype | None = None,
) -> nn.Module:
    """nn.Linear where `sparsity` is None, else the block-sparse layer that it asks for.

    Raises:
        InputError: the features are not multiples of the block size.
    """
    if sparsity is None:
        return nn.Linear(in_features, out_features, bias, device=device, dtype=dtype)
    kind = BlockSparseLinear if sparsity.mode == "static" else DynamicBlockSparseLinear
    return kind(in_features, out_features, sparsity, bias, device=device, dtype=dtype)


def sparsify_(
    model: nn.Module,
    config: SparsityConfig,
    where: Callable[[str, nn.Linear], bool] | None = None,
) -> Conversion:
    """Replace a model's nn.Linear layers by block-sparse ones, in place.

    Each keeps the blocks of largest L2 norm, its bias, device, dtype and mode. Subclasses of
    nn.Linear are left alone, such as the output projection of nn.MultiheadAttention, whose weight
    is read past the layer. So are layers of which a copy would lose something: parameters shared
    with another module, hooks, a weight that weight_norm, spectral_norm or pruning computes.
    Optimizers made before hold the old parameters.

    Args:
        model: changed in place.
        config: for every converted layer.
        where: takes a layer's name and the layer, and says whether to convert it. By default all
            whose features are multiples of the block size are converted.

    Returns:
        The names of what was converted, and of what was left dense with the reason.

    Raises:
        InputError: `where` chose a layer that the block size does not divide, the model itself is
            the layer, or weights are on "meta" and have no values yet; the model is then as it was.
    """
    if type(model) is nn.Linear:
        raise InputError("the model is itself an nn.Linear; use sparse_copy(layer, config)")
    chosen: dict[str, nn.Linear] = {}
    left: dict[str, str] = {}
    owners = _owners(model)
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        reason = _reason_left(name, module, config, where, owners)
        if reason is None:
            chosen[name] = module
        else:
            left[name] = reason
    replaced = {id(layer): sparse_copy(layer, config) for layer in chosen.values()}
    _replace(model, replaced)
    return Conversion(tuple(chosen), left)


def densify_(model: nn.Module) -> Conversion:
    """Replace a model's block-sparse layers by nn.Linear with the same weights, in place.

    Layers of which a copy would lose something are left, as by `sparsify_`, and so are layers that
    a GradientWatch looks at. Optimizers made before hold the old parameters.

    Returns:
        The names of what was converted, and of what was left block-sparse with the reason.

    Raises:
        InputError: the model is itself a block-sparse layer.
    """
    if isinstance(model, SparseLinear):
        raise InputError("the model is itself a block-sparse layer; use dense_copy(layer)")
    found = {n: m for n, m in model.named_modules() if isinstance(m, SparseLinear)}
    owners = _owners(model)
    reasons = {name: _what_a_copy_loses(name, layer, owners) for name, layer in found.items()}
    left = {name: reason for name, reason in reasons.items() if reason is not None}
    chosen = {name: layer for name, layer in found.items() if name not in left}
    _replace(model, {id(layer): dense_copy(layer) for layer in chosen.values()})
    return Conversion(tuple(chosen), left)


@torch.no_grad()
def sparse_copy(layer: nn.Linear, config: SparsityConfig) -> SparseLinear:
    """The block-sparse layer with the largest blocks of an nn.Linear.

    Raises:
        InputError: the block size does not divide its features, or its weight is on "meta".
    """
    weight, bias = layer.weight, layer.bias
    if weight.is_meta:
        raise InputError(
            "the layer's weight is on the meta device and has no values to choose blocks by; load "
            "or initialise the model first, or build block-sparse layers with linear()"
        )
    pattern = BlockPattern.from_dense(weight, config.block_shape, config.density)
    sizes = (layer.in_features, layer.out_features, config, bias is not None)
    copy: SparseLinear
    if config.mode == "static":
        copy = BlockSparseLinear(*sizes, pattern=pattern, device=weight.device, dtype=weight.dtype)
    else:
        copy = DynamicBlockSparseLinear(
            *sizes, pattern=pattern, device=weight.device, dtype=weight.dtype
        )
    copy.values.copy_(pattern.to_values(weight))
    copy.values.requires_grad_(weight.requires_grad)
    if bias is not None and copy.bias is not None:
        copy.bias.copy_(bias)
        copy.bias.requires_grad_(bias.requires_grad)
    return copy.train(layer.training)


@torch.no_grad()
def dense_copy(layer: SparseLinear) -> nn.Linear:
    """The nn.Linear with a block-sparse layer's weights."""
    values, bias = layer.values, layer.bias
    copy = nn.Linear(
        layer.in_features,
        layer.out_features,
        bias is not None,
        device=values.device,
        dtype=values.dtype,
    )
    copy.weight.copy_(layer.weight)
    copy.weight.requires_grad_(values.requires_grad)
    if bias is not None:
        copy.bias.copy_(bias)
        copy.bias.requires_grad_(bias.requires_grad)
    return copy.train(layer.training)


def _reason_left(
    name: str,
    layer: nn.Linear,
    config: SparsityConfig,
    where: Callable[[str, nn.Linear], bool] | None,
    owners: Mapping[int, list[str]],
) -> str | None:
    """Why a layer stays dense; None where it is to be converted."""
    if type(layer) is not nn.Linear:
        return f"it is a {type(layer).__name__}"
    if where is not None and not where(name, layer):
        return "not chosen"
    try:
        check_sizes((layer.out_features, layer.in_features), config.block_shape)
    except InputError as error:
        if where is None:
            return str(error)
        raise InputError(f"{name}: {error}") from error
    return _what_a_copy_loses(name, layer, owners)


def _what_a_copy_loses(name: str, layer: nn.Module, owners: Mapping[int, list[str]]) -> str | None:
    """What a layer has beside its weight and bias, in words; None where it has nothing."""
    weight = "values" if isinstance(layer, SparseLinear) else "weight"
    if weight not in layer._parameters:
        return f"its {weight} is computed at every call (weight_norm, spectral_norm, pruning)"
    for kind, parameter in layer._parameters.items():
        others = [owner for owner in owners.get(id(parameter), []) if owner != f"{name}.{kind}"]
        if others:
            return f"its {kind} is shared with {', '.join(others)}"
    more = [*layer._modules, *layer._buffers, *(set(layer._parameters) - {weight, "bias"})]
    if more:
        return f"it holds {', '.join(more)} beside {weight} and bias"
    if _has_hooks(layer) or "forward" in vars(layer):
        return "it has hooks, which a new layer would not have"
    if isinstance(layer, SparseLinear) and layer.watches:
        return "a GradientWatch looks at it; close that first"
    return None


def _has_hooks(layer: nn.Module) -> bool:
    parameters = [p for p in layer._parameters.values() if p is not None]
    return any(
        (
            layer._forward_hooks,
            layer._forward_pre_hooks,
            layer._backward_hooks,
            layer._backward_pre_hooks,
            layer._state_dict_hooks,
            layer._state_dict_pre_hooks,
            layer._load_state_dict_pre_hooks,
            layer._load_state_dict_post_hooks,
            *(p._backward_hooks for p in parameters),
            *(getattr(p, "_post_accumulate_grad_hooks", None) for p in parameters),
        )
    )


def _owners(model: nn.Module) -> dict[int, list[str]]:
    """The names under which modules hold each parameter, by its id."""
    found: dict[int, list[str]] = {}
    for name, module in model.named_modules():
        for kind, parameter in module._parameters.items():
            if parameter is not None:
                found.setdefault(id(parameter), []).append(f"{name}.{kind}" if name else kind)
    return found


def _replace(model: nn.Module, replaced: Mapping[int, nn.Module]) -> None:
    """Put the new layers wherever the old ones were, shared ones too."""
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in replaced:
                setattr(parent, name, replaced[id(child)])
