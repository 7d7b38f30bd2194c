"""The network on meshes: GPS++'s trunk without categories, and a displacement for every vertex."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

from diffrender._networks import NetworkFile
from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.graph.batching import GraphBatch
from diffrender.graph.masking import clean_inputs
from diffrender.graph.meshes.mesh_graph import EDGE_INPUTS, NODE_INPUTS
from diffrender.graph.network import GraphTrunk
from diffrender.graph.settings import Dropouts, GraphSettings, NoiseSettings

__all__ = ["MeshNetwork", "MeshSettings", "load_mesh_network", "save_mesh_network"]

_FILE = NetworkFile("mesh-network", "mesh network weights", "save_mesh_network", 1 << 26)


@dataclass(frozen=True)
class MeshSettings:
    """Sizes of a network on meshes.

    Attributes:
        layers: of message passing; what a vertex sees is so many edges away, or the whole mesh
            through the global state.
        node_width, edge_width, global_width: of the states.
        evidence: further inputs of each vertex.
        attention: heads of attention over all vertices of a mesh; 0 leaves it out. Its memory
            grows with the square of the vertices.
        sparsity: block-sparse linear layers, None for dense ones.
    """

    layers: int = 4
    node_width: int = 48
    edge_width: int = 24
    global_width: int = 24
    evidence: int = 0
    attention: int = 0
    sparsity: SparsityConfig | None = None

    def graph_settings(self) -> GraphSettings:
        """The trunk's settings."""
        return GraphSettings(
            layers=self.layers,
            node_width=self.node_width,
            edge_width=self.edge_width,
            global_width=self.global_width,
            heads=self.attention or 1,
            block="MPNN+MHSA+FFN" if self.attention else "MPNN+FFN",
            node_vocabulary=(),
            edge_vocabulary=(),
            node_inputs=NODE_INPUTS + self.evidence,
            edge_inputs=EDGE_INPUTS,
            structure=False,
            dropouts=Dropouts(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0),
            noise=NoiseSettings(masking=(1.0, 0.0, 0.0), categories=0.0),
            sparsity=self.sparsity,
        )


class MeshNetwork(nn.Module):
    """A displacement for every vertex, in mean edge lengths of its mesh; zero at the start."""

    def __init__(self, settings: MeshSettings) -> None:
        super().__init__()
        self.settings = settings
        self.trunk = GraphTrunk(settings.graph_settings())
        self.head = nn.Linear(settings.node_width, 3)
        nn.init.zeros_(self.head.weight)
        nn.init.zeros_(self.head.bias)

    def forward(self, batch: GraphBatch) -> Tensor:
        """(N, 3) for the N vertices of all meshes. See `batch_meshes` for the inputs.

        Raises:
            InputError: a batch with other inputs than the settings name.
        """
        state = self.trunk(batch, clean_inputs(batch), None)
        return self.head(state.nodes)


def save_mesh_network(net: MeshNetwork, path: str | Path, *, half: bool = False) -> Path:
    """Write weights and settings as safetensors; the file appears whole or not at all.

    Raises:
        InputError: block-sparse layers, which these files do not hold.
    """
    if net.settings.sparsity is not None:
        raise InputError("a block-sparse mesh network is not written: densify_ it first")
    return _FILE.save(net, json.dumps(dataclasses.asdict(net.settings)), path, half=half)


def load_mesh_network(path: str | Path) -> MeshNetwork:
    """Read what `save_mesh_network` wrote, for evaluation.

    Raises:
        InputError: as `NetworkFile.load`, or settings that are none.
    """
    return _FILE.load(path, _settings, MeshNetwork)


def _settings(values: dict[str, object]) -> MeshSettings:
    sparsity = values.pop("sparsity", None)
    if sparsity is not None:
        raise ValueError("block-sparse layers are not offered in these files")
    for name, value in values.items():
        if not isinstance(value, int) or not 0 <= value <= 4096:
            raise ValueError(f"{name} is {value!r}, expected a whole number from 0 to 4096")
    return MeshSettings(**values)  # type: ignore[arg-type]
