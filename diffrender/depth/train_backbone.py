"""Begin a depth network's backbone with a classifier's weights.

A backbone that has seen photographs keeps a network that is trained on synthetic pictures nearer to
real ones (Hinterstoisser, Lepetit, Wohlhart, Konolige, "On pre-trained image features and synthetic
images for deep learning", ECCV workshops 2018).
"""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffrender.depth.dpt import DptNet
from diffrender.errors import InputError

__all__ = ["backbone_colours", "load_backbone"]

_MAX_BYTES = 2 << 30


def load_backbone(net: DptNet, path: Path) -> None:
    """Copy a classifier's weights into `net.backbone`.

    Args:
        net: over the timm model that the weights are of; its backbone is changed.
        path: a state dict, as safetensors or as torch saved it (read without pickle): with timm's
            names, or with others in the order of timm's own, as the conversions of one published
            file are. Every shape must agree; what the backbone lacks, the head, is left out.

    Raises:
        InputError: not such a file, or weights of another model.
    """
    found = _read(path)
    whole = _classifier(net.config.backbone).state_dict()
    if set(found) != set(whole):
        if len(found) != len(whole):
            raise InputError(
                f"{path}: holds {len(found)} tensors, timm's {net.config.backbone} {len(whole)}; "
                "name weights of that model"
            )
        found = dict(zip(whole, found.values(), strict=True))
    for name, tensor in whole.items():
        if found[name].shape != tensor.shape:
            raise InputError(
                f"{path}: '{name}' has shape {tuple(found[name].shape)}, timm's "
                f"{net.config.backbone} {tuple(tensor.shape)}; name weights of that model"
            )
    own = net.backbone.state_dict()
    missing = sorted(set(own) - set(found))
    if missing:
        raise InputError(
            f"{path}: no '{missing[0]}', which the backbone {net.config.backbone} has; its feature "
            "maps are built otherwise than its classifier"
        )
    net.backbone.load_state_dict({name: found[name] for name in own})


def backbone_colours(
    backbone: str,
) -> tuple[tuple[float, float, float], tuple[float, float, float]]:
    """(mean, standard deviation) per channel in [0, 1] that timm's weights of a model expect."""
    given = _classifier(backbone).pretrained_cfg
    (r, g, b), (u, v, w) = given["mean"], given["std"]
    return (r, g, b), (u, v, w)


def _classifier(backbone: str) -> Any:
    from diffrender._torchvision import ensure_torchvision

    ensure_torchvision()
    import timm

    if not timm.is_model(backbone):
        raise InputError(
            f"timm {timm.__version__} has no backbone '{backbone}'; see timm.list_models()"
        )
    with torch.device("meta"), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # renamed models say so at every creation
        return timm.create_model(backbone, pretrained=False)


def _read(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: more than {_MAX_BYTES} bytes")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            found: Any = load_file(path)
        else:
            found = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # both readers raise what they like on a broken file
        raise InputError(f"{path}: not a file of weights: {error}") from error
    if not isinstance(found, dict) or not all(isinstance(v, Tensor) for v in found.values()):
        raise InputError(f"{path}: expected a state dict, names to tensors")
    return found
