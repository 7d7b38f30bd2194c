"""The `onnx` entry: any depth network in an .onnx file, run by onnxruntime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from diffrender._onnx import open_session, read_sidecar
from diffrender.depth.images import resize_map, to_input
from diffrender.depth.model import (
    DepthCard,
    DepthKind,
    DepthModel,
    DepthPrediction,
    check_kind,
)
from diffrender.errors import InputError

__all__ = ["CARD", "OnnxDepth", "OnnxSettings"]

CARD = DepthCard(
    name="onnx",
    kind="as stated",
    summary="Any .onnx file with one image in and one map out; you say what the map means.",
    paper="that of the file",
    code_licence="that of the file (onnxruntime: MIT)",
    weights_licence="that of the file",
    extra="onnx",
)


@dataclass(frozen=True)
class OnnxSettings:
    """What an .onnx file does not say of itself.

    Also read from a JSON file of these names beside the network (`net.onnx` and `net.json`).

    Attributes:
        kind: what the output means, see `DepthPrediction`.
        mean, std: of the input, per channel of RGB in [0, 1]: x = (rgb - mean) / std. For a
            network that wants 0..255, mean 0 and std 1/255.
        size: (height, width) of the input; None reads it from the file.
        output: name of the output; None takes the only one.
    """

    kind: DepthKind
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    size: tuple[int, int] | None = None
    output: str | None = None

    def __post_init__(self) -> None:
        check_kind(self.kind)
        if (
            len(self.mean) != 3
            or len(self.std) != 3
            or not np.isfinite([*self.mean, *self.std]).all()
        ):
            raise InputError(
                f"OnnxSettings mean {self.mean}, std {self.std}: expected three finite numbers each"
            )
        if min(self.std) <= 0:
            raise InputError(f"OnnxSettings.std is {self.std}, expected positive numbers")
        if self.size is not None and (len(self.size) != 2 or min(self.size) < 8):
            raise InputError(
                f"OnnxSettings.size is {self.size}, expected (height, width) in pixels"
            )


class OnnxDepth(DepthModel):
    """A session over the file; NCHW or NHWC input is told by where the 3 channels are."""

    def __init__(self, path: Path, device: torch.device, settings: OnnxSettings | None) -> None:
        self.card = CARD
        self.device = device
        self.session = open_session(path, device)
        self.settings = settings or _read_sidecar(path)
        self._read_signature(path)

    def _read_signature(self, path: Path) -> None:
        inputs, outputs = self.session.get_inputs(), self.session.get_outputs()
        if len(inputs) != 1:
            listed = ", ".join(i.name for i in inputs)
            raise InputError(f"{path}: {len(inputs)} inputs ({listed}), expected one image")
        self.input, shape = inputs[0].name, list(inputs[0].shape)
        if inputs[0].type not in ("tensor(float)", "tensor(float16)"):
            raise InputError(f"{path}: the input is {inputs[0].type}, expected float or float16")
        self.dtype = np.float16 if inputs[0].type == "tensor(float16)" else np.float32
        first, last = len(shape) == 4 and shape[1] == 3, len(shape) == 4 and shape[3] == 3
        if first == last:
            raise InputError(
                f"{path}: the input has shape {shape}, expected (1, 3, H, W) or (1, H, W, 3)"
            )
        self.channels_first = first
        sides = shape[2:4] if first else shape[1:3]
        fixed = tuple(s if isinstance(s, int) and s > 0 else None for s in sides)
        wanted = self.settings.size or fixed
        if any(s is None for s in wanted):
            raise InputError(
                f"{path}: the input's size is free ({sides}); state it with OnnxSettings(size=...)"
            )
        if any(f is not None and f != w for f, w in zip(fixed, wanted, strict=True)):
            raise InputError(
                f"{path}: the input is {fixed} pixels, OnnxSettings.size says {wanted}"
            )
        self.size = (int(wanted[0] or 0), int(wanted[1] or 0))
        names = [o.name for o in outputs]
        if self.settings.output is None and len(names) != 1:
            raise InputError(f"{path}: outputs {names}; choose one with OnnxSettings(output=...)")
        self.output = self.settings.output or names[0]
        if self.output not in names:
            raise InputError(f"{path}: no output '{self.output}', it has {names}")

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:  # (H, W, 3)
        x = to_input(image, self.size, torch.device("cpu")).numpy()
        mean = np.asarray(self.settings.mean, np.float32).reshape(1, 3, 1, 1)
        std = np.asarray(self.settings.std, np.float32).reshape(1, 3, 1, 1)
        x = (x - mean) / std
        x = (x if self.channels_first else x.transpose(0, 2, 3, 1)).astype(self.dtype)
        result = np.asarray(self.session.run([self.output], {self.input: x})[0], np.float32)
        values = result.reshape([s for s in result.shape if s != 1] or [1])
        if values.ndim != 2:
            raise InputError(
                f"the network's output '{self.output}' has shape {result.shape}, expected one map"
            )
        tensor = torch.from_numpy(np.ascontiguousarray(values))[None, None]
        resized = resize_map(tensor, (image.shape[0], image.shape[1])).numpy()
        return DepthPrediction(resized, self.settings.kind)


def _read_sidecar(path: Path) -> OnnxSettings:
    found = read_sidecar(path, OnnxSettings, required=("kind",))
    if found is None:
        raise InputError(
            f"{path}: an .onnx file does not say what its output means; pass "
            f"settings=OnnxSettings(kind=...) or write {path.with_suffix('.json').name} beside it"
        )
    return found
