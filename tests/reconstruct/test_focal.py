"""A guessed focal length: its camera, and what an error of it does, by the model."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from scene_fixture import make_scene
from street_set import write_streets
from test_export_records import documented_schema, mismatches

from diffrender.errors import InputError
from diffrender.instances.reading import read_image
from diffrender.reconstruct import ReconstructSettings, Run, Scene, StageSettings, reconstruct
from diffrender.reconstruct.exif import written_fov
from diffrender.reconstruct.export import save_scene
from diffrender.reconstruct.focal import (
    KITTI_FOV,
    focal_record,
    guess_focal,
    measure_sensitivity,
    statement,
)
from diffrender.reconstruct.input_depth import DepthChoice
from diffrender.reconstruct.inputs import Inputs, MaskChoice, Sources
from diffrender.shape_priors import load_prior


def test_convention_field_of_view() -> None:
    guess = guess_focal(90.0)
    assert guess.focal(200) == pytest.approx(100.0)
    camera = guess.camera((120, 200))
    # The image's left edge is seen 45 degrees to the left of its middle.
    pixels, _ = camera.project(torch.tensor([[-1.0, 0.0, 1.0], [0.0, 0.0, 5.0]]))
    np.testing.assert_allclose(pixels, [[0, 60], [100, 60]], atol=1e-4)
    # KITTI's own figures: 721.5 px for 1242 px.
    assert guess_focal(None).focal(1242) == pytest.approx(721.5, rel=2e-3)
    assert guess_focal(None).fov == KITTI_FOV
    short, long = guess_focal(None).focal_range(1242)
    assert short < 721.5 < long


@pytest.mark.parametrize("fov", [0.0, -3.0, 179.0, math.nan])
def test_impossible_fields_of_view(fov: float) -> None:
    with pytest.raises(InputError, match="the field of view is .* expected 5 to 170"):
        guess_focal(fov)


def photograph(path: Path, size: tuple[int, int], tags: dict[int, int], turned: int = 1) -> Path:
    """A JPEG of (height, width) as stored, dark but for its lower edge, with EXIF."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[-8:] = 255
    exif = Image.Exif()
    exif[0x0112] = turned
    exif.get_ifd(0x8769).update(tags)
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def test_convention_35_mm_film(tmp_path: Path) -> None:
    """Film of 36 x 24 mm sees what its own proportions say; others are compared by diagonals."""
    film = photograph(tmp_path / "film.jpg", (240, 360), {0xA405: 18})
    assert written_fov(film, (240, 360)) == pytest.approx(90.0, abs=0.05)
    other = photograph(
        tmp_path / "telephone.jpg", (300, 400), {0xA405: 26, 0xA002: 4000, 0xA003: 3000}
    )
    focal = 26 / math.hypot(36, 24) * 500
    expected = 2 * math.degrees(math.atan(200 / focal))
    assert written_fov(other, (300, 400)) == pytest.approx(expected, abs=0.05)
    upright = written_fov(other, (400, 300))
    assert upright == pytest.approx(2 * math.degrees(math.atan(150 / focal)), abs=0.05)
    guess = guess_focal(None, expected)
    assert guess.source == "exif"
    assert guess.focal(400) == pytest.approx(focal, rel=2e-3)
    assert guess.focal_range(400) == pytest.approx((focal / 1.05, focal / 0.95), rel=3e-3)
    assert "is what the picture's file says of its lens" in statement(guess, 400, {})
    assert guess_focal(60.0, expected).source == "fov"  # what the user states overrules it


def test_pictures_whose_lens_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "one.jpg"
    for tags in ({}, {0xA405: 0}, {0xA405: 9999}, {0xA405: 26, 0xA002: 4000, 0xA003: 2250}):
        assert written_fov(photograph(path, (300, 400), tags), (300, 400)) is None
    good = photograph(path, (300, 400), {0xA405: 26}).read_bytes()
    assert written_fov(path, (300, 400)) is not None
    at = good.index(b"Exif") + 10  # where the block's tables begin
    path.write_bytes(good[:at] + bytes([255]) * 24 + good[at + 24 :])
    assert written_fov(path, (300, 400)) is None
    assert read_image(path).shape == (300, 400, 3)
    with pytest.raises(InputError, match="none.jpg does not exist"):
        written_fov(tmp_path / "none.jpg", (3, 4))


@pytest.mark.parametrize(
    ("turned", "edge"), [(1, "lower"), (3, "upper"), (6, "left"), (8, "right")]
)
def test_convention_pictures_are_turned_as_viewers_turn_them(
    tmp_path: Path, turned: int, edge: str
) -> None:
    path = photograph(tmp_path / "one.jpg", (64, 96), {0xA405: 26}, turned)
    image = read_image(path)
    assert image.shape == ((96, 64, 3) if turned in (6, 8) else (64, 96, 3))
    bright = {
        "lower": image[-6:], "upper": image[:6], "left": image[:, :6], "right": image[:, -6:]
    }  # fmt: skip
    assert [name for name, part in bright.items() if part.mean() > 200] == [edge]


