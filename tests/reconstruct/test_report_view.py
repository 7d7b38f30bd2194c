"""The report's 3D view in a browser: what it draws, and how it follows the user."""

from __future__ import annotations

import dataclasses
import json
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
from diffrender.reconstruct.scene import Scene

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--use-angle=swiftshader",
    "--enable-unsafe-swiftshader", "--disable-quic", "--no-first-run", "--disable-sync",
    "--disable-background-networking", "--disable-component-update", "--hide-scrollbars",
    "--disable-dev-shm-usage", "--force-device-scale-factor=1", "--window-size=1000,1150",
    "--enable-logging=stderr",
]  # fmt: skip

HOSTILE = "<script>alert('a')</script>"
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
    scene = make_scene(("car 1", HOSTILE))
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
