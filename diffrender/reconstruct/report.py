"""report.html: one self-contained page with pictures, tables, loss curves and a 3D view.

Nothing is fetched: pictures are data URIs, the script and style are inline, and a content
security policy forbids the network and any script but this one.
"""

from __future__ import annotations

import base64
import dataclasses
import hashlib
import json
import math
import re
from collections.abc import Container, Iterable
from html import escape
from importlib import resources
from typing import Any

import numpy as np
import torch

from diffrender.reconstruct.birds_eye import depth_points
from diffrender.reconstruct.ground import ground_of
from diffrender.reconstruct.overlay import colour_of
from diffrender.reconstruct.report_charts import line_chart
from diffrender.reconstruct.result_json import to_plain
from diffrender.reconstruct.scene import ReconstructedObject, Scene
from diffrender.reconstruct.surfaces import Y_UP, Surface, linear_to_srgb

__all__ = ["report_html", "viewer_record"]

SCRIPTS = ("viewer_math.js", "viewer_webgl.js", "viewer_canvas.js", "viewer.js")
MAX_POINTS = 40_000
JPEG_SIDE = 65_500  # pixels: longer pictures are shrunk
FARTHEST = 120.0  # metres: points beyond only blur the view


def report_html(
    scene: Scene,
    surfaces: list[Surface],
    overlay: np.ndarray,  # (H, W, 3)
    birds_eye_png: bytes,
) -> str:
    """The page as text. `surfaces` follow `scene.objects`; `overlay` is uint8 RGB."""
    script = "\n".join(_asset(name) for name in SCRIPTS)
    digest = base64.b64encode(hashlib.sha256(script.encode("utf-8")).digest()).decode("ascii")
    policy = (
        f"default-src 'none'; img-src data:; style-src 'unsafe-inline'; "
        f"script-src 'sha256-{digest}'; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": policy,
        "title": escape(f"Reconstruction of {scene.name or 'one image'}"),
        "style": _asset("style.css"),
        "facts": _facts(scene),
        "overlay": _data_uri("image/jpeg", _jpeg(overlay)),
        "photo": _data_uri("image/jpeg", _jpeg(_pinhole_photo(scene))),
        "birds_eye": _data_uri("image/png", birds_eye_png),
        "objects": _object_table(scene.objects),
        "rejected": _rejected_table(scene),
        "losses": _loss_table(scene.objects),
        "charts": "".join(line_chart(_title(item), item.history) for item in scene.objects),
        "run": _run_tables(scene),
        "scene": _safe_json(viewer_record(scene, surfaces)),
        "script": script,
    }
    # One pass, so that nothing inside a value is taken for a placeholder.
    return re.sub(r"\{\{(\w+)\}\}", lambda match: parts[match[1]], _asset("template.html"))


def viewer_record(scene: Scene, surfaces: list[Surface]) -> dict[str, Any]:
    """What the 3D view draws, in y-up axes: meshes, boxes, depth points, road and camera."""
    ground = ground_of(scene)
    points, colours = depth_points(scene, MAX_POINTS, FARTHEST)
    centimetres = np.clip(np.rint(points @ Y_UP.T * 100), -32767, 32767)
    camera = scene.camera
    height, width = camera.size
    inside = camera.to(torch.float64)
    corners = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]]).double()
    far = inside.unproject(corners, torch.full((4,), 1.5).double())
    frustum = torch.cat([inside.centre[None], far]).detach().cpu().numpy()
    record: dict[str, Any] = to_plain(
        {
            "objects": [
                _viewer_object(item, surface, index)
                for index, (item, surface) in enumerate(zip(scene.objects, surfaces, strict=True))
            ],
            "points": {
                "centimetres": _packed(centimetres, "<i2"),
                "colours": _packed(colours, "u1"),
            },
            "ground": {"height": ground.height, "slope": ground.slope, "extent": ground.extent},
            "camera": {
                "intrinsics": camera.intrinsics,
                "rotation": camera.rotation,
                "translation": camera.translation,
                "width": width,
                "height": height,
            },
            "frustum": frustum @ Y_UP.T,
        }
    )
    return record