def test_a_photograph_alone_is_seen_through_its_own_lens(tmp_path: Path) -> None:
    path = photograph(tmp_path / "one.jpg", (96, 128), {0xA405: 26}, turned=6)
    masks = tmp_path / "masks.png"
    Image.fromarray(np.zeros((128, 96), np.uint8)).save(masks)
    inputs = Sources(DepthChoice("none"), MaskChoice(str(masks))).of_image(path, None)
    assert inputs.focal is not None and inputs.focal.source == "exif"
    assert inputs.camera.size == (128, 96)
    focal = float(inputs.camera.intrinsics[0, 0])
    assert focal == pytest.approx(26 / math.hypot(36, 24) * 160, rel=2e-3)
    assert inputs.camera_height == 1.65


def test_height_of_the_camera(tmp_path: Path) -> None:
    path = photograph(tmp_path / "one.jpg", (96, 128), {})
    Image.fromarray(np.zeros((96, 128), np.uint8)).save(tmp_path / "masks.png")
    sources = Sources(DepthChoice("none"), MaskChoice(str(tmp_path / "masks.png")))
    assert sources.of_image(path, None, None, 1.2).camera_height == 1.2
    for height in (0.0, -1.0, 50.0, math.nan):
        with pytest.raises(InputError, match="--camera-height is .* expected metres above"):
            sources.of_image(path, None, None, height)
    calib = tmp_path / "calib.json"
    record = {"intrinsics": [[100, 0, 64], [0, 100, 48], [0, 0, 1]], "pixel_centres": "half"}
    calib.write_text(json.dumps(record))
    assert sources.of_image(path, calib, None, 1.3).camera_height == 1.3
    calib.write_text(json.dumps(record | {"camera_height": 1.4}))
    assert sources.of_image(path, calib).camera_height == 1.4
    with pytest.raises(InputError, match="says that the camera is 1.4 m above the road"):
        sources.of_image(path, calib, None, 1.3)


def measured(tmp_path: Path, depth: str, settings: ReconstructSettings) -> dict[str, float]:
    root = write_streets(tmp_path / "kitti", 1) / "training"
    source = str(root / "depth_2" / "000000.png") if depth == "map" else depth
    sources = Sources(DepthChoice(source), MaskChoice(str(root / "instance_2" / "000000.png")))
    inputs = sources.of_image(root / "image_2" / "000000.png", None, 71.1)
    assert inputs.focal is not None

    def solve(seen: Inputs) -> Scene:
        parts = seen.image, seen.camera, seen.instances, seen.depth
        run = Run(depth_source=seen.depth_source)
        return reconstruct(*parts, load_prior("car"), settings, run)

    return measure_sensitivity(inputs, sources.again, solve)["object_1"]


def test_without_depth_distance_scales_with_the_focal_length(tmp_path: Path) -> None:
    """Sizes are known from the class and apparent ones from the box, so that z = f H / h."""
    slopes = measured(tmp_path, "none", ReconstructSettings(method="box", ground=None))
    assert slopes["depth"] == pytest.approx(1.0, abs=0.1)
    assert slopes["height"] == pytest.approx(0.0, abs=0.1)


def test_a_measured_depth_stays_and_sizes_shrink(tmp_path: Path) -> None:
    """With depth given, H = h z / f, where the class says nothing of the size."""
    free = {
        name: dataclasses.replace(size, sigma=(100.0, 100.0, 100.0))
        for name, size in ReconstructSettings().class_sizes.items()
    }
    stage = StageSettings(iterations=50, size=(48, 48), keep=2)
    settings = ReconstructSettings(
        ground=None, class_sizes=free, hypotheses=2, stages=(stage,), tolerance=0.0
    )
    slopes = measured(tmp_path, "map", settings)
    # The visible face stays where it was measured; the centre behind it moves with the length.
    assert slopes["depth"] == pytest.approx(0.0, abs=0.25)
    assert slopes["height"] == pytest.approx(-1.0, abs=0.3)


def test_the_record_holds_the_ranges(tmp_path: Path) -> None:
    scene = make_scene()
    guess = guess_focal(80.0)
    slopes = {"depth": 1.0, "length": 1.0, "width": 0.0, "height": 0.0}
    name = scene.objects[0].name
    record = focal_record(guess, scene, {name: slopes})
    width = scene.camera.size[1]
    short, long = guess.focal_range(width)
    z, height = scene.objects[0].pose.location[2], scene.objects[0].pose.size[2]
    first = record["objects"][0]
    assert first["depth_range"] == pytest.approx(
        [z * short / guess.focal(width), z * long / guess.focal(width)]
    )
    assert first["height_range"] == pytest.approx([height, height])
    assert record["objects"][1] == {
        "name": scene.objects[1].name, "percent_per_percent": None,
    }  # fmt: skip
    assert "80 degrees was stated" in record["statement"]
    assert "each +1 % of focal length moves depth by +1.00 %" in record["statement"]
    assert "is assumed (KITTI's camera)" in statement(guess_focal(None), width, {})
    save_scene(dataclasses.replace(scene, calibration=record), tmp_path)
    written = json.loads((tmp_path / "result.json").read_text())
    assert written["calibration"] == json.loads(json.dumps(record))
    schema = documented_schema()
    assert mismatches(written, schema, schema) == []
    assert "80 degrees was stated" in (tmp_path / "report.html").read_text()
