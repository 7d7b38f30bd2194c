"""The `onnx` segmenter with tiny networks made on the spot."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from onnx_segmenters import sidecar, write_network, yolo_rows

from diffrender.errors import InputError
from diffrender.instances import Box, OnnxSegmenterSettings, create_segmenter
from diffrender.instances.segmenters.geometry import letterbox
from diffrender.instances.segmenters.mask_rcnn import find_outputs
from diffrender.instances.segmenters.names import COCO_80, COCO_91
from diffrender.instances.segmenters.yolo import yolo_layout

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

# A bright car, 20 to 40 across and 10 to 30 down, in a dark image of 40 x 64.
IMAGE = np.zeros((40, 64, 3), dtype=np.uint8)
IMAGE[10:30, 20:40] = 255
TRUTH = IMAGE[..., 0] > 0
NAMES = "{0: 'person', 1: 'car', 2: 'bicycle'}"
# In an input of 32 x 32 the image is halved and lies 6 pixels down.
INSIDE = (10.0, 11.0, 20.0, 21.0)


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


def yolo_file(path: Path, rows: np.ndarray, names: str = NAMES) -> Path:
    return write_network(
        path, [1, 3, 32, 32], {"rows": rows}, bright="maps", metadata={"names": names}
    )


def test_convention_yolo_boxes_and_masks_in_pixels_of_the_image(tmp_path: Path) -> None:
    boxes = [INSIDE, (10.5, 11.0, 20.5, 21.0), (0.0, 6.0, 4.0, 9.0), INSIDE]
    rows = yolo_rows(boxes, [1, 1, 0, 2], [0.9, 0.8, 0.3, 0.0], 3)
    path = yolo_file(tmp_path / "a.onnx", rows.T[None])
    segmenter = create_segmenter("onnx", path)
    found, rejected = segmenter.segment(IMAGE)
    # The second is the first again, the third too unsure.
    assert rejected == []
    (car,) = found
    assert (car.name, car.category) == ("car_01", "Car")
    assert car.score == pytest.approx(0.9)
    assert car.box == pytest.approx((20, 10, 40, 30), abs=1e-4)
    assert iou(car.mask, TRUTH) > 0.9
    assert "AGPL" in segmenter.card.weights_licence


def test_objectness_and_ended_rows_say_the_same(tmp_path: Path) -> None:
    plain = yolo_rows([INSIDE], [1], [0.9], 3)
    with_object = np.insert(plain, 4, 0.8, axis=1)[None]
    ended = np.array([[*INSIDE, 0.72, 1, 1.0]])[None]
    results = []
    for name, rows in (("v5", with_object), ("v10", ended)):
        path = yolo_file(tmp_path / f"{name}.onnx", rows)
        (car,), _ = create_segmenter("onnx", path).segment(IMAGE)
        assert car.score == pytest.approx(0.72)
        results.append(car)
    assert results[0].box == pytest.approx(results[1].box)
    assert (results[0].mask == results[1].mask).all()


@pytest.mark.parametrize(
    ("shape", "prototypes", "names", "layout"),
    [
        ((1, 116, 8400), 32, None, ("yolo", True)),
        ((1, 116, 8400), 32, 80, ("yolo", True)),
        ((1, 37, 8400), 32, 1, ("yolo", True)),
        ((1, 25200, 117), 32, None, ("yolo-objectness", False)),
        ((1, 25200, 38), 32, 1, ("yolo-objectness", False)),
        ((1, 300, 38), 32, 80, ("yolo-end2end", False)),
        ((1, 300, 38), 32, None, ("yolo-end2end", False)),
    ],
)
def test_layouts_of_the_exporters(
    shape: tuple[int, ...], prototypes: int, names: int | None, layout: tuple[str, bool]
) -> None:
    assert yolo_layout(shape, prototypes, names) == layout


def test_a_layout_that_fits_nothing_asks(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"fits no known layout; state OnnxSegmenterSettings"):
        yolo_layout((1, 50, 8400), 32, 80)
    rows = yolo_rows([INSIDE], [1], [0.9], 3).T[None]
    path = yolo_file(tmp_path / "a.onnx", rows, names="['a', 'b', 'c', 'd', 'e']")
    with pytest.raises(InputError, match=r"a\.onnx: .*no known layout"):
        create_segmenter("onnx", path).segment(IMAGE)


def test_scores_that_are_no_probabilities_are_refused(tmp_path: Path) -> None:
    rows = yolo_rows([INSIDE], [1], [7.0], 3).T[None]
    segmenter = create_segmenter("onnx", yolo_file(tmp_path / "a.onnx", rows))
    with pytest.raises(InputError, match="largest score is 7, expected at most 1: read as 'yolo'"):
        segmenter.segment(IMAGE)
    rows[0, 0, 0] = np.nan
    segmenter = create_segmenter("onnx", yolo_file(tmp_path / "b.onnx", rows))
    with pytest.raises(InputError, match="not finite"):
        segmenter.segment(IMAGE)


def test_an_empty_mask_is_rejected_with_its_reason(tmp_path: Path) -> None:
    dark = (0.0, 7.0, 4.0, 11.0)
    rows = yolo_rows([INSIDE, dark], [1, 0], [0.9, 0.8], 3).T[None]
    path = yolo_file(tmp_path / "a.onnx", rows)
    found, (person,) = create_segmenter("onnx", path).segment(IMAGE)
    assert [one.name for one in found] == ["car_01"]
    assert person == ("pedestrian_01", "Pedestrian", person.reason)
    assert "no pixel of a mask" in person.reason


def rcnn_outputs(count: int = 2, masks: np.ndarray | None = None) -> dict[str, np.ndarray]:
    outputs = {
        "boxes": np.array([[20, 10, 40, 30], [0, 0, 8, 8], [50, 0, 60, 9]], dtype=np.float32),
        "labels": np.array([3, 1, 8]),
        "scores": np.array([0.8, 0.95, 0.1], dtype=np.float32),
        "masks": np.ones((3, 1, 28, 28), dtype=np.float32) if masks is None else masks,
    }
    return {name: array[:count] for name, array in outputs.items()}


def test_convention_mask_rcnn_masks_of_the_box(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx", [3, "h", "w"], rcnn_outputs(3))
    found, rejected = create_segmenter("onnx", path).segment(IMAGE)
    assert rejected == []
    assert [(one.name, one.category) for one in found] == [
        ("pedestrian_01", "Pedestrian"),
        ("car_01", "Car"),
    ]
    assert found[1].box == (20, 10, 40, 30)
    assert (found[1].mask == TRUTH).all()


def test_convention_mask_rcnn_masks_of_the_whole_input(tmp_path: Path) -> None:
    whole = np.zeros((2, 1, 40, 64), dtype=np.float32)
    whole[0, 0] = TRUTH
    whole[1, 0, :8, :8] = 0.6
    outputs = rcnn_outputs(2, whole)
    path = write_network(tmp_path / "a.onnx", [1, 3, 40, 64], outputs)
    found, _ = create_segmenter("onnx", path).segment(IMAGE)
    assert (found[1].mask == TRUTH).all()
    assert found[0].mask.sum() == 64
    # The same with a batch axis, and with the scores in the boxes (MMDetection).
    merged = np.concatenate([outputs["boxes"], outputs["scores"][:, None]], axis=1)[None]
    others = {"dets": merged, "labels": outputs["labels"][None], "masks": whole[None, :, 0]}
    path = write_network(tmp_path / "b.onnx", [1, 3, 40, 64], others)
    again, _ = create_segmenter("onnx", path).segment(IMAGE)
    assert [one.score for one in again] == [one.score for one in found]
    assert all((a.mask == b.mask).all() for a, b in zip(again, found, strict=True))


@pytest.mark.parametrize("count", [3, 4, 5, 6])
def test_any_number_of_detections_may_come_in_a_batch_of_one(count: int) -> None:
    """The scores (1, 4) of four objects look like one box."""
    boxes = np.tile(np.array([1.0, 2, 30, 40], dtype=np.float32), (count, 1))
    scores = np.linspace(0.1, 0.9, count, dtype=np.float32)
    arrays = {
        "scores": scores[None],
        "boxes": boxes[None],
        "labels": np.full((1, count), 3),
        "masks": np.ones((1, count, 28, 28), dtype=np.float32),
    }
    found = find_outputs(arrays)
    np.testing.assert_array_equal(found.scores, scores)
    np.testing.assert_array_equal(found.boxes, boxes)
    assert found.masks.shape == (count, 28, 28)


def test_a_half_covered_box_has_half_a_mask(tmp_path: Path) -> None:
    masks = np.zeros((1, 1, 28, 28), dtype=np.float32)
    masks[..., :14] = 1
    path = write_network(tmp_path / "a.onnx", [3, "h", "w"], rcnn_outputs(1, masks))
    (car,), _ = create_segmenter("onnx", path).segment(IMAGE)
    expected = TRUTH.copy()
    expected[:, 30:] = False
    assert (car.mask == expected).all()


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        ({"a": np.zeros((2, 4)), "b": np.zeros(2), "c": np.zeros((2, 1, 28, 28))}, "expected one"),
        (
            {"a": np.zeros((2, 4)), "b": np.zeros(2, dtype=int), "c": np.zeros((2, 28, 28))},
            "no scores",
        ),
        (
            {"a": np.zeros((2, 5)), "b": np.zeros(3, dtype=int), "c": np.zeros((2, 28, 28))},
            "differ in their number",
        ),
    ],
)
def test_outputs_that_are_not_mask_rcnn(outputs: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(InputError, match=message):
        find_outputs(outputs)


def test_no_detection_is_an_empty_list(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx", [3, "h", "w"], rcnn_outputs(0))
    assert create_segmenter("onnx", path).segment(IMAGE) == ([], [])


def test_settings_come_from_beside_the_file(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx", [3, "h", "w"], rcnn_outputs(2))
    sidecar(path, names=["", "van", "", "truck"], score=0.9)
    (van,), _ = create_segmenter("onnx", path).segment(IMAGE)
    assert van.category == "Van"
    # What is passed goes before it.
    settings = OnnxSegmenterSettings(names=("", "van"), score=0.5)
    with pytest.raises(InputError, match=r"the label 3, and there are names for 2"):
        create_segmenter("onnx", path, settings=settings).segment(IMAGE)
    sidecar(path, layuot="yolo")
    with pytest.raises(InputError, match=r"a\.json: cannot be read .*unknown keys \['layuot'\]"):
        create_segmenter("onnx", path)


def test_files_that_are_no_networks(tmp_path: Path) -> None:
    path = tmp_path / "a.onnx"
    path.write_bytes(b"no network")
    with pytest.raises(InputError, match=r"a\.onnx: onnxruntime cannot load it"):
        create_segmenter("onnx", path)
    with pytest.raises(InputError, match="no such file, expected an .onnx file"):
        create_segmenter("onnx", tmp_path / "b.onnx")
    grey = write_network(tmp_path / "c.onnx", [1, 1, 32, 32], rcnn_outputs(2))
    with pytest.raises(InputError, match=r"input has shape \[1, 1, 32, 32\], expected"):
        create_segmenter("onnx", grey)
    single = write_network(tmp_path / "d.onnx", [1, 3, 32, 32], {"a": np.zeros((1, 4))})
    with pytest.raises(InputError, match=r"outputs \['a'\]; expected two"):
        create_segmenter("onnx", single)
    evil = yolo_file(tmp_path / "e.onnx", np.zeros((1, 8, 4)), names="__import__('os').getcwd()")
    with pytest.raises(InputError, match="metadata 'names' is no list of class names"):
        create_segmenter("onnx", evil)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layout": "ssd"}, "layout is 'ssd', expected one of yolo"),
        ({"score": 0.0}, "score is 0.0, expected 0 to 1"),
        ({"channels": "grb"}, "channels is 'grb'"),
        ({"size": (2, 2)}, r"size is \(2, 2\)"),
        ({"std": (0.0, 1.0, 1.0)}, "std > 0"),
        ({"most": 0}, "most is 0"),
    ],
)
def test_bad_settings(change: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        OnnxSegmenterSettings(**change)  # type: ignore[arg-type]


def test_boxes_are_not_asked_for(tmp_path: Path) -> None:
    path = write_network(tmp_path / "a.onnx", [3, "h", "w"], rcnn_outputs(2))
    with pytest.raises(InputError, match="'onnx' finds the objects itself: no boxes"):
        create_segmenter("onnx", path).segment(IMAGE, [Box((0, 0, 1, 1), "Car", 1.0, "a")])


def test_letterbox_there_and_back() -> None:
    picture, placed = letterbox(IMAGE, (32, 32), fill=7, centred=True)
    assert picture.shape == (32, 32, 3)
    assert (picture[:6] == 7).all() and (picture[26:] == 7).all()
    back = placed.boxes(np.array([INSIDE]))
    np.testing.assert_allclose(back, [[20, 10, 40, 30]])
    ramp = np.tile(np.arange(32, dtype=np.float32) + 0.5, (32, 1))
    across = placed.map_to_image(ramp)
    # Away from the border the map says where in the input a pixel's centre lies.
    np.testing.assert_allclose(across[0, 2:-2], (np.arange(2, 62) + 0.5) / 2, atol=0.02)


def test_convention_letterbox_fills_whole_pixels() -> None:
    """375 rows of 1242 columns become 193 rows of 640, not 193.2."""
    picture, placed = letterbox(
        np.full((375, 1242, 3), 200, dtype=np.uint8), (640, 640), fill=0, centred=True
    )
    rows = np.flatnonzero((picture > 100).any(axis=(1, 2)))
    columns = np.flatnonzero((picture > 100).any(axis=(0, 2)))
    whole = [columns[0], rows[0], columns[-1] + 1, rows[-1] + 1]
    np.testing.assert_allclose(placed.boxes(np.array([whole])), [[0, 0, 1242, 375]], atol=1e-9)


def test_names_of_coco() -> None:
    assert len(COCO_80) == 80
    assert len(COCO_91) == 91
    # COCO's own numbers of some classes, and their place among the 80.
    known = {"person": (1, 0), "car": (3, 2), "truck": (8, 7), "stop sign": (13, 11)}
    known |= {"toothbrush": (90, 79), "dining table": (67, 60), "tv": (72, 62)}
    for name, (number, place) in known.items():
        assert COCO_91[number] == name
        assert COCO_80[place] == name
