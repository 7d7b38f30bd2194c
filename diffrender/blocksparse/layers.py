"""Linear layers with block-sparse weights, drop-in for nn.Linear: masks fixed or changing."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from diffrender.blocksparse._moves import carry, state_by_block
from diffrender.blocksparse._structure import pair, stored_blocks
from diffrender.blocksparse.config import SparsityConfig
from diffrender.blocksparse.dynamic import DynamicPattern
from diffrender.blocksparse.pattern import BlockPattern
from diffrender.blocksparse.products import spmm, transforms_active
from diffrender.errors import InputError, check_shape

__all__ = ["BlockSparseLinear", "DynamicBlockSparseLinear", "SparseLinear"]

_SAVED = ("row_offsets", "column_indices")
_VALUES = ("values", "values_orig")


class SparseLinear(nn.Module):
    """What the two layers share: build one of those.

    The state dict holds values, bias, and the pattern as row_offsets and column_indices; loading
    one brings its pattern along.

    Attributes:
        pattern: which blocks are stored.
        values: (blocks, b_m, b_k) parameter.
        bias: (out_features,) parameter, or None.
        watches: called with the layer, its input and its output, as `GradientWatch` wishes. Unlike
            a module's hooks they are noticed by code that was compiled before.
    """

    pattern: BlockPattern | DynamicPattern
    watches: tuple[Callable[[Any, Tensor, Tensor], None], ...]

    def __init__(
        self,
        config: SparsityConfig,
        pattern: BlockPattern | DynamicPattern,
        bias: bool,
        device: torch.device | str | None,
        dtype: torch.dtype | None,
    ) -> None:
        super().__init__()
        self.config = config
        self.out_features, self.in_features = pattern.shape
        self.pattern = pattern
        self.watches = ()
        values = torch.empty(pattern.values_shape, device=device, dtype=dtype)
        self.values = nn.Parameter(values)
        self.bias = nn.Parameter(values.new_empty(self.out_features)) if bias else None
        self._follow()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Uniform in ±1 / sqrt(density × in_features): nn.Linear's rule, for the inputs kept."""
        grid, density = self.pattern.current.grid, self.config.density
        room = self.pattern.values_shape[0]
        if room != stored_blocks(grid, density):  # a pattern of another density was given
            density = room / (grid[0] * grid[1])
        reach = 1 / math.sqrt(max(density * self.in_features, 1.0))
        nn.init.uniform_(self.values, -reach, reach)
        if self.bias is not None:
            nn.init.uniform_(self.bias, -reach, reach)

    def forward(self, x: Tensor) -> Tensor:  # (..., in_features)
        """x W^T + bias, (..., out_features)."""
        rows = x if x.dim() > 1 else x[None]
        y = spmm(self.pattern, self.values, rows, features_last=True, backend=self.config.backend)
        if self.bias is not None:
            y = _add_bias(y, self.bias)
        y = y if x.dim() > 1 else y[0]
        if self.watches:
            # Not compiled: a graph would be traced anew for every single watch.
            compiling = torch.compiler.is_compiling()
            tell = torch.compiler.disable(self._tell) if compiling else self._tell
            tell(x, y)
        return y

    def __getstate__(self) -> dict[str, Any]:
        return self.__dict__ | {"watches": ()}  # who looks at a layer does not look at its copy

    def _tell(self, x: Tensor, y: Tensor) -> None:
        for watch in self.watches:
            watch(self, x, y)

    @property
    def weight(self) -> Tensor:
        """(out_features, in_features) dense copy of the weight; differentiable."""
        stored = self.pattern.current
        return stored.to_dense(self.values[: stored.nnz])

    @property
    def density(self) -> float:
        """Stored blocks over all blocks, at present."""
        return self.pattern.current.density

    def extra_repr(self) -> str:
        """The sizes, for repr."""
        return (
            f"in_features={self.in_features}, out_features={self.out_features}, "
            f"bias={self.bias is not None}, density={self.density:.4g}, "
            f"block_size={self.pattern.block_size}"
        )

    def _take(self, pattern: BlockPattern, values: Tensor) -> None:
        """Adopt a pattern that a state dict brought; raises InputError where it cannot.

        Args:
            values: that come with it and are loaded afterwards.
        """
        raise NotImplementedError

    def _bring(self, pattern: BlockPattern, prefix: str, state_dict: dict[str, Any]) -> None:
        """Adopt a state dict's pattern with the values that are loaded afterwards."""
        # torch.nn.utils.prune keeps the parameter under another name.
        key = next((name for name in _VALUES if name in self._parameters), _VALUES[0])
        present = self.pattern.current
        pairs = [(getattr(pattern, name), getattr(present, name)) for name in _SAVED]
        same = all(torch.equal(new.cpu(), old.cpu()) for new, old in pairs)
        values, own = state_dict.get(prefix + key), self._parameters.get(key)
        if values is None or own is None:
            if same:
                return
            raise InputError(
                f"it differs from the layer's, and '{prefix}{key}' is missing or no parameter of "
                "this layer: load values and pattern together, into a layer that is pruned as that "
                "one was, and parametrize values only after loading"
            )
        self._take(pattern, values)
        if not same:
            own.grad = None  # of the old blocks

    def _follow(self) -> None:
        """Keep the pattern on the values' device (on the CPU while those are on "meta")."""
        if self.values.device.type != "meta" and self.pattern.device != self.values.device:
            self.pattern = self.pattern.to(self.values.device)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> SparseLinear:
        super()._apply(fn, recurse)
        self._follow()
        return self

    def _save_to_state_dict(
        self, destination: dict[str, Any], prefix: str, keep_vars: bool
    ) -> None:
        super()._save_to_state_dict(destination, prefix, keep_vars)
        for name in _SAVED:
            destination[prefix + name] = getattr(self.pattern.current, name)

    def _load_from_state_dict(
        self,
        state_dict: dict[str, Any],
        prefix: str,
        local_metadata: dict[str, Any],
        strict: bool,
        missing_keys: list[str],
        unexpected_keys: list[str],
        error_msgs: list[str],
    ) -> None:
        names = [prefix + name for name in _SAVED]
        absent = [name for name in names if name not in state_dict]
        missing_keys += absent
        if not absent:
            try:
                size = self.pattern.block_size
                offsets, columns = (state_dict[name] for name in names)
                pattern = BlockPattern.from_offsets(self.pattern.shape, size, offsets, columns)
                self._bring(pattern, prefix, state_dict)
            except InputError as error:
                error_msgs.append(f"the pattern of {prefix.rstrip('.') or 'this layer'}: {error}")
                return  # the layer stays as it was: values of another pattern are of no use
        rest = {name: value for name, value in state_dict.items() if name not in names}
        super()._load_from_state_dict(
            rest, prefix, local_metadata, strict, missing_keys, unexpected_keys, error_msgs
        )


