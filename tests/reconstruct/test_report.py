"""The report: one file, no network, names escaped, and a 3D view that draws in a browser."""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from html_pages import Page
from scene_fixture import make_object, make_scene, small_camera

from diffrender.reconstruct.export import save_scene
from diffrender.reconstruct.overlay import draw_overlay
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


# In a browser.

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--force-device-scale-factor=1", "--window-size=1000,1150",
    "--enable-logging=stderr",
]  # fmt: skip


Attributes = dict[str, str | None]


def browse(page: Path, hash_: str, folder: Path) -> tuple[Attributes, np.ndarray, Attributes]:
    """Attributes of the canvas after drawing, the screenshot (H, W, 3) RGB, and the body's."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found, looked for {', '.join(BROWSERS)}")
    for budget in (3000, 10000, 30000):
        canvas, picture, body = _load(browser, page.as_uri() + hash_, folder / str(budget), budget)
        # Pictures decode in real time, which the page's own clock may outrun on a busy machine.
        if "data-drawn" in canvas:
            break
    return canvas, picture, body


def _load(
    browser: str, address: str, folder: Path, budget: int
) -> tuple[Attributes, np.ndarray, Attributes]:
    """One visit of `budget` milliseconds of the page's own time."""
    folder.mkdir()
    picture = folder / "shot.png"
    done = subprocess.run(
        [
            browser, *FLAGS, f"--virtual-time-budget={budget}",
            f"--user-data-dir={folder / 'profile'}", f"--screenshot={picture}", "--dump-dom",
            address,
        ],
        check=True, capture_output=True, timeout=120, encoding="utf-8",
    )  # fmt: skip
    for complaint in ("Uncaught", "Refused to", "violates the following"):
        assert complaint not in done.stderr
    elements = Page(done.stdout).elements
    canvas, body = (next(a for t, a in elements if t == tag) for tag in ("canvas", "body"))
    return canvas, cv2.imread(str(picture))[..., ::-1], body


def view_region(scene: Scene, shot: np.ndarray) -> np.ndarray:
    """The lower part of the screenshot, below the overlay picture, within the page's margins."""
    overlay = draw_overlay(scene)
    top = 110 + round((shot.shape[1] - 48) * overlay.shape[0] / overlay.shape[1]) + 120
    return shot[top : top + 380, 60:-60]


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> tuple[Scene, Path]:
    folder = tmp_path_factory.mktemp("report")
    scene = make_scene(("car 1", HOSTILE[0]))
    save_scene(scene, folder)
    return scene, folder / "report.html"


