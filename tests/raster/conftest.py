"""Tests of the back-end `triton` on a CUDA device: everything they pass and get is moved."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import pytest
import torch
from raster_scenes import TRITON_DEVICE

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster import Fragments

_OPERATIONS = (
    "antialias",
    "interpolate",
    "rasterize",
    "render_attributes",
    "render_silhouette_depth",
    "soft_silhouette",
)


def move(value: Any, device: str) -> Any:
    """Tensors and what holds them, on another device; gradients flow back."""
    if isinstance(value, torch.Tensor | Mesh | Camera):
        return value.to(device)
    if isinstance(value, MeshBatch):
        moved = (value.vertices.to(device), value.faces.to(device))
        return MeshBatch(*moved, value.vertex_offsets, value.face_offsets)
    if isinstance(value, Fragments):
        names = ("face", "bary", "depth", "distance", "faces", "homogeneous")
        held = {name: move(getattr(value, name), device) for name in names}
        return dataclasses.replace(value, **held, source=())
    if isinstance(value, tuple):
        return tuple(move(v, device) for v in value)
    return value


def on_device(operation: Callable[..., Any], device: str) -> Callable[..., Any]:
    def call(*arguments: Any, **named: Any) -> Any:
        moved = {key: move(value, device) for key, value in named.items()}
        return move(operation(*move(arguments, device), **moved), "cpu")

    return call


@pytest.fixture(autouse=True)
def triton_on_its_device(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    callspec = getattr(request.node, "callspec", None)
    if TRITON_DEVICE != "cuda" or callspec is None or callspec.params.get("backend") != "triton":
        return
    for name in _OPERATIONS:
        if hasattr(request.module, name):
            operation = on_device(getattr(request.module, name), TRITON_DEVICE)
            monkeypatch.setattr(request.module, name, operation)
