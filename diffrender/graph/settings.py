"""Settings of the GPS++ network: sizes, the parts of a block, dropouts, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from numbers import Integral

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError

__all__ = ["PARTS", "Dropouts", "GraphSettings", "NoiseSettings"]

PARTS = ("MPNN", "MHSA", "FFN")
_VARIANTS = ("code", "report")
_COUNTS = ("layers", "node_width", "edge_width", "global_width", "heads", "expansion")
# Atomic number, period, group, element family, degree, formal charge, hydrogens, radical electrons,
# aromatic, in a ring, chiral centre; bond type, stereo, in a ring: feature set 1.
_NODE_VOCABULARY = (119, 9, 18, 10, 12, 12, 10, 6, 2, 2, 3)
_EDGE_VOCABULARY = (5, 6, 2)


@dataclass(frozen=True)
class Dropouts:
    """Probabilities of being dropped in training.

    Attributes:
        nodes, edges, globals: of whole rows after the three steps of message passing.
        encoder: of whole rows of the encoded inputs.
        attention: of single weights after the softmax.
        hidden: of single hidden values of the feed-forward part.
        depth: of the attention and feed-forward branches of a whole graph, in the last layer; it
            grows linearly over the layers.

    Source: GPS++ (arXiv 2212.02229) and its released configurations.
    """

    nodes: float = 0.3
    edges: float = 0.0035
    globals: float = 0.35
    encoder: float = 0.18
    attention: float = 0.3
    hidden: float = 0.0
    depth: float = 0.3

    def __post_init__(self) -> None:
        for name in self.__dataclass_fields__:
            if not 0.0 <= getattr(self, name) < 1.0:
                raise InputError(f"dropout {name} is {getattr(self, name)}, expected 0 to below 1")


@dataclass(frozen=True)
class NoiseSettings:
    """What training does to its inputs.

    Attributes:
        masking: ratio of graphs of which the 3D inputs are hidden, the hop distances are hidden,
            and nothing is hidden. (1, 0, 0) is a network without 3D inputs.
        categories: probability that a categorical feature is replaced by a uniform draw; 0 leaves
            out the denoising heads too.
        coordinates: standard deviation of the noise on positions, in their unit; 0 leaves it out.
            Our own option: GPS++ has no such task.
    """

    masking: tuple[float, float, float] = (1.0, 3.0, 1.0)
    categories: float = 0.01
    coordinates: float = 0.0

    def __post_init__(self) -> None:
        finite = all(math.isfinite(part) for part in self.masking)
        if len(self.masking) != 3 or not finite or min(self.masking) < 0 or sum(self.masking) <= 0:
            raise InputError(
                f"masking is {self.masking}, expected a ratio of three: 3D hidden, hop distances "
                "hidden, nothing hidden"
            )
        if not (0.0 <= self.categories < 1.0 and 0.0 <= self.coordinates < math.inf):
            raise InputError(
                f"noise has categories {self.categories} and coordinates {self.coordinates}, "
                "expected a probability below 1 and a deviation of at least 0"
            )
        if self.coordinates > 0 and not self.uses_positions:
            raise InputError("noise on coordinates needs a masking under which 3D is seen")

    @property
    def uses_positions(self) -> bool:
        """Whether any graph is ever seen with its 3D inputs."""
        return self.masking[1] + self.masking[2] > 0


@dataclass(frozen=True)
class GraphSettings:
    """The network.

    Attributes:
        layers: L; 4, 8 and 16 are the published ones.
        node_width, edge_width, global_width: of the state of nodes, edges and graphs.
        heads: of attention; they share out `node_width`.
        expansion: hidden units of every MLP, in widths of its output.
        block: any "+"-join of MPNN, MHSA and FFN, in this order.
        variant: "code", as in the released code and its checkpoints, or "report", as in the text:
            see docs/graph.md for the differences.
        node_vocabulary, edge_vocabulary: number of categories of each feature.
        node_inputs, edge_inputs: number of continuous inputs.
        structure: whether Laplacian eigenvectors, random walks and degree are inputs.
        distance_scale: distances between nodes are divided by this before attention's Gaussians
            (twice the mean distance of PCQM4Mv2, ångström).
        sparsity: block-sparse linear layers in the blocks, None for dense ones.
    """

    layers: int = 4
    node_width: int = 256
    edge_width: int = 128
    global_width: int = 64
    heads: int = 32
    expansion: int = 4
    block: str = "MPNN+MHSA+FFN"
    variant: str = "code"
    node_vocabulary: tuple[int, ...] = _NODE_VOCABULARY
    edge_vocabulary: tuple[int, ...] = _EDGE_VOCABULARY
    node_inputs: int = 0
    edge_inputs: int = 0
    structure: bool = True
    distance_scale: float = 2 * 3.6966338
    dropouts: Dropouts = field(default_factory=Dropouts)
    noise: NoiseSettings = field(default_factory=NoiseSettings)
    sparsity: SparsityConfig | None = None

    def __post_init__(self) -> None:
        for names, least in ((_COUNTS, 1), (("node_inputs", "edge_inputs"), 0)):
            for name in names:
                value = getattr(self, name)
                if not isinstance(value, Integral) or value < least:
                    raise InputError(
                        f"GraphSettings.{name} is {value}, expected a whole number from {least} on"
                    )
        if not 0 < self.distance_scale < math.inf:
            raise InputError(f"distance_scale is {self.distance_scale}, expected more than 0")
        if self.node_width % self.heads:
            raise InputError(
                f"node_width {self.node_width} is not a multiple of the {self.heads} heads"
            )
        parts = self.parts
        if not parts or list(parts) != [p for p in PARTS if p in parts]:
            raise InputError(
                f"block is {self.block!r}, expected parts out of {', '.join(PARTS)} in this order, "
                "joined by +"
            )
        if self.variant not in _VARIANTS:
            raise InputError(f"variant is {self.variant!r}, expected one of {', '.join(_VARIANTS)}")
        if min((*self.node_vocabulary, *self.edge_vocabulary, 1)) < 1:
            raise InputError("a vocabulary has no category")
        if not self.node_vocabulary and not self.node_inputs:
            raise InputError("nodes have neither categories nor continuous inputs")

    @property
    def parts(self) -> tuple[str, ...]:
        """The parts of a block."""
        return tuple(self.block.split("+"))
