"""Predictors on disk: safetensors with the configuration in its header, read without pickle."""

from __future__ import annotations

import dataclasses
import json
from importlib import resources
from pathlib import Path
from typing import Any

import torch

from diffrender._files import write_bytes_atomic
from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.predict.config import PredictorConfig
from diffrender.predict.network import PredictorNet

__all__ = ["config_from", "config_text", "load_predictor", "save_predictor", "shipped_predictor"]

_KEY = "diffrender.predictor"
_MAX_BYTES = 1 << 30
_SHIPPED = "predictor_street.safetensors"


def shipped_predictor() -> Path:
    """Path of the weights that come with the package.

    Raises:
        InputError: this build holds none.
    """
    path = Path(str(resources.files("diffrender.predict"))) / "assets" / _SHIPPED
    if not path.is_file():
        raise InputError(
            "this build has no shipped predictor; train one with `diffrender train predictor` and "
            "name its file with --predictor FILE"
        )
    return path


def save_predictor(net: PredictorNet, path: str | Path, *, half: bool = False) -> Path:
    """Write weights and configuration; the file appears whole or not at all.

    `half` stores float16: half the size, values differ by one part in 2000.
    """
    from safetensors.torch import save

    tensors = {}
    for name, tensor in net.state_dict().items():
        small = half and tensor.dtype == torch.float32
        kind = torch.float16 if small else tensor.dtype
        tensors[name] = tensor.detach().to("cpu", kind).contiguous()
    return write_bytes_atomic(path, save(tensors, metadata={_KEY: config_text(net.config)}))


def load_predictor(path: str | Path) -> PredictorNet:
    """The network of a file that `save_predictor` wrote, in evaluation mode.

    Raises:
        InputError: no such file, not safetensors, too large, no configuration in it, or tensors
            that do not fit the network that the configuration describes.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a predictor (.safetensors)")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
    try:
        with safe_open(path, framework="pt") as file:
            text = (file.metadata() or {}).get(_KEY)
            if text is None:
                raise InputError(
                    f"{path}: its metadata holds no '{_KEY}', so save_predictor did not write it"
                )
            net = PredictorNet(config_from(text, path))
            expected = net.state_dict()
            missing, extra = set(expected) - set(file.keys()), set(file.keys()) - set(expected)
            if missing or extra:
                raise InputError(
                    f"{path}: the tensors do not fit its configuration: {len(missing)} missing "
                    f"({', '.join(sorted(missing)[:3])}), {len(extra)} unknown "
                    f"({', '.join(sorted(extra)[:3])}); another timm version may name them "
                    "differently"
                )
            for name, old in expected.items():
                shape = tuple(file.get_slice(name).get_shape())
                # A mask of dynamic mode may hold fewer blocks than there is room for.
                if shape != tuple(old.shape) and not name.endswith(".column_indices"):
                    raise InputError(
                        f"{path}: '{name}' has shape {shape}, expected {tuple(old.shape)}"
                    )
                value = file.get_tensor(name)
                if value.is_floating_point() and not torch.isfinite(value).all():
                    raise InputError(f"{path}: '{name}' holds NaN or infinite values")
                expected[name] = value.to(old.dtype)
    except SafetensorError as error:
        raise InputError(f"{path}: not a safetensors file ({error})") from error
    try:
        net.load_state_dict(expected)
    except RuntimeError as error:  # a mask that is none
        reason = " ".join(str(error).split())
        raise InputError(f"{path}: the weights cannot be used ({reason})") from error
    return net.eval().requires_grad_(False)


def config_text(config: PredictorConfig) -> str:
    """A configuration as JSON."""
    if config.sparsity is not None:  # which back-end is fastest is the reader's matter
        sparsity = dataclasses.replace(config.sparsity, backend=None)
        config = dataclasses.replace(config, sparsity=sparsity)
    return json.dumps(dataclasses.asdict(config), sort_keys=True)


def config_from(text: str, path: Path) -> PredictorConfig:
    """Inverse of `config_text`; `path` is named where it cannot be read."""
    try:
        values: Any = json.loads(text)
        if not isinstance(values, dict):
            raise TypeError("not an object")
        if values.get("sparsity") is not None:
            raw = dict(values["sparsity"])
            side = raw.get("block_size")
            raw["block_size"] = tuple(side) if isinstance(side, list) else side
            values["sparsity"] = SparsityConfig(**raw)
        return PredictorConfig(**values)
    except (AttributeError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its configuration cannot be read ({error})") from error
