"""Tiny segmentation networks as .onnx files: constant boxes, masks that look at the input."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def write_network(
    path: Path,
    shape: list[Any],
    outputs: dict[str, np.ndarray],
    *,
    bright: str | None = None,
    metadata: dict[str, str] | None = None,
) -> Path:
    """A network with constant outputs; `bright` names one more that is 20 (mean of x - 0.5).

    That one is (1, 1, H / 2, W / 2) of an input (1, 3, H, W): as a prototype with coefficient 1
    its sigmoid marks the bright pixels.
    """
    import onnx

    helper, kinds = onnx.helper, onnx.TensorProto
    nodes, inits = [], []
    infos = []
    for name, array in outputs.items():
        kind = kinds.INT64 if array.dtype.kind == "i" else kinds.FLOAT
        flat = array.astype(np.int64 if kind == kinds.INT64 else np.float32)
        inits.append(onnx.numpy_helper.from_array(flat, f"{name}_value"))
        nodes.append(helper.make_node("Identity", [f"{name}_value"], [name]))
        infos.append(helper.make_tensor_value_info(name, kind, None))
    if bright is not None:
        inits.append(helper.make_tensor("axes", kinds.INT64, [1], [1]))
        inits.append(helper.make_tensor("half", kinds.FLOAT, [], [0.5]))
        inits.append(helper.make_tensor("gain", kinds.FLOAT, [], [20.0]))
        pool = {"kernel_shape": [2, 2], "strides": [2, 2]}
        nodes += [
            helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
            helper.make_node("AveragePool", ["mean"], ["small"], **pool),
            helper.make_node("Sub", ["small", "half"], ["centred"]),
            helper.make_node("Mul", ["centred", "gain"], [bright]),
        ]  # fmt: skip
        infos.append(helper.make_tensor_value_info(bright, kinds.FLOAT, None))
    graph = helper.make_graph(
        nodes, "net", [helper.make_tensor_value_info("x", kinds.FLOAT, shape)], infos, inits
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    helper.set_model_props(model, metadata or {})
    onnx.save(model, path)
    return path


def sidecar(path: Path, **settings: Any) -> Path:
    """The settings beside a network."""
    path.with_suffix(".json").write_text(json.dumps(settings))
    return path


def yolo_rows(
    boxes: list[tuple[float, float, float, float]],
    labels: list[int],
    scores: list[float],
    classes: int,
) -> np.ndarray:
    """(N, 4 + classes + 1): centre and size, class scores, one coefficient of 1."""
    table = np.zeros((len(boxes), 4 + classes + 1))
    for row, (left, top, right, bottom), label, score in zip(
        table, boxes, labels, scores, strict=True
    ):
        row[:4] = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
        row[4 + label] = score
        row[-1] = 1
    return table
