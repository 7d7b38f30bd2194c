"""One door to every depth network."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from diffrender._registry import check_settings, find_named
from diffrender.depth import dpt_timm, hub, onnx_file, pydnet, rt_monodepth
from diffrender.depth.model import DepthCard, DepthModel, pick_device
from diffrender.depth.weights import need_weights

__all__ = ["create_depth", "depth_card", "list_depth"]

Weights = str | Path | None
Settings = dpt_timm.DptSettings | onnx_file.OnnxSettings | hub.HubSettings | None


@dataclass(frozen=True)
class _Entry:
    card: DepthCard
    build: Callable[[Weights, torch.device, Any], DepthModel]
    settings: type | None = None


_ENTRIES = (
    _Entry(dpt_timm.CARD, dpt_timm.DptTimm, dpt_timm.DptSettings),
    _Entry(
        rt_monodepth.CARD,
        lambda weights, device, _: rt_monodepth.RtMonoDepth(
            need_weights("rt-monodepth", weights, "the RT-MonoDepth-S weights as .npz"), device
        ),
    ),
    _Entry(
        pydnet.CARD,
        lambda weights, device, _: pydnet.Pydnet(
            need_weights("pydnet", weights, "the mobilePydnet weights as .npz"), device
        ),
    ),
    _Entry(
        onnx_file.CARD,
        lambda weights, device, settings: onnx_file.OnnxDepth(
            need_weights("onnx", weights, "an .onnx file"), device, settings
        ),
        onnx_file.OnnxSettings,
    ),
    _Entry(
        hub.CARD,
        lambda weights, device, settings: hub.HubDepth(weights, device, settings),
        hub.HubSettings,
    ),
)
_REGISTRY = {entry.card.name: entry for entry in _ENTRIES}


def list_depth() -> list[str]:
    """Names that `create_depth` knows."""
    return list(_REGISTRY)


def depth_card(name: str) -> DepthCard:
    """Origin, licences and kind of output of a network, without loading it."""
    return _entry(name).card


def create_depth(
    name: str = "dpt-timm",
    weights: Weights = None,
    device: str | torch.device = "cpu",
    *,
    settings: Settings = None,
) -> DepthModel:
    """A depth network, ready to `predict`.

    Args:
        name: one of `list_depth()`.
        weights: file (or, for "hub", a model's name or folder) of weights. Only "dpt-timm" comes
            with its own.
        device: "cpu", "cuda" or "cuda:N".
        settings: `DptSettings` for "dpt-timm", `OnnxSettings` for "onnx", `HubSettings` for
            "hub"; None elsewhere.

    Raises:
        InputError: an unknown name, missing or unfit weights, a device that is not there.
        MissingExtraError: the network needs an extra that is not installed.
    """
    entry = _entry(name)
    check_settings(name, settings, entry.settings)
    return entry.build(weights, pick_device(device), settings)


def _entry(name: str) -> _Entry:
    hint = "a depth map in a file is read by read_depth"
    return find_named("depth network", name, _REGISTRY, hint)
