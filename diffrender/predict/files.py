"""Predictors on disk: safetensors with the configuration in its header, read without pickle."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

from diffrender._networks import NetworkFile, shipped_file
from diffrender.blocksparse.config import read_sparsity, without_backend
from diffrender.predict.config import PredictorConfig
from diffrender.predict.network import PredictorNet

__all__ = ["config_text", "load_predictor", "save_predictor", "shipped_predictor"]

_FILE = NetworkFile("diffrender.predictor", "a predictor", "save_predictor")
_SHIPPED = "predictor_street.safetensors"


def shipped_predictor() -> Path:
    """Path of the weights that come with the package.

    Raises:
        InputError: this build holds none.
    """
    absent = (
        "this build has no shipped predictor; train one with `diffrender train predictor` and "
        "name its file with --predictor FILE"
    )
    return shipped_file("diffrender.predict", _SHIPPED, absent)


def save_predictor(net: PredictorNet, path: str | Path, *, half: bool = False) -> Path:
    """Write weights and configuration; the file appears whole or not at all.

    `half` stores float16: half the size, values differ by one part in 2000.
    """
    return _FILE.save(net, config_text(net.config), path, half=half)


def load_predictor(path: str | Path) -> PredictorNet:
    """The network of a file that `save_predictor` wrote, in evaluation mode.

    Raises:
        InputError: no such file, not safetensors, too large, no configuration in it, or tensors
            that do not fit the network that the configuration describes.
    """
    return _FILE.load(path, _config, PredictorNet)


def config_text(config: PredictorConfig) -> str:
    """A configuration as JSON."""
    config = dataclasses.replace(config, sparsity=without_backend(config.sparsity))
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def _config(values: dict[str, Any]) -> PredictorConfig:
    return PredictorConfig(**values | {"sparsity": read_sparsity(values.get("sparsity"))})
