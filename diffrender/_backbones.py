"""timm's image classifiers as beginnings: the model of a name, and published weights of it."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from diffrender._torchvision import ensure_torchvision
from diffrender.errors import InputError

__all__ = ["classifier", "classifier_colours", "classifier_weights", "load_backbone", "timm_with"]

_MAX_BYTES = 2 << 30
_Triple = tuple[float, float, float]


def timm_with(name: str) -> Any:
    """timm itself, once it is known to have that model.

    Raises:
        InputError: it does not.
    """
    ensure_torchvision()
    import timm

    if not timm.is_model(name):
        raise InputError(
            f"timm {timm.__version__} has no backbone '{name}'; see timm.list_models()"
        )
    return timm


def classifier(name: str) -> Any:
    """timm's model of that name, with random weights.

    Raises:
        InputError: timm does not know it.
    """
    timm = timm_with(name)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # renamed models say so at every creation
        return timm.create_model(name, pretrained=False)


def classifier_colours(name: str) -> tuple[_Triple, _Triple]:
    """(mean, standard deviation) per channel in [0, 1] that timm's weights of a model expect."""
    with torch.device("meta"):
        given = classifier(name).pretrained_cfg
    (r, g, b), (u, v, w) = given["mean"], given["std"]
    return (r, g, b), (u, v, w)


def classifier_weights(name: str, path: Path) -> dict[str, Tensor]:
    """A classifier's weights by timm's names.

    Args:
        name: timm's name of the model.
        path: a state dict, as safetensors or as torch saved it (read without pickle): with timm's
            names, or with others in the order of timm's own, as the conversions of one published
            file are. Every shape must agree.

    Raises:
        InputError: not such a file, or weights of another model.
    """
    with torch.device("meta"):
        wanted = classifier(name).state_dict()
    found = _read(path)
    if set(found) != set(wanted):
        if len(found) != len(wanted):
            raise InputError(
                f"{path}: holds {len(found)} tensors, timm's {name} {len(wanted)}; "
                "name weights of that model"
            )
        found = dict(zip(wanted, found.values(), strict=True))
    for key, tensor in wanted.items():
        if found[key].shape != tensor.shape:
            raise InputError(
                f"{path}: '{key}' has shape {tuple(found[key].shape)}, timm's {name} "
                f"{tuple(tensor.shape)}; name weights of that model"
            )
    return found


def load_backbone(backbone: nn.Module, name: str, path: Path) -> None:
    """Copy a classifier's weights into a backbone of its feature maps; its head is left out.

    A backbone that has seen photographs keeps a network that is trained on synthetic pictures
    nearer to real ones (Hinterstoisser, Lepetit, Wohlhart, Konolige, "On pre-trained image features
    and synthetic images for deep learning", ECCV workshops 2018).

    Args:
        backbone: over the timm model `name`, that the weights are of; it is changed.
        path: as `classifier_weights` reads it.

    Raises:
        InputError: not such a file, or weights of another model.
    """
    found, own = classifier_weights(name, path), backbone.state_dict()
    missing = sorted(set(own) - set(found))
    if missing:
        raise InputError(
            f"{path}: no '{missing[0]}', which the backbone {name} has; its feature maps are built "
            "otherwise than its classifier"
        )
    backbone.load_state_dict({key: found[key] for key in own})


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