def _viewer_object(item: ReconstructedObject, surface: Surface, index: int) -> dict[str, Any]:
    matrix = np.eye(4)
    matrix[:3, :3] = Y_UP @ item.pose.object_to_world_rotation.numpy() @ Y_UP
    matrix[:3, 3] = Y_UP @ np.array(item.pose.location)
    box = item.pose.corners() @ Y_UP.T
    colours = None
    if surface.colours is not None:
        colours = _packed(np.rint(linear_to_srgb(surface.colours) * 255), "u1")
    png = surface.texture_png
    return {
        "name": _title(item),
        "colour": colour_of(index),
        "matrix": matrix.T.reshape(-1),
        "centre": Y_UP @ np.array(item.centre),
        "top": box[4:].mean(axis=0),
        "box": box,
        "positions": _packed(surface.positions, "<f4"),
        "normals": _packed(surface.normals, "<f4"),
        "indices": _packed(surface.indices, "<u4"),
        "uv": None if surface.uv is None else _packed(surface.uv, "<f4"),
        "colours": colours,
        "texture": None if png is None else _data_uri("image/png", png),
    }


def _asset(name: str) -> str:
    folder = resources.files("diffrender.reconstruct").joinpath("report_assets")
    return folder.joinpath(name).read_text(encoding="utf-8")


def _packed(array: np.ndarray, dtype: str) -> str:
    return base64.b64encode(np.ascontiguousarray(array, dtype=dtype).tobytes()).decode("ascii")


def _data_uri(kind: str, data: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(data).decode('ascii')}"


def _pinhole_photo(scene: Scene) -> np.ndarray:
    """The photograph as the camera would take it without its lens: the 3D view has none."""
    import cv2

    camera = scene.camera.to(torch.float64)
    if camera.distortion is None:
        return scene.image
    rows, columns = np.indices(scene.image.shape[:2]).reshape(2, -1) + 0.5
    pixels = torch.from_numpy(np.stack([columns, rows], axis=-1))
    points = dataclasses.replace(camera, distortion=None).unproject(
        pixels, torch.ones(len(pixels), dtype=torch.float64)
    )
    seen = camera.project(points)[0].detach().cpu().numpy() - 0.5  # OpenCV counts from centres
    across, down = seen.T.reshape(2, *scene.image.shape[:2]).astype(np.float32)
    return np.asarray(cv2.remap(scene.image, across, down, cv2.INTER_LINEAR))


def _jpeg(image: np.ndarray) -> bytes:
    import cv2

    bgr = np.ascontiguousarray(image[..., ::-1])
    if (share := JPEG_SIDE / max(image.shape[:2])) < 1:
        size = [max(int(side * share), 1) for side in (image.shape[1], image.shape[0])]
        bgr = cv2.resize(bgr, size, interpolation=cv2.INTER_AREA)
    done, data = cv2.imencode(".jpg", bgr, [cv2.IMWRITE_JPEG_QUALITY, 90])
    if not done:
        raise RuntimeError(f"JPEG encoding failed for an image of shape {image.shape}")
    return bytes(data.tobytes())