@pytest.mark.parametrize(("hash_", "renderer"), [("", "webgl"), ("#canvas2d", "canvas2d")])
def test_the_view_draws_in_a_browser(
    hash_: str, renderer: str, saved: tuple[Scene, Path], tmp_path: Path
) -> None:
    scene, page = saved
    canvas, shot, _ = browse(page, hash_, tmp_path)
    assert canvas["data-renderer"] == renderer
    triangles = sum(len(item.mesh.faces) for item in scene.objects)
    assert canvas["data-drawn"] == f"{triangles} triangles"
    assert int(canvas["data-colours"] or 0) >= 20
    region = view_region(scene, shot).reshape(-1, 3)
    assert region.std(axis=0).min() > 8
    assert len(np.unique(region // 8, axis=0)) > 60
    # The bodies' own colours are there (reddish and bluish), from the textures.
    red, green, blue = region.astype(int).T
    assert ((red > 110) & (red > green + 60) & (red > blue + 60)).sum() > 300
    assert ((blue > 90) & (blue > red + 45)).sum() > 300


def test_convention_camera_view_lays_meshes_over_the_photo(tmp_path: Path) -> None:
    """A magenta car on a black photo: its pixels in the page are its silhouette's, scaled."""
    camera = small_camera()
    scene = make_scene()
    mesh = scene.objects[0].mesh
    assert mesh.texture is not None
    plain = mesh.texture * 0
    plain[..., 0], plain[..., 2] = 1.0, 1.0
    item = make_object(
        "a", scene.objects[0].pose, camera, (1, 0, 1), mesh=dataclasses.replace(mesh, texture=plain)
    )
    scene = dataclasses.replace(scene, objects=[item], image=np.zeros_like(scene.image))
    save_scene(scene, tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    # Boxes and names off, the overlay picture out of the way: the meshes alone.
    text = page.read_text(encoding="utf-8")
    text = text.replace("#names span {", "section:first-child { display: none; } #names span {")
    text = text.replace('data-show="boxes" checked', 'data-show="boxes"')
    page.write_text(text, encoding="utf-8")
    _, shot, _ = browse(page, "#camera", tmp_path)
    red, green, blue = shot.astype(int).transpose(2, 0, 1)
    drawn = (red > 150) & (blue > 150) & (green < 60)
    rows, columns = np.nonzero(drawn)
    scale = (1000 - 2 * 24 - 2) / camera.size[1]
    wanted = np.nonzero(item.silhouette)
    assert columns.min() - 25 == pytest.approx(wanted[1].min() * scale, abs=scale * 1.5)
    assert columns.max() - 25 == pytest.approx((wanted[1].max() + 1) * scale, abs=scale * 1.5)
    height = (wanted[0].max() + 1 - wanted[0].min()) * scale
    assert rows.max() - rows.min() == pytest.approx(height, abs=scale * 1.5)
    photo = np.nonzero((red + green + blue < 12).sum(axis=1) > 300)[0]
    assert rows.min() - photo.min() == pytest.approx(wanted[0].min() * scale, abs=scale * 2)


def test_an_empty_scene_opens_without_errors(tmp_path: Path) -> None:
    scene: Any = dataclasses.replace(make_scene(), objects=[], depth=None)
    save_scene(scene, tmp_path / "out")
    canvas, *_ = browse(tmp_path / "out" / "report.html", "", tmp_path)
    assert canvas["data-drawn"] == "0 triangles"


ACTIONS = """
canvas.setPointerCapture = () => {};  // synthetic pointers cannot be captured
const seen = {}, label = document.querySelector("#names span");
const wait = () => new Promise((done) => setTimeout(done, 50));
const point = (kind, id, x, y, more = {}) => canvas.dispatchEvent(
  new PointerEvent(kind, { pointerId: id, clientX: x, clientY: y, bubbles: true, ...more }));
const acts = {
  start: () => {},
  turn: () => { point("pointerdown", 1, 300, 300);
    point("pointermove", 1, 380, 330, { buttons: 1 }); point("pointerup", 1, 380, 330); },
  idle: () => point("pointermove", 1, 500, 500),
  pan: () => { point("pointerdown", 1, 300, 300); point("pointermove", 1, 340, 300, { buttons: 2 });
    point("pointerup", 1, 340, 300); },
  wheel: () => canvas.dispatchEvent(new WheelEvent("wheel", { deltaY: -60, cancelable: true })),
  pinch: () => { point("pointerdown", 1, 300, 300); point("pointerdown", 2, 400, 300);
    point("pointermove", 2, 460, 300); point("pointerup", 1, 0, 0); point("pointerup", 2, 0, 0); },
  key: () => canvas.dispatchEvent(new KeyboardEvent("keydown", { key: "ArrowLeft" })),
  above: () => document.querySelector("[data-view=above]").click(),
  camera: () => document.querySelector("[data-view=camera]").click(),
  row: () => document.querySelector("tr[data-object='0']").click(),
  names: () => document.querySelector("[data-show=names]").click(),
};
(async () => {
  for (const [name, act] of Object.entries(acts)) {
    act();
    await wait();
    seen[name] = label.hidden ? "hidden" : label.style.transform;
  }
  document.body.dataset.seen = JSON.stringify(seen);
})();
"""


def test_the_view_follows_mouse_fingers_keys_and_buttons(
    saved: tuple[Scene, Path], tmp_path: Path
) -> None:
    text = saved[1].read_text(encoding="utf-8")
    text, count = re.subn(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert count == 1
    page = tmp_path / "page.html"
    # Without a screen the browser grants few animation frames; timers stand in for them.
    timers = "<script>window.requestAnimationFrame = (draw) => setTimeout(draw, 5);</script>"
    text = text.replace("<body>", f"<body>{timers}")
    page.write_text(text.replace("</body>", f"<script>{ACTIONS}</script></body>"), "utf-8")
    seen = json.loads(browse(page, "", tmp_path)[2]["data-seen"] or "")

    def place(name: str) -> np.ndarray:
        return np.array([float(x) for x in re.findall(r"(-?[\d.]+)px", seen[name])])

    assert seen["turn"] != seen["start"]
    assert seen["idle"] == seen["turn"]
    # A right-drag carries the scene with the pointer; the object is near the target's depth.
    moved = place("pan") - place("idle")
    assert 15 < moved[0] < 80
    assert abs(moved[1]) < 12
    steps = ["pan", "wheel", "pinch", "key", "above", "camera", "row"]
    assert len({seen[step] for step in steps}) == len(steps)
    assert seen["names"] == "hidden"
