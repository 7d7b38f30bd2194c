"""KITTI rows and result.json, read back by independent parsers."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scene_fixture import make_object, make_scene, small_camera

from diffrender.errors import InputError
from diffrender.instances import Instance
from diffrender.reconstruct.export import save_scene
from diffrender.reconstruct.kitti_rows import kitti_row, kitti_rows
from diffrender.reconstruct.result_json import result_json, to_plain
from diffrender.reconstruct.scene import Pose

POSE = Pose((-2.5, 1.7, 11.0), (3.9, 1.6, 1.5), -1.2)
COLUMNS = [
    "type", "truncated", "occluded", "alpha", "left", "top", "right", "bottom", "height", "width",
    "length", "x", "y", "z", "rotation_y", "score",
]  # fmt: skip


def parse(text: str) -> list[dict[str, Any]]:
    """A reader of result files that shares nothing with the writer."""
    rows = []
    for line in text.splitlines():
        words = line.split(" ")
        assert len(words) == 16
        rows.append(dict(zip(COLUMNS, [words[0], *map(float, words[1:])], strict=True)))
    return rows


def with_box(box: tuple[float, float, float, float], **changes: Any) -> str:
    mask = np.ones((120, 320), dtype=bool)
    instance = Instance(mask, box, changes.pop("category", "Car"), 0.9, "a")
    pose = changes.pop("pose", POSE)
    item = make_object("a", pose, small_camera(), (0, 0, 0), instance=instance, **changes)
    return kitti_row(item, (120, 320))


def test_convention_kitti_columns() -> None:
    scene = make_scene()
    rows = parse(kitti_rows(scene.objects, scene.camera.size))
    for row, item in zip(rows, scene.objects, strict=True):
        length, width, height = item.pose.size
        assert (row["type"], row["truncated"], row["occluded"]) == ("Car", -1, -1)
        sizes = [row["height"], row["width"], row["length"]]
        assert sizes == pytest.approx([height, width, length], abs=1e-4)
        assert [row["x"], row["y"], row["z"]] == pytest.approx(item.pose.location, abs=1e-4)
        assert row["rotation_y"] == pytest.approx(item.pose.yaw, abs=1e-5)
        expected = item.pose.yaw - math.atan2(row["x"], row["z"])
        expected = math.atan2(math.sin(expected), math.cos(expected))
        assert row["alpha"] == pytest.approx(expected, abs=1e-4)
        assert row["score"] == pytest.approx(item.confidence, abs=1e-6)


def test_convention_kitti_boxes_count_from_pixel_centres() -> None:
    (row,) = parse(with_box((10.0, 20.0, 31.0, 42.0)))
    assert [row[k] for k in ("left", "top", "right", "bottom")] == [9.5, 19.5, 30.5, 41.5]


def test_boxes_are_clipped_to_the_first_and_last_pixel() -> None:
    (row,) = parse(with_box((-30.0, -2.0, 400.0, 120.0)))
    assert [row[k] for k in ("left", "top", "right", "bottom")] == [0, 0, 319, 119]


@settings(max_examples=60, deadline=None)
@given(st.floats(-20, 20), st.floats(-40, 40), st.floats(1, 80))
def test_angles_stay_in_the_written_range(yaw: float, x: float, z: float) -> None:
    item = _item(Pose((x, 1.6, z), (4, 1.6, 1.5), yaw))
    (row,) = parse(kitti_row(item, (120, 320)))
    for angle in (row["rotation_y"], row["alpha"]):
        assert -math.pi <= angle <= math.pi
    assert math.cos(row["rotation_y"] - yaw) == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("yaw", [math.pi, -math.pi, 3 * math.pi, math.nextafter(math.pi, 0)])
def test_half_turns_stay_in_range(yaw: float) -> None:
    (row,) = parse(kitti_row(_item(dataclasses.replace(POSE, yaw=yaw)), (120, 320)))
    assert -math.pi <= row["rotation_y"] <= math.pi
    assert abs(row["rotation_y"]) == pytest.approx(math.pi, abs=2e-6)


def _item(pose: Pose) -> Any:
    template = make_object("a", POSE, small_camera(), (0, 0, 0))
    return dataclasses.replace(template, pose=pose)


def test_a_class_of_two_words_stays_one_column() -> None:
    (row,) = parse(with_box((10.0, 20.0, 31.0, 42.0), category="traffic light\n2"))
    assert row["type"] == "traffic_light_2"


def test_a_pose_that_is_not_finite_is_refused() -> None:
    with pytest.raises(InputError, match="'a' is not finite"):
        kitti_row(_item(dataclasses.replace(POSE, yaw=math.nan)), (120, 320))


def strict(text: str) -> Any:
    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is not JSON")

    return json.loads(text, parse_constant=refuse)


def test_result_json_keeps_everything() -> None:
    scene = make_scene()
    record = strict(result_json(scene))
    assert record["schema"] == 1
    assert record["seed"] == 7
    assert record["settings"] == {"iterations": 60, "lr": 0.02}
    assert record["timings"] == {"load": 0.1, "optimize": 1.5}
    assert record["rejected"] == [scene.rejected[0]._asdict()]
    assert record["camera"]["intrinsics"] == scene.camera.intrinsics.tolist()
    for written, item in zip(record["objects"], scene.objects, strict=True):
        assert written["pose"]["location"] == list(item.pose.location)
        assert written["pose"]["centre"] == pytest.approx(item.centre)
        assert written["latent"] == list(item.latent)
        assert written["losses"] == item.losses
        assert written["history"] == item.history
        assert written["box_2d"] == list(item.instance.box)


def test_nan_and_infinity_become_null() -> None:
    scene = make_scene()
    scene.objects[0].losses["depth"] = math.nan
    scene.objects[0].history[0]["total"] = math.inf
    scene.settings["limit"] = -math.inf
    record = strict(result_json(scene))
    assert record["objects"][0]["losses"]["depth"] is None
    assert record["objects"][0]["history"][0]["total"] is None
    assert record["settings"]["limit"] is None


def test_to_plain_takes_what_settings_hold() -> None:
    value = {
        "tensor": torch.tensor([1.0, math.nan]),
        "array": np.arange(3, dtype=np.int16),
        "scalar": np.float32(0.5),
        "flag": np.bool_(True),
        "tuple": (1, None, True),
        "path": Path("a") / "b",
        "device": torch.device("cpu"),
        "record": Pose((0, 0, 1), (1, 2, 3), 0.5),
        3: {"b", "a"},
    }
    plain = to_plain(value)
    assert strict(json.dumps(plain, allow_nan=False)) == plain
    assert plain["tensor"] == [1.0, None]
    assert plain["array"] == [0, 1, 2]
    assert plain["flag"] is True
    assert plain["tuple"] == [1, None, True]
    assert plain["device"] == "cpu"
    assert plain["record"]["size"] == [1, 2, 3]
    assert plain["3"] == ["a", "b"]


def documented_schema() -> dict[str, Any]:
    text = (Path(__file__).parents[2] / "docs" / "outputs.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"```json schema\n(.*?)```", text, flags=re.DOTALL)
    return json.loads(block)


def mismatches(
    value: Any, schema: dict[str, Any], root: dict[str, Any], at: str = "$"
) -> list[str]:
    """What in `value` breaks the schema; the keywords that the documented one uses."""
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    known = {
        "$schema", "$defs", "title", "description", "type", "const", "properties", "required",
        "additionalProperties", "items", "minItems", "maxItems", "minimum", "maximum", "enum",
    }  # fmt: skip
    assert set(schema) <= known, f"{at}: {set(schema) - known}"
    types = {
        "object": dict, "array": list, "string": str, "number": (int, float), "integer": int,
        "null": type(None), "boolean": bool,
    }  # fmt: skip
    found: list[str] = []
    allowed = schema.get("type", [])
    allowed = [allowed] if isinstance(allowed, str) else allowed
    fits = [isinstance(value, types[t]) and (t == "boolean" or value is not True) for t in allowed]
    if allowed and not any(fits):
        return [f"{at}: {value!r} is not {allowed}"]
    if "const" in schema and value != schema["const"]:
        found.append(f"{at}: {value!r} is not {schema['const']!r}")
    if "enum" in schema and value not in schema["enum"]:
        found.append(f"{at}: {value!r} is not in {schema['enum']}")
    lowest, highest = schema.get("minimum", -math.inf), schema.get("maximum", math.inf)
    if isinstance(value, int | float) and not lowest <= value <= highest:
        found.append(f"{at}: {value} is out of range")
    if isinstance(value, list):
        if not schema.get("minItems", 0) <= len(value) <= schema.get("maxItems", math.inf):
            found.append(f"{at}: {len(value)} items")
        for i, item in enumerate(value):
            found += mismatches(item, schema.get("items", {}), root, f"{at}[{i}]")
    if isinstance(value, dict):
        properties = schema.get("properties", {})
        found += [f"{at}: no {key}" for key in schema.get("required", []) if key not in value]
        rest = schema.get("additionalProperties", {})
        for key, item in value.items():
            if key not in properties and rest is False:
                found.append(f"{at}: {key} is not described")
            else:
                found += mismatches(item, properties.get(key, rest or {}), root, f"{at}.{key}")
    return found


def test_result_json_follows_the_documented_schema(tmp_path: Path) -> None:
    save_scene(make_scene(), tmp_path)
    record = strict((tmp_path / "result.json").read_text(encoding="utf-8"))
    schema = documented_schema()
    assert mismatches(record, schema, schema) == []


def test_the_documented_schema_finds_faults() -> None:
    schema = documented_schema()
    record = strict(result_json(make_scene()))
    record["schema"] = 2
    del record["objects"][0]["pose"]["yaw"]
    record["objects"][1]["pose"]["size"] = [1.0, 2.0]
    record["surplus"] = 1
    found = "\n".join(mismatches(record, schema, schema))
    for part in ("$.schema", "no yaw", "2 items", "surplus is not described"):
        assert part in found