def _safe_json(record: dict[str, Any]) -> str:
    """JSON that can stand inside a script element: no character that HTML looks at."""
    text = json.dumps(record, allow_nan=False, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _title(item: ReconstructedObject) -> str:
    return item.name or item.category


def _number(value: float | None, form: str = ".2f") -> str:
    return format(value, form) if value is not None and math.isfinite(value) else "–"


def _facts(scene: Scene) -> str:
    height, width = scene.camera.size
    seconds = scene.timings.get("total", sum(scene.timings.values()))
    pairs = [
        ("objects", str(len(scene.objects))),
        ("not reconstructed", str(len(scene.rejected))),
        ("image", f"{width} × {height}"),
        ("depth", scene.depth_source),
        ("seconds", _number(seconds, ".1f")),
        ("seed", str(scene.seed)),
    ]
    if scene.calibration:
        pairs.append(("camera", str(scene.calibration.get("statement", ""))))
    return "".join(f"<li>{escape(name)} <b>{escape(value)}</b></li>" for name, value in pairs)


def _table(head: Iterable[str], rows: Iterable[str], text: Container[str] = ()) -> str:
    titles = "".join(f"<th{' class=text' * (cell in text)}>{cell}</th>" for cell in head)
    return (
        f'<div class="scroll"><table><thead><tr>{titles}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )


def _name_cell(item: ReconstructedObject, index: int) -> str:
    red, green, blue = colour_of(index)
    swatch = f'<i class="swatch" style="background:rgb({red},{green},{blue})"></i>'
    return f"<td>{swatch}{escape(_title(item))}</td>"


def _object_table(objects: list[ReconstructedObject]) -> str:
    if not objects:
        return '<p class="note">No object was reconstructed.</p>'
    rows = []
    for index, item in enumerate(objects):
        pose = item.pose
        sizes = " × ".join(_number(side) for side in pose.size)
        places = "".join(f"<td>{_number(value)}</td>" for value in pose.location)
        value = item.confidence if math.isfinite(item.confidence) else 0.0
        rows.append(
            f'<tr data-object="{index}">{_name_cell(item, index)}'
            f'<td class="text">{escape(item.category)}</td>{places}<td>{sizes}</td>'
            f"<td>{_number(math.degrees(pose.yaw), '.1f')}°</td>"
            f'<td><meter min="0" max="1" value="{value:.3f}"></meter>'
            f"{_number(item.confidence)}</td>"
            f'<td class="text">{escape(item.stop_reason)}</td></tr>'
        )
    head = ["Name", "Class", "x", "y", "z", "l × w × h", "Yaw", "Confidence", "Stopped"]
    note = (
        '<p class="note">Centre of the bottom face and size in metres; x right, y down, '
        "z ahead of the camera. Yaw is KITTI’s rotation_y. A row brings its object into view.</p>"
    )
    return _table(head, rows, text=("Class", "Stopped")) + note


def _rejected_table(scene: Scene) -> str:
    if not scene.rejected:
        return '<p class="note">Every instance was reconstructed.</p>'
    rows = [
        f'<tr><td>{escape(item.name)}</td><td class="text">{escape(item.category)}</td>'
        f'<td class="text">{escape(item.reason)}</td></tr>'
        for item in scene.rejected
    ]
    return _table(["Name", "Class", "Reason"], rows, text=("Class", "Reason"))


def _loss_table(objects: list[ReconstructedObject]) -> str:
    named = dict.fromkeys(key for item in objects for key in item.losses)  # in order, once each
    terms = sorted(named, key=lambda key: key != "total")
    if not terms:
        return '<p class="note">No losses were kept.</p>'
    rows = []
    for index, item in enumerate(objects):
        cells = "".join(f"<td>{_number(item.losses.get(term), '.4g')}</td>" for term in terms)
        rows.append(
            f"<tr>{_name_cell(item, index)}{cells}<td>{_number(item.seconds, '.2f')}</td></tr>"
        )
    return _table(["Final value", *(escape(term) for term in terms), "seconds"], rows)


def _run_tables(scene: Scene) -> str:
    seconds = {stage: _number(value, ".3f") for stage, value in scene.timings.items()}
    groups = [("Seconds", seconds), ("Versions", scene.versions), ("Settings", scene.settings)]
    cards = []
    for title, values in groups:
        if values:
            rows = "".join(
                f"<tr><td>{escape(key)}</td><td>{escape(text)}</td></tr>"
                for key, text in _flat(to_plain(values))
            )
            cards.append(
                f'<div class="scroll"><table><caption>{title}</caption>{rows}</table></div>'
            )
    return "".join(cards) or '<p class="note">Nothing was recorded.</p>'


def _flat(value: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Nested settings as dotted names with their values."""
    rows: list[tuple[str, str]] = []
    for key, item in value.items():
        if isinstance(item, list) and item and all(isinstance(part, dict) for part in item):
            item = {str(number): part for number, part in enumerate(item)}
        if isinstance(item, dict) and item:
            rows += _flat(item, f"{prefix}{key}.")
        else:
            rows.append((f"{prefix}{key}", item if isinstance(item, str) else json.dumps(item)))
    return rows
