"""The camera of a single image from a KITTI calibration file or JSON."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from diffrender.datasets import load_camera, load_camera_file
from diffrender.errors import InputError

K = [[700, 0, 600], [0, 710, 170], [0, 0, 1]]


def _write(folder: Path, content: Any) -> Path:
    path = folder / "camera.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_convention_json_states_its_pixel_centres(tmp_path: Path) -> None:
    for centres, shift in (("integer", 0.5), ("half", 0.0)):
        path = _write(tmp_path, {"intrinsics": K, "pixel_centres": centres})
        camera = load_camera(path, (375, 1242))
        expected = torch.tensor([[700, 0, 600 + shift], [0, 710, 170 + shift], [0, 0, 1]])
        assert torch.equal(camera.intrinsics, expected)
        assert torch.equal(camera.translation, torch.zeros(3))


def test_json_with_projection_height_and_size(tmp_path: Path) -> None:
    projection = [[700, 0, 600, 70], [0, 700, 170, 0], [0, 0, 1, 0]]
    content = {"projection": projection, "pixel_centres": "integer", "camera_height": 1.5}
    loaded = load_camera_file(_write(tmp_path, {**content, "image_size": [375, 1242]}))
    assert loaded.camera_height == 1.5
    assert loaded.camera((375, 1242)).translation.tolist() == pytest.approx([0.1, 0, 0])
    with pytest.raises(InputError, match=r"camera\.json is for an image of \(375, 1242\) \(h"):
        loaded.camera((370, 1242))


def test_a_kitti_file_gives_its_second_camera(tmp_path: Path) -> None:
    path = tmp_path / "calib.txt"
    path.write_text("P2: 700 0 600 70 0 700 170 0 0 0 1 0\n")
    camera = load_camera(path, (375, 1242))
    assert camera.intrinsics[0, 2] == 600.5
    assert camera.translation.tolist() == pytest.approx([0.1, 0, 0])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", r"camera\.json line 1 column 2: not JSON"),
        ('{"a": NaN}', "the constant NaN is not allowed in JSON"),
        ("[" * 100_000, "not JSON that can be read"),
        ("[1, 2]", "the JSON is a list, expected an object"),
        ({"intrinsics": K}, "'pixel_centres' is None, expected 'integer' .* or 'half'"),
        ({"intrinsics": K, "pixel_centres": "centre"}, "'pixel_centres' is 'centre'"),
        ({"pixel_centres": "half"}, "expected either 'intrinsics' .* or 'projection'"),
        ({"intrinsics": K, "projection": K, "pixel_centres": "half"}, "expected either"),
        ({"intrinsics": K[:2], "pixel_centres": "half"}, "not 3 rows of 3 finite numbers"),
        ({"intrinsics": [[True] * 3] * 3, "pixel_centres": "half"}, "not 3 rows of 3"),
        ('{"intrinsics": [[1e999,0,0],[0,1,0],[0,0,1]], "pixel_centres": "half"}', "not 3 rows"),
        ({"intrinsics": [[0] * 3] * 3, "pixel_centres": "half"}, "needs positive focal lengths"),
        ({"intrinsics": K, "pixel_centres": "half", "camera_height": -1}, "'camera_height' is -1"),
        ({"intrinsics": K, "pixel_centres": "half", "camera_height": 0.05}, "0.1 to 20"),
        ({"intrinsics": K, "pixel_centres": "half", "image_size": 3}, "'image_size' is 3"),
        ({"intrinsics": K, "pixel_centres": "half", "focal": 3}, "unknown key 'focal'"),
    ],
)
def test_broken_json_is_explained(tmp_path: Path, content: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_camera(_write(tmp_path, content), (375, 1242))