class BlockSparseLinear(SparseLinear):
    """y = x W^T + b with a block-sparse W whose mask stays as it is (PopSparse's static mode)."""

    def __init__(
        self,
        in_features: int,
        out_features: int,
        config: SparsityConfig,
        bias: bool = True,
        *,
        pattern: BlockPattern | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Random weights at a random mask, or at a given pattern.

        Args:
            in_features, out_features: multiples of the block size.
            config: density and block size; without a pattern the mask is drawn from torch's
                global generator, as nn.Linear's weights are.
            pattern: (out_features, in_features), in blocks of the config's size.

        Raises:
            InputError: the sizes do not fit.
        """
        shape = pair((out_features, in_features))
        if pattern is None:
            pattern = BlockPattern.random(
                shape, config.block_shape, config.density, generator=torch.default_generator
            )
        elif pattern.shape != shape:
            raise InputError(f"pattern is for a weight of {pattern.shape}, expected {shape}")
        elif pattern.block_size != config.block_shape:
            raise InputError(
                f"pattern has blocks of {pattern.block_size}, expected {config.block_shape} as the "
                "config says; give both the same block size"
            )
        super().__init__(config, pattern, bias, device, dtype)

    def _take(self, pattern: BlockPattern, values: Tensor) -> None:
        check_shape("values", values, *pattern.values_shape)
        shape = pattern.values_shape
        for name, own in {**self._parameters, **self._buffers}.items():  # pruning keeps a mask too
            if name.startswith("values") and own is not None and own.shape != shape:
                own.data, own.grad = own.data.new_empty(shape), None
        self.pattern = pattern
        self._follow()


class DynamicBlockSparseLinear(SparseLinear):
    """y = x W^T + b with a block-sparse W whose mask may change at every step (dynamic mode).

    `values` has room for the most blocks that the density allows; those of the present mask come
    first, in row order.
    """

    pattern: DynamicPattern

    def __init__(
        self,
        in_features: int,
        out_features: int,
        config: SparsityConfig,
        bias: bool = True,
        *,
        pattern: BlockPattern | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        """Random weights at a random mask of the most blocks, or at a given first mask.

        Raises:
            InputError: the sizes do not fit, or the first mask has too many blocks.
        """
        shape, size = pair((out_features, in_features)), config.block_shape
        room = DynamicPattern.for_density(shape, size, config.density)
        if pattern is None:
            pattern = BlockPattern.random(
                shape, size, config.density, generator=torch.default_generator
            )
        room.update(pattern)
        super().__init__(config, room, bias, device, dtype)

    @torch.no_grad()
    def set_mask(
        self,
        mask: Tensor | BlockPattern,  # (m_B, k_B) bool
        optimizer: torch.optim.Optimizer | None = None,
    ) -> None:
        """Change the mask in place: kept blocks keep their values, new ones start at zero.

        Gradients move with the values, and so does what the optimizer remembers for each block
        (momenta; the rows and columns of Adafactor). The index buffers stay, and so does the choice
        of a back-end.

        Raises:
            InputError: the mask has another shape, or more blocks than the layer has room for, or
                the optimizer remembers what does not belong to single blocks, as LBFGS does. The
                layer is then as it was.
        """
        carried: list[Tensor] = [self.values]
        if self.values.grad is not None:
            carried.append(self.values.grad)
        if optimizer is not None:
            carried += state_by_block(optimizer, self.values)
        moves = self.pattern.update(mask).to(self.values.device)
        for tensor in carried:
            carry(tensor, moves)

    def _take(self, pattern: BlockPattern, values: Tensor) -> None:
        fits = pattern.nnz <= self.pattern.grid.max_blocks  # else `update` says where it is fullest
        if fits and values.shape != self.values.shape:
            raise InputError(
                f"values have shape {tuple(values.shape)}, expected {tuple(self.values.shape)}: "
                "room for as many blocks; build the layer with the density that was saved"
            )
        self.pattern.update(pattern)


def _add_bias(y: Tensor, bias: Tensor) -> Tensor:  # (..., m), (m,)
    # The product is ours alone, so the bias is added in place where autograd allows that.
    if torch.compiler.is_compiling() or transforms_active() or y._is_view():
        return y + bias.to(y.dtype)
    return y.add_(bias)
