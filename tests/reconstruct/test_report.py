"""The report: one file, no network, names escaped, charts of its losses."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re

import cv2
import numpy as np
import pytest
from html_pages import Page
from scene_fixture import make_scene

from diffrender.reconstruct.report import MAX_POINTS, report_html, viewer_record
from diffrender.reconstruct.report_charts import line_chart
from diffrender.reconstruct.scene import Scene
from diffrender.reconstruct.surfaces import encode_png, make_surface

HOSTILE = ("<script>alert('a')</script>", '"><img src=x onerror=alert(1)>{{script}}')


def page_of(scene: Scene) -> str:
    surfaces = [make_surface(item.mesh) for item in scene.objects]
    tiny = np.zeros((4, 4, 3), np.uint8)
    return report_html(scene, surfaces, tiny, encode_png(tiny))


def test_nothing_is_fetched() -> None:
    page = Page(page_of(make_scene()))
    for tag, attributes in page.elements:
        assert tag not in ("link", "iframe", "object", "embed", "base", "form")
        for name in ("src", "href", "srcset", "action", "data"):
            value = attributes.get(name)
            assert value is None or value.startswith("data:"), (tag, name, value)
        assert not any(name.startswith("on") for name in attributes)
    text = page_of(make_scene())
    assert re.findall(r"https?://", text) == []
    assert "@import" not in text
    assert re.findall(r"url\(", text) == []
    for name in ("fetch(", "XMLHttpRequest", "WebSocket", "importScripts", "eval("):
        assert name not in text


def test_the_policy_allows_this_script_only() -> None:
    page = Page(page_of(make_scene()))
    policy = next(a["content"] for t, a in page.elements if "http-equiv" in a)
    assert policy is not None
    assert "default-src 'none'" in policy
    scripts = [s for s in page.texts["script"] if s.lstrip().startswith('"use strict"')]
    (script,) = scripts
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "connect-src" not in policy  # so that default-src 'none' covers it


def test_hostile_names_stay_text() -> None:
    scene = make_scene(HOSTILE, frame="</title><script>alert(2)</script>")
    scene.rejected[0] = scene.rejected[0]._replace(reason="</td><script>x</script>")
    scene.objects[0].losses["<b>"] = 1.0
    scene.objects[0].history[0]["<i>"] = 1.0
    scene.settings["<u>"] = {"</table>": "<s>"}
    text = page_of(scene)
    plain, page = Page(page_of(make_scene())), Page(text)
    # The same number of scripts and pictures as without hostile names: nothing was injected.
    for tag in ("script", "img", "b", "u", "s", "title"):
        count = [sum(t == tag for t, _ in p.elements) for p in (plain, page)]
        assert count[0] == count[1], tag
    assert page.texts["title"] == ["Reconstruction of </title><script>alert(2)</script>"]
    for name in HOSTILE:
        assert name in "".join(page.texts["td"])
    record = json.loads(page.texts["script"][0])
    assert [o["name"] for o in record["objects"]] == list(HOSTILE)


def test_the_tables_hold_poses_losses_and_reasons() -> None:
    scene = make_scene()
    cells = Page(page_of(scene)).texts["td"]
    for text in ("car 1", "-2.00", "1.65", "9.00", "3.90 × 1.60 × 1.50", "converged", "0.81"):
        assert text in cells
    assert f"{math.degrees(2.6):.1f}°" in cells
    assert "the mask has 4 pixels, expected at least 40" in cells
    assert f"{scene.objects[0].losses['depth']:.4g}" in cells
    assert {"iterations", "60", "optimize", "1.500", "diffrender", "0.1.0"} <= set(cells)


def unpack(text: str, dtype: str, width: int) -> np.ndarray:
    return np.frombuffer(base64.b64decode(text), dtype).reshape(-1, width)


def test_viewer_record_places_meshes_and_points() -> None:
    scene = make_scene()
    surfaces = [make_surface(item.mesh) for item in scene.objects]
    record = viewer_record(scene, surfaces)
    flip = np.diag([1.0, -1.0, -1.0])
    for written, item in zip(record["objects"], scene.objects, strict=True):
        matrix = np.array(written["matrix"]).reshape(4, 4).T
        found = unpack(written["positions"], "<f4", 3) @ matrix[:3, :3].T + matrix[:3, 3]
        low, high = np.array(written["box"]).min(axis=0), np.array(written["box"]).max(axis=0)
        assert (found >= low - 1e-4).all()
        assert (found <= high + 1e-4).all()
        assert np.allclose(np.array(written["centre"]) @ flip, item.centre)
        indices = unpack(written["indices"], "<u4", 3)
        assert indices.max() < len(found)
    points = unpack(record["points"]["centimetres"], "<i2", 3) / 100
    colours = unpack(record["points"]["colours"], "u1", 3)
    assert 0 < len(points) == len(colours) <= MAX_POINTS
    assert (points[:, 2] < 0).all()
    assert points[:, 2].min() >= -120


def test_a_broken_number_leaves_a_gap_not_a_crash() -> None:
    scene = make_scene()
    scene.objects[0].losses["depth"] = math.nan
    scene.objects[0].history[3]["depth"] = math.nan
    scene.timings["load"] = math.nan
    text = page_of(scene)
    assert "NaN" not in re.sub(r'"use strict".*', "", text, flags=re.DOTALL)
    assert "<td>–</td>" in text


def polylines(svg: str) -> list[np.ndarray]:
    texts = re.findall(r'points="([^"]*)"', svg)
    return [np.array([p.split(",") for p in t.split()], dtype=float) for t in texts]


def test_curves_fall_where_the_loss_falls() -> None:
    svg = line_chart("a", [{"total": 1.0 / (i + 1)} for i in range(10)])
    (curve,) = polylines(svg)
    assert len(curve) == 10
    assert (np.diff(curve[:, 0]) > 0).all()
    assert (np.diff(curve[:, 1]) > 0).all()  # SVG's y points down


def test_a_wide_span_is_drawn_on_a_logarithmic_axis() -> None:
    (curve,) = polylines(line_chart("a", [{"total": 10.0**-i} for i in range(5)]))
    assert np.allclose(np.diff(curve[:, 1]), np.diff(curve[:, 1])[0], atol=0.2)


def test_zeros_lie_on_the_lower_edge_of_a_logarithmic_axis() -> None:
    svg = line_chart("a", [{"total": 50.0, "a": 0.0}, {"total": 5.0, "a": 0.5}])
    small, total = polylines(svg)
    assert small[0, 1] == small[1, 1] == 170 - 22
    assert total[0, 1] < total[1, 1] < small[0, 1]


@pytest.mark.parametrize(
    "history",
    [
        [{"total": 1.0}],
        [{"total": 0.0}, {"total": 0.0}],
        [{"total": -1.0, "a": 5.0}, {"total": math.nan, "a": math.inf}, {"a": 2.0}],
        [{"iteration": 0, "total": 3.0}, {"iteration": 50, "total": 1.0}],
    ],
)
def test_odd_histories_draw_within_the_frame(history: list[dict[str, float]]) -> None:
    curves = polylines(line_chart("a", history))
    assert curves
    for curve in curves:
        assert (curve >= 0).all()
        assert (curve[:, 0] <= 320).all()
        assert (curve[:, 1] <= 170).all()


def test_no_history_says_so() -> None:
    assert "No history kept" in line_chart("a", [])


def test_a_picture_longer_than_jpeg_allows_is_shrunk() -> None:
    scene = make_scene()
    wide = np.full((16, 70_000, 3), 90, np.uint8)
    page = report_html(dataclasses.replace(scene, objects=[]), [], wide, encode_png(wide[:4, :4]))
    picture = re.findall(r"data:image/jpeg;base64,([A-Za-z0-9+/=]+)", page)[0]
    data = np.frombuffer(base64.b64decode(picture), np.uint8)
    assert cv2.imdecode(data, cv2.IMREAD_COLOR).shape == (14, 65_500, 3)
