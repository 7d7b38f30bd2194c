"""One door to every segmenter."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffrender._devices import pick_device
from diffrender._registry import check_settings, find_named
from diffrender.errors import InputError
from diffrender.instances.segmenters import grabcut, hub, onnx_file, street, torchvision_rcnn
from diffrender.instances.segmenters.base import Segmenter, SegmenterCard, SegmenterSettings

__all__ = ["create_segmenter", "list_segmenters", "segmenter_card"]

Weights = str | Path | None


@dataclass(frozen=True)
class _Entry:
    card: SegmenterCard
    build: Callable[[Weights, torch.device, Any], Segmenter]
    settings: type[SegmenterSettings] | None = None


def _grabcut(weights: Weights, device: torch.device, settings: Any) -> Segmenter:
    if weights is not None:
        raise InputError("the segmenter 'grabcut' has no weights: leave them out")
    return grabcut.GrabCut()


def _onnx(weights: Weights, device: torch.device, settings: Any) -> Segmenter:
    if weights is None:
        raise InputError("the segmenter 'onnx' needs weights=FILE: an .onnx file")
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected an .onnx file")
    return onnx_file.OnnxSegmenter(path, device, settings)


_ENTRIES = (
    _Entry(street.CARD, street.StreetSegmenter, SegmenterSettings),
    _Entry(grabcut.CARD, _grabcut),
    _Entry(onnx_file.CARD, _onnx, onnx_file.OnnxSegmenterSettings),
    _Entry(torchvision_rcnn.CARD, torchvision_rcnn.TorchvisionSegmenter, SegmenterSettings),
    _Entry(hub.CARD, hub.HubSegmenter, hub.HubSegmenterSettings),
)
_REGISTRY = {entry.card.name: entry for entry in _ENTRIES}


def list_segmenters() -> list[str]:
    """Names that `create_segmenter` knows."""
    return list(_REGISTRY)


def segmenter_card(name: str) -> SegmenterCard:
    """Origin and licences of a segmenter, without loading it."""
    return _entry(name).card


def create_segmenter(
    name: str,
    weights: Weights = None,
    device: str | torch.device = "cpu",
    *,
    settings: SegmenterSettings | None = None,
) -> Segmenter:
    """A segmenter, ready to `segment`; its `card` says under which licence.

    Args:
        name: one of `list_segmenters()`.
        weights: a file; for "hub" a model's name or folder; None takes the shipped ones of
            "street" and torchvision's own.
        device: "cpu", "cuda" or "cuda:N".
        settings: `OnnxSegmenterSettings` for "onnx", `HubSegmenterSettings` for "hub",
            `SegmenterSettings` for "street" and "torchvision"; None takes the defaults.

    Raises:
        InputError: an unknown name, missing or unfit weights, a hub that cannot be reached, a
            licence that is not accepted, a device that is not there.
        MissingExtraError: the segmenter needs an extra, or operators, that are not installed.
    """
    entry = _entry(name)
    check_settings(name, settings, entry.settings)
    return entry.build(weights, pick_device(device), settings)


def _entry(name: str) -> _Entry:
    hint = "masks in a file are read by load_instances"
    return find_named("segmenter", name, _REGISTRY, hint)
