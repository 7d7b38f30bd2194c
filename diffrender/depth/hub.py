"""The `hub` entry: transformers' depth models, by name or from a folder."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._hub import check_licence, download_card, first_line, unreachable
from diffrender._hub import is_non_commercial as is_non_commercial
from diffrender._hub import read_licence as read_licence
from diffrender.depth.images import resize_map
from diffrender.depth.model import (
    DepthCard,
    DepthKind,
    DepthModel,
    DepthPrediction,
    check_kind,
)
from diffrender.errors import InputError, require

__all__ = ["CARD", "HubDepth", "HubSettings", "is_non_commercial", "read_licence"]

CARD = DepthCard(
    name="hub",
    kind="as stated",
    summary="transformers' depth models, e.g. depth-anything/Depth-Anything-V2-Small-hf.",
    paper="that of the model",
    code_licence="transformers: Apache-2.0",
    weights_licence="that of the model; read from its card, non-commercial ones are refused",
    extra="hub",
)

# Metric heads by architecture; the others predict inverse depth up to scale and shift.
_METRIC = ("zoedepth", "glpn", "depth_pro")
_AFFINE = ("depth_anything", "dpt", "prompt_depth_anything")


@dataclass(frozen=True)
class HubSettings:
    """Settings of a transformers model.

    Attributes:
        kind: what the output means; None asks the model's configuration.
        allow_non_commercial: run weights whose licence forbids commercial use, or is not stated.
        revision: commit or tag of the repository on the hub.
    """

    kind: DepthKind | None = None
    allow_non_commercial: bool = False
    revision: str | None = None

    def __post_init__(self) -> None:
        if self.kind is not None:
            check_kind(self.kind)


class HubDepth(DepthModel):
    """A model and its image processor; `card.weights_licence` is the licence of its card."""

    def __init__(
        self, weights: str | Path | None, device: torch.device, settings: HubSettings | None
    ) -> None:
        settings = settings or HubSettings()
        if weights is None:
            raise InputError(
                "the depth network 'hub' needs weights=NAME or FOLDER, for instance "
                "weights='depth-anything/Depth-Anything-V2-Small-hf'"
            )
        source = str(weights)
        local = Path(source).is_dir()
        if not local and not re.fullmatch(r"[\w.-]+/[\w.-]+", source):
            raise InputError(f"weights is {source!r}: neither a folder nor a name like OWNER/MODEL")
        transformers = require("transformers", "hub")
        from diffrender._torchvision import ensure_torchvision

        ensure_torchvision()  # its image processors ask for torchvision
        licence = read_licence(Path(source) if local else download_card(source, settings.revision))
        _check_licence(source, licence, local, settings.allow_non_commercial)
        self.card = replace(CARD, weights_licence=licence or "not stated")
        self.device = device
        self.processor, self.net = _load(transformers, source, local, settings.revision)
        self.net = self.net.to(device).eval().requires_grad_(False)
        self.kind = settings.kind or _kind_of(source, self.net.config)

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            values = self.net(**inputs).predicted_depth.float()
        values = values.reshape(1, 1, *values.shape[-2:])
        resized = resize_map(values, (image.shape[0], image.shape[1]))
        return DepthPrediction(resized.cpu().numpy(), self.kind)


def _check_licence(source: str, licence: str, local: bool, allowed: bool) -> None:
    check_licence(
        source,
        licence,
        local=local,
        allowed=allowed,
        settings="settings=HubSettings(allow_non_commercial=True)",
    )


def _load(transformers: Any, source: str, local: bool, revision: str | None) -> tuple[Any, Any]:
    try:
        options = {"revision": revision, "local_files_only": local, "trust_remote_code": False}
        processor = transformers.AutoImageProcessor.from_pretrained(source, **options)
        net = transformers.AutoModelForDepthEstimation.from_pretrained(
            source, use_safetensors=True, **options
        )
    except (OSError, ValueError) as error:
        if local:
            raise InputError(
                f"{source}: not a depth model of transformers ({first_line(error)}); expected "
                "config.json, preprocessor_config.json and model.safetensors"
            ) from error
        raise unreachable(source, error) from error
    return processor, net


def _kind_of(source: str, config: Any) -> DepthKind:
    architecture = str(getattr(config, "model_type", ""))
    if architecture in _METRIC or getattr(config, "depth_estimation_type", "") == "metric":
        return "metric"
    if architecture in _AFFINE:
        return "affine_inverse"
    raise InputError(
        f"{source}: what the output of a '{architecture}' model means is not known here; state it "
        "with settings=HubSettings(kind=...)"
    )
