"""The `torchvision` entry: Mask R-CNN, where torchvision's compiled operators work."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from diffrender._hub import first_line
from diffrender._torchvision import ensure_torchvision
from diffrender.errors import InputError, MissingExtraError
from diffrender.instances.boxes import Box
from diffrender.instances.record import Instance, Rejected
from diffrender.instances.segmenters.base import (
    Detection,
    Segmenter,
    SegmenterCard,
    SegmenterSettings,
    to_instances,
)
from diffrender.instances.segmenters.geometry import Letterbox
from diffrender.instances.segmenters.mask_rcnn import RcnnOutputs, decode_rcnn
from diffrender.instances.segmenters.names import COCO_91

__all__ = ["CARD", "TorchvisionSegmenter"]

CARD = SegmenterCard(
    name="torchvision",
    summary="torchvision's Mask R-CNN (ResNet-50 FPN, either version).",
    paper="He et al., Mask R-CNN, ICCV 2017; Li et al., Benchmarking Detection Transfer, 2021 (v2)",
    code_licence="torchvision: BSD-3-Clause",
    weights_licence="torchvision's: BSD-3-Clause, trained on COCO (whose images have own terms)",
)

_MAX_BYTES = 1 << 30
_FILE = "https://download.pytorch.org/models/maskrcnn_resnet50_fpn_v2_coco-73cbd019.pth"


class TorchvisionSegmenter(Segmenter):
    """The network; weights from a state dict in a file, or torchvision's own from its cache."""

    def __init__(
        self,
        weights: str | Path | None,
        device: torch.device,
        settings: SegmenterSettings | None,
    ) -> None:
        _need_operators()
        self.card = CARD
        self.device = device
        self.settings = settings or SegmenterSettings()
        net = _shipped() if weights is None else _from_file(Path(weights))
        self.net = net.to(device).eval().requires_grad_(False)

    def _segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: list[Box],
        depth: np.ndarray | None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        return to_instances(self._detect(image), (image.shape[0], image.shape[1]))

    def _detect(self, image: np.ndarray) -> Iterator[Detection]:
        pixels = torch.from_numpy(np.array(image, dtype=np.float32)).permute(2, 0, 1) / 255
        with torch.inference_mode():
            found: dict[str, Tensor] = self.net([pixels.to(self.device)])[0]
        size = (image.shape[0], image.shape[1])
        arrays = {name: value.cpu().numpy() for name, value in found.items()}
        outputs = RcnnOutputs(
            arrays["boxes"], arrays["labels"], arrays["scores"], arrays["masks"][:, 0]
        )
        same = Letterbox((1.0, 1.0), (0.0, 0.0), size, size)
        for label, one in decode_rcnn(outputs, same, self.settings):
            name = COCO_91[label] if label < len(COCO_91) else ""
            yield Detection(one.box, name or f"class {label}", one.score, one.mask)


def _need_operators() -> None:
    if ensure_torchvision() == "mended":
        raise MissingExtraError(
            "Mask R-CNN needs torchvision's compiled operators, which cannot be loaded beside "
            f"torch {torch.__version__}; install the build made for it: pip install "
            "torchvision --index-url https://download.pytorch.org/whl/cpu (or /cu130), or use "
            "the segmenter 'onnx' or 'hub'"
        )


def _shipped() -> Any:
    from torchvision.models import detection

    try:
        return detection.maskrcnn_resnet50_fpn_v2(
            weights=detection.MaskRCNN_ResNet50_FPN_V2_Weights.COCO_V1
        )
    except (OSError, RuntimeError) as error:  # no network, or a download that is cut short
        raise InputError(
            f"torchvision's weights could not be fetched ({first_line(error)}); without a "
            f"network, download {_FILE} on another machine and pass weights=FILE"
        ) from error


def _from_file(path: Path) -> Any:
    """The network that a state dict fits: either version, any number of classes."""
    from torchvision.models import detection

    state = _read_state(path)
    head = state.get("roi_heads.box_predictor.cls_score.weight")
    if head is None or head.ndim != 2:
        raise InputError(
            f"{path}: not the weights of torchvision's Mask R-CNN: "
            "'roi_heads.box_predictor.cls_score.weight' is missing"
        )
    first = "roi_heads.box_head.fc6.weight" in state
    build = detection.maskrcnn_resnet50_fpn if first else detection.maskrcnn_resnet50_fpn_v2
    net = build(weights=None, weights_backbone=None, num_classes=len(head))
    try:
        net.load_state_dict(state)
    except RuntimeError as error:
        raise InputError(
            f"{path}: does not fit torchvision's Mask R-CNN ({first_line(error)})"
        ) from error
    if not all(bool(torch.isfinite(v).all()) for v in state.values() if v.is_floating_point()):
        raise InputError(f"{path}: the weights hold NaN or infinite values")
    return net


def _read_state(path: Path) -> dict[str, Tensor]:
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected a state dict (.pth or .safetensors)")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a broken archive, a refused pickle and bad text differ in type
        raise InputError(f"{path}: cannot be read as weights ({first_line(error)})") from error
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise InputError(f"{path}: not a state dict: expected names with tensors")
    return state
