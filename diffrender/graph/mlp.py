"""The two-layer MLP of every step, and how its weights begin."""

from __future__ import annotations

from torch import Tensor, nn

from diffrender.graph.norm_gelu import gelu, norm_gelu

__all__ = ["MLP", "glorot_", "uniform_"]


class MLP(nn.Module):
    """Linear, LayerNorm, GELU, Linear; in the report's variant GELU comes before LayerNorm.

    `first` may be run by parts (see `message_passing.py`), so that `finish` takes its output.
    """

    def __init__(self, inputs: int, hidden: int, outputs: int, variant: str) -> None:
        super().__init__()
        self.first = nn.Linear(inputs, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.second = nn.Linear(hidden, outputs)
        self.norm_last = variant == "report"
        glorot_(self)

    def forward(self, x: Tensor) -> Tensor:  # (M, inputs)
        """Shapes: (M, inputs) -> (M, outputs)."""
        return self.finish(self.first(x))

    def finish(self, hidden: Tensor) -> Tensor:  # (M, hidden)
        """What follows the first layer. Shapes: (M, hidden) -> (M, outputs)."""
        if self.norm_last:
            return self.second(self.norm(gelu(hidden)))
        return self.second(norm_gelu(hidden, self.norm))


def glorot_(module: nn.Module) -> None:
    """Glorot-uniform weights and zero biases in all linear layers of `module`."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)


def uniform_(module: nn.Module, bound: float) -> None:
    """Weights and biases of all linear layers of `module` uniform in ±bound."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.uniform_(layer.weight, -bound, bound)
            if layer.bias is not None:
                nn.init.uniform_(layer.bias, -bound, bound)
