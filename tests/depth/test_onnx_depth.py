"""The `onnx` entry with small files made on the spot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from diffrender.depth import OnnxSettings, create_depth
from diffrender.errors import InputError

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
IMAGE = np.random.default_rng(0).integers(0, 256, (16, 24, 3), dtype=np.uint8)
PLAIN = OnnxSettings("affine_inverse", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def write(path: Path, shape: list, axis: int, outputs: int = 1) -> Path:
    """A network that averages its input over the channels."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [axis])
    names = [f"out{k}" for k in range(outputs)]
    nodes = [helper.make_node("ReduceMean", ["x", "axes"], [n], keepdims=1) for n in names]
    graph = helper.make_graph(
        nodes,
        "mean",
        [helper.make_tensor_value_info("x", kind, shape)],
        [helper.make_tensor_value_info(n, kind, None) for n in names],
        [axes],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, path)
    return path


@pytest.mark.parametrize(("shape", "axis"), [([1, 3, 16, 24], 1), ([1, 16, 24, 3], 3)])
def test_layout_is_detected(tmp_path: Path, shape: list, axis: int) -> None:
    model = create_depth("onnx", write(tmp_path / "a.onnx", shape, axis), settings=PLAIN)
    prediction = model.predict(IMAGE)
    assert prediction.kind == "affine_inverse"
    np.testing.assert_allclose(prediction.values, IMAGE.mean(axis=2) / 255, atol=1e-6)


def test_mean_std_and_free_size_come_from_the_sidecar(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", [1, 3, "h", "w"], 1)
    settings = {"kind": "metric", "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]}
    (tmp_path / "a.json").write_text(json.dumps(settings | {"size": [16, 24]}))
    prediction = create_depth("onnx", path).predict(IMAGE)
    assert prediction.kind == "metric"
    expected = (IMAGE.mean(axis=2) / 255 - 0.5) / 0.25
    np.testing.assert_allclose(prediction.values, expected, atol=1e-5)


def test_output_is_resized_to_the_image(tmp_path: Path) -> None:
    model = create_depth("onnx", write(tmp_path / "a.onnx", [1, 3, 8, 12], 1), settings=PLAIN)
    assert model.predict(IMAGE).values.shape == (16, 24)


@pytest.mark.parametrize(
    ("shape", "settings", "message"),
    [
        ([1, 3, 16, 24], None, "does not say what its output means"),
        ([1, 3, "h", "w"], PLAIN, "size is free"),
        ([1, 4, 16, 24], PLAIN, r"expected \(1, 3, H, W\) or \(1, H, W, 3\)"),
        ([1, 3, 16, 3], PLAIN, r"expected \(1, 3, H, W\) or \(1, H, W, 3\)"),
        ([1, 3, 16, 24], OnnxSettings("metric", size=(8, 8)), r"OnnxSettings.size says \(8, 8\)"),
        ([1, 3, 16, 24], OnnxSettings("metric", output="depth"), "no output 'depth'"),
    ],
)
def test_unfit_networks(
    tmp_path: Path, shape: list, settings: OnnxSettings | None, message: str
) -> None:
    path = write(tmp_path / "a.onnx", shape, 1)
    with pytest.raises(InputError, match=message):
        create_depth("onnx", path, settings=settings)


def test_two_outputs_need_a_choice(tmp_path: Path) -> None:
    path = write(tmp_path / "a.onnx", [1, 3, 16, 24], 1, outputs=2)
    with pytest.raises(InputError, match=r"outputs \['out0', 'out1'\]"):
        create_depth("onnx", path, settings=PLAIN)
    chosen = OnnxSettings("metric", PLAIN.mean, PLAIN.std, output="out1")
    assert create_depth("onnx", path, settings=chosen).predict(IMAGE).kind == "metric"


def test_broken_files_and_sidecars(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="onnxruntime cannot load it"):
        create_depth("onnx", path, settings=PLAIN)
    write(path, [1, 3, 16, 24], 1)
    for text in ("[]", "{", '{"mean": [0, 0, 0]}', '{"kind": "metric", "gain": 2}'):
        (tmp_path / "a.json").write_text(text)
        with pytest.raises(InputError, match="cannot be read as OnnxSettings"):
            create_depth("onnx", path)
    with pytest.raises(InputError, match=r"OnnxSettings.std"):
        OnnxSettings("metric", std=(0.0, 1.0, 1.0))
    with pytest.raises(InputError, match="depth kind is 'disparity'"):
        OnnxSettings("disparity")  # type: ignore[arg-type]


def test_weights_may_lie_in_a_file_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Wherever one works, and not only in the network's own folder."""
    helper, kind = onnx.helper, onnx.TensorProto.FLOAT
    factor = onnx.numpy_helper.from_array(np.full((1, 1, 16, 24), 2, np.float32), "factor")
    axes = helper.make_tensor("axes", onnx.TensorProto.INT64, [1], [1])
    nodes = [
        helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1),
        helper.make_node("Mul", ["mean", "factor"], ["out"]),
    ]
    graph = helper.make_graph(
        nodes, "twice", [helper.make_tensor_value_info("x", kind, [1, 3, 16, 24])],
        [helper.make_tensor_value_info("out", kind, None)], [axes, factor],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    path = tmp_path / "net.onnx"
    onnx.save(model, path, save_as_external_data=True, location="net.onnx.data", size_threshold=0)
    monkeypatch.chdir(tmp_path.parent)
    prediction = create_depth("onnx", path, settings=PLAIN).predict(IMAGE)
    np.testing.assert_allclose(prediction.values, 2 * IMAGE.mean(axis=2) / 255, atol=1e-6)
