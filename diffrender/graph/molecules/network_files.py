"""Trained networks for molecules on disk: weights and all that prediction needs, without pickle."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffrender._networks import NetworkFile, tuples
from diffrender.blocksparse.config import read_sparsity, without_backend
from diffrender.errors import InputError
from diffrender.graph.molecules.features import feature_set
from diffrender.graph.network import GraphNetwork
from diffrender.graph.settings import Dropouts, GraphSettings, NoiseSettings
from diffrender.graph.training import LabelScale

__all__ = ["MoleculeNetwork", "load_molecule_network", "save_molecule_network"]

_FILE = NetworkFile("diffrender.molecules", "a molecule network", "save_molecule_network")
_MOST_LAYERS, _WIDEST = 64, 4096


@dataclass(frozen=True)
class MoleculeNetwork:
    """Attributes:
    net: the network.
    features: feature set that it reads.
    label: name of what it predicts.
    scale: mean and standard deviation of its label.
    """

    net: GraphNetwork
    features: str
    label: str
    scale: LabelScale


def save_molecule_network(network: MoleculeNetwork, path: str | Path) -> Path:
    """Write weights and configuration; the file appears whole or not at all."""
    return _FILE.save(network.net, _text(network), path, half=False)


def load_molecule_network(path: str | Path) -> MoleculeNetwork:
    """The network of a file that `save_molecule_network` wrote.

    Raises:
        InputError: no such file, not safetensors, too large, no configuration in it, or tensors
            that do not fit the network that the configuration describes.
    """
    found: list[tuple[GraphSettings, str, str, LabelScale]] = []

    def build(read: tuple[GraphSettings, str, str, LabelScale]) -> GraphNetwork:
        found.append(read)
        try:
            return GraphNetwork(read[0])
        except (RuntimeError, TypeError) as error:  # sizes that torch refuses
            raise InputError(f"{path}: its network cannot be built ({error})") from error

    net = _FILE.load(path, _from, build)
    _, features, label, scale = found[-1]
    return MoleculeNetwork(net, features, label, scale)


def _text(network: MoleculeNetwork) -> str:
    settings = network.net.settings
    settings = dataclasses.replace(settings, sparsity=without_backend(settings.sparsity))
    values = {
        "network": dataclasses.asdict(settings),
        "features": network.features,
        "label": network.label,
        "scale": dataclasses.asdict(network.scale),
    }
    return json.dumps(values, sort_keys=True)


def _from(values: dict[str, Any]) -> tuple[GraphSettings, str, str, LabelScale]:
    raw = tuples(values["network"])
    raw["dropouts"] = Dropouts(**raw["dropouts"])
    raw["noise"] = NoiseSettings(**tuples(raw["noise"]))
    raw["sparsity"] = read_sparsity(raw["sparsity"])
    settings = GraphSettings(**raw)
    widest = max(settings.node_width, settings.edge_width, settings.global_width)
    if settings.layers > _MOST_LAYERS or widest > _WIDEST or settings.expansion > 16:
        raise InputError(
            f"{settings.layers} layers of width {widest}, expected at most {_MOST_LAYERS} and "
            f"{_WIDEST}"
        )
    features = feature_set(values["features"])
    vocabularies = (settings.node_vocabulary, settings.edge_vocabulary)
    if vocabularies != (features.node_vocabulary, features.edge_vocabulary):
        raise InputError(f"its vocabularies are not those of feature set '{features.name}'")
    if settings.node_inputs or settings.edge_inputs:
        raise InputError("it has continuous inputs, which molecules have none of")
    scale = LabelScale(**values["scale"])
    if not (math.isfinite(scale.mean) and 0 < scale.std < math.inf):
        raise InputError(f"its labels have mean {scale.mean} and deviation {scale.std}")
    return settings, features.name, str(values["label"]), scale
