"""The `onnx` entry: a segmentation network in an .onnx file, run by onnxruntime."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from diffrender._hub import first_line
from diffrender._onnx import open_session, read_sidecar
from diffrender.errors import InputError
from diffrender.instances.boxes import Box
from diffrender.instances.record import Instance, Rejected
from diffrender.instances.segmenters.base import (
    Detection,
    Segmenter,
    SegmenterCard,
    SegmenterSettings,
    to_instances,
)
from diffrender.instances.segmenters.geometry import letterbox
from diffrender.instances.segmenters.mask_rcnn import decode_rcnn, find_outputs
from diffrender.instances.segmenters.names import COCO_80, COCO_91
from diffrender.instances.segmenters.yolo import YoloLayout, decode_yolo

__all__ = ["CARD", "OnnxSegmenter", "OnnxSegmenterSettings"]

CARD = SegmenterCard(
    name="onnx",
    summary="An .onnx file with the outputs of YOLO's segmentation networks or of Mask R-CNN.",
    paper="Bolya et al., YOLACT, ICCV 2019; He et al., Mask R-CNN, ICCV 2017",
    code_licence="that of the file (onnxruntime: MIT)",
    weights_licence="that of the file (Ultralytics' YOLO weights: AGPL-3.0)",
    extra="onnx",
)

Layout = YoloLayout | Literal["mask-rcnn"]
_LAYOUTS = ("yolo", "yolo-objectness", "yolo-end2end", "mask-rcnn")
_GREY = 114  # what YOLO's training fills up with


@dataclass(frozen=True)
class OnnxSegmenterSettings(SegmenterSettings):
    """What an .onnx file does not say of itself, or says wrongly.

    Also read from a JSON file of these names beside the network (`net.onnx` and `net.json`).

    Attributes:
        layout: of the outputs; None tells it by their shapes.
        names: class names by label; None takes the file's metadata, else COCO's.
        size: (height, width) of the input; None reads it from the file, and where that leaves it
            free takes the image's own for Mask R-CNN and 640 x 640 for YOLO.
        mean, std: of the input, per channel in its own order: x = (pixel / 255 - mean) / std.
        channels: order of the input's channels.
    """

    layout: Layout | None = None
    names: tuple[str, ...] | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    channels: Literal["rgb", "bgr"] = "rgb"

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.layout is not None and self.layout not in _LAYOUTS:
            raise InputError(f"layout is {self.layout!r}, expected one of {', '.join(_LAYOUTS)}")
        if self.channels not in ("rgb", "bgr"):
            raise InputError(f"channels is {self.channels!r}, expected 'rgb' or 'bgr'")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 8):
            raise InputError(f"size is {self.size}, expected (height, width) in pixels")
        numbers = (*self.mean, *self.std)
        if len(numbers) != 6 or not np.isfinite(numbers).all() or min(self.std) <= 0:
            raise InputError(
                f"mean {self.mean}, std {self.std}: expected three finite numbers each, std > 0"
            )


class OnnxSegmenter(Segmenter):
    """A session over the file."""

    def __init__(
        self, path: Path, device: torch.device, settings: OnnxSegmenterSettings | None
    ) -> None:
        self.card = CARD
        self.path = path
        self.session = open_session(path, device)
        beside = None if settings else read_sidecar(path, OnnxSegmenterSettings)
        self.settings = settings or beside or OnnxSegmenterSettings()
        metadata = dict(self.session.get_modelmeta().custom_metadata_map)
        self.names = self.settings.names or _names_of(metadata.get("names", ""), path)
        licence = metadata.get("license", "").strip()[:200]
        if licence:
            self.card = replace(CARD, weights_licence=f"{licence} (said by the file)")
        self._read_signature()

    def _read_signature(self) -> None:
        inputs = self.session.get_inputs()
        if len(inputs) != 1:
            listed = ", ".join(i.name for i in inputs)
            raise InputError(f"{self.path}: {len(inputs)} inputs ({listed}), expected one image")
        kinds = {"tensor(float)": np.float32, "tensor(float16)": np.float16}
        if inputs[0].type not in kinds:
            raise InputError(
                f"{self.path}: the input is {inputs[0].type}, expected float or float16"
            )
        self.input, self.dtype = inputs[0].name, kinds[inputs[0].type]
        shape = list(inputs[0].shape)
        if len(shape) not in (3, 4) or (
            shape[-3] not in (3, None) and not isinstance(shape[-3], str)
        ):
            raise InputError(
                f"{self.path}: the input has shape {shape}, expected (1, 3, H, W) or (3, H, W)"
            )
        self.batched = len(shape) == 4
        fixed = tuple(s if isinstance(s, int) and s > 0 else None for s in shape[-2:])
        wanted = self.settings.size
        if wanted and any(f not in (None, w) for f, w in zip(fixed, wanted, strict=True)):
            raise InputError(f"{self.path}: the input is {fixed} pixels, the settings say {wanted}")
        height, width = fixed
        self.size = wanted or ((height, width) if height and width else None)
        count = len(self.session.get_outputs())
        if count not in (2, 3, 4):
            names = [o.name for o in self.session.get_outputs()]
            raise InputError(
                f"{self.path}: outputs {names}; expected two (YOLO: boxes, prototypes) or three "
                "or four (Mask R-CNN: boxes, labels, scores, masks)"
            )

    def _segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: list[Box],
        depth: np.ndarray | None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        try:
            return to_instances(self._detect(image), (image.shape[0], image.shape[1]))
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from error

    def _detect(self, image: np.ndarray) -> Iterator[Detection]:
        yolo = self._is_yolo()
        size = self.size or ((640, 640) if yolo else (image.shape[0], image.shape[1]))
        picture, placed = letterbox(image, size, fill=_GREY if yolo else 0, centred=yolo)
        if self.settings.channels == "bgr":
            picture = picture[..., ::-1]
        mean = np.asarray(self.settings.mean, dtype=np.float32)
        std = np.asarray(self.settings.std, dtype=np.float32)
        x = (picture / np.float32(255) - mean) / std
        x = np.ascontiguousarray(x.transpose(2, 0, 1), dtype=self.dtype)
        outputs = [o.name for o in self.session.get_outputs()]
        try:
            values = self.session.run(outputs, {self.input: x[None] if self.batched else x})
        except Exception as error:  # as above
            raise InputError(f"onnxruntime cannot run it ({first_line(error)})") from error
        arrays = {
            name: array.astype(np.float32) if array.dtype.kind == "f" else array
            for name, array in zip(outputs, map(np.asarray, values), strict=True)
        }
        if yolo:
            rows, prototypes = _yolo_outputs(arrays)
            layout = self.settings.layout
            known = self.names
            for label, found in decode_yolo(
                rows,
                prototypes,
                layout if layout != "mask-rcnn" else None,
                known,
                placed,
                self.settings,
            ):
                yield replace(found, category=_name(label, known or COCO_80))
        else:
            for label, found in decode_rcnn(find_outputs(arrays), placed, self.settings):
                yield replace(found, category=_name(label, self.names or COCO_91))

    def _is_yolo(self) -> bool:
        if self.settings.layout is not None:
            return self.settings.layout != "mask-rcnn"
        return len(self.session.get_outputs()) == 2


def _yolo_outputs(arrays: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    rows = [a for a in arrays.values() if a.ndim == 3]
    prototypes = [a for a in arrays.values() if a.ndim == 4]
    if len(rows) != 1 or len(prototypes) != 1:
        said = {name: a.shape for name, a in arrays.items()}
        raise InputError(
            f"the network's outputs are {said}; expected boxes (1, A, B) and prototypes "
            "(1, M, h, w)"
        )
    return rows[0], prototypes[0]


def _name(label: int, names: tuple[str, ...]) -> str:
    if not 0 <= label < len(names) or not names[label]:
        raise InputError(
            f"the network gave the label {label}, and there are names for {len(names)}; state "
            "OnnxSegmenterSettings(names=...)"
        )
    return names[label]


def _names_of(text: str, path: Path) -> tuple[str, ...] | None:
    """Class names of the metadata: JSON or a Python literal, a list or {number: name}."""
    if not text or len(text) > 1 << 20:
        return None
    try:
        content = ast.literal_eval(text)  # a literal, never code
        if isinstance(content, dict):
            content = [content[i] for i in range(len(content))]
        names = tuple(content)
    except (ValueError, SyntaxError, KeyError, TypeError, MemoryError, RecursionError) as error:
        raise InputError(
            f"{path}: its metadata 'names' is no list of class names; state "
            "OnnxSegmenterSettings(names=...)"
        ) from error
    if not all(isinstance(name, str) for name in names) or not names:
        raise InputError(f"{path}: its metadata 'names' is no list of class names")
    return names
