"""The picture of a result: rendered outlines, 3D boxes and names over the image."""

from __future__ import annotations

import dataclasses

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.reconstruct.scene import Pose, Scene

__all__ = ["PALETTE", "box_segments", "colour_of", "draw_overlay"]

# Distinct on asphalt and on white, RGB.
PALETTE = [
    (255, 122, 26), (24, 174, 217), (126, 200, 60), (214, 84, 196), (240, 196, 32),
    (112, 116, 240), (32, 186, 140), (236, 72, 88), (150, 170, 190), (176, 124, 72),
]  # fmt: skip

NEAR = 0.2  # metres: box edges are cut here, before the division by depth
EDGES = [(i, (i + 1) % 4) for i in range(4)]
EDGES += [(a + 4, b + 4) for a, b in EDGES] + [(i, i + 4) for i in range(4)]
FRONT_CROSS = [(0, 5), (1, 4)]  # diagonals of the face at +x: the heading
LENS_PIECES = 16  # of an edge that a lens bends
SUBPIXEL = 4  # fractional bits of the coordinates that OpenCV draws


def colour_of(index: int) -> tuple[int, int, int]:
    """RGB of the object with this index, the same in every output."""
    return PALETTE[index % len(PALETTE)]


def box_segments(pose: Pose, camera: Camera) -> tuple[np.ndarray, int]:
    """The projected edges of a box and the cross on its front, cut at the near plane.

    Through a lens an edge is a curve, drawn as `LENS_PIECES` segments.

    Returns:
        Segments (S, 2, 2) in corner-based pixels, not clipped to the image, and how many of the
        last ones belong to the cross.
    """
    corners = torch.from_numpy(pose.corners())
    camera = camera.to(torch.float64)
    points = camera.world_to_camera(corners).numpy()
    bare = dataclasses.replace(
        camera,
        rotation=torch.eye(3, dtype=torch.float64),
        translation=torch.zeros(3, dtype=torch.float64),
    )
    shares = np.linspace(0, 1, 2 if camera.distortion is None else LENS_PIECES + 1)[:, None]
    segments: list[np.ndarray] = []
    crossed = 0
    for number, (first, second) in enumerate(EDGES + FRONT_CROSS):
        a, b = points[first], points[second]
        if a[2] < NEAR and b[2] < NEAR:
            continue
        if a[2] < NEAR or b[2] < NEAR:
            cut = a + (b - a) * (NEAR - a[2]) / (b[2] - a[2])
            a, b = (cut, b) if a[2] < NEAR else (a, cut)
        line = bare.project(torch.from_numpy(a * (1 - shares) + b * shares))[0].numpy()
        segments += [line[i : i + 2] for i in range(len(line) - 1)]
        crossed += (len(line) - 1) * (number >= len(EDGES))
    return np.array(segments).reshape(-1, 2, 2), crossed


def draw_overlay(scene: Scene, enlarge: int | None = None) -> np.ndarray:
    """The image with every object's outline, box and name. Returns (H s, W s, 3) uint8 RGB.

    `enlarge` is a whole factor s; by default the smallest that makes the picture 1600 px wide,
    at most 4. Lines and names grow with the picture, so that one of twelve megapixels can be read
    when it is made to fit a screen.
    """
    import cv2

    height, width = scene.image.shape[:2]
    factor = enlarge or min(4, -(-1600 // width))
    big = (width * factor, height * factor)
    stroke = max(factor, round(big[0] / 1600))  # pixels of the picture
    canvas = cv2.resize(scene.image, big, interpolation=cv2.INTER_CUBIC)
    order = sorted(range(len(scene.objects)), key=lambda i: -scene.objects[i].pose.location[2])

    contours = {}
    for index in order:
        mask = scene.objects[index].silhouette.astype(np.uint8) * 255
        # Smooth enlargement, so that outlines do not show the pixels' stairs.
        mask = cv2.resize(mask, big, interpolation=cv2.INTER_LINEAR) > 127
        tint = np.array(colour_of(index), dtype=np.float32)
        canvas[mask] = np.rint(canvas[mask] * 0.72 + tint * 0.28).astype(np.uint8)
        contours[index] = cv2.findContours(
            mask.astype(np.uint8), cv2.RETR_LIST, cv2.CHAIN_APPROX_NONE
        )[0]
    for index in order:
        cv2.drawContours(canvas, contours[index], -1, colour_of(index), stroke, cv2.LINE_AA)
    for index in order:
        segments, crossed = box_segments(scene.objects[index].pose, scene.camera)
        _draw_segments(canvas, segments * factor, crossed, colour_of(index), stroke)
    return _draw_labels(canvas, scene, order, factor, stroke)


def _draw_segments(
    canvas: np.ndarray, segments: np.ndarray, crossed: int, colour: tuple[int, ...], stroke: int
) -> None:
    import cv2

    # OpenCV counts from pixel centres; the limit keeps its fixed-point numbers in range.
    fixed = np.clip((segments - 0.5) * 2**SUBPIXEL, -(2**28), 2**28)
    ends = np.rint(fixed).astype(int).tolist()
    thin = max(1, stroke // 2)
    for thickness, shade in ((stroke + 2 * thin, (16, 16, 16)), (stroke, colour)):
        for number, (a, b) in enumerate(ends):
            cross = number >= len(ends) - crossed
            if not cross or shade == colour:
                cv2.line(canvas, a, b, shade, thin if cross else thickness, cv2.LINE_AA, SUBPIXEL)


def _draw_labels(
    canvas: np.ndarray, scene: Scene, order: list[int], factor: int, stroke: int
) -> np.ndarray:
    """Names on plates above the objects, moved up where plates would cover one another."""
    from matplotlib import get_data_path
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.fromarray(canvas)
    draw = ImageDraw.Draw(picture)
    # The font that matplotlib ships knows more scripts than OpenCV's strokes.
    font = ImageFont.truetype(f"{get_data_path()}/fonts/ttf/DejaVuSans.ttf", 6 + 6 * stroke)
    placed: list[tuple[float, float, float, float]] = []
    plates: list[tuple[int, tuple[float, float], str]] = []
    for index in reversed(order):  # nearest first: it keeps the place next to its object
        item = scene.objects[index]
        text = f"{_one_line(item.name or item.category)}  {item.pose.location[2]:.1f} m"
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        wide, high = right - left + 10, bottom - top + 8
        rows, columns = np.nonzero(item.silhouette)
        box = item.instance.box
        centre = columns.mean() + 0.5 if len(columns) else (box[0] + box[2]) / 2
        anchor_y = (float(rows.min()) if len(rows) else box[1]) * factor
        x = float(np.clip(centre * factor - wide / 2, 2, max(2, canvas.shape[1] - wide - 2)))
        y = max(2.0, anchor_y - high - 4 * stroke)
        highest = y
        while y > 2 and any(_overlap((x, y, x + wide, y + high), other) for other in placed):
            y = max(2.0, y - high / 2)
        if any(_overlap((x, y, x + wide, y + high), other) for other in placed):
            y = highest
        placed.append((x, y, x + wide, y + high))
        foot = (centre * factor, y + high, centre * factor, anchor_y)
        draw.line(foot, fill=colour_of(index), width=stroke)
        plates.append((index, (x + 5 - left, y + 4 - top), text))
    # Plates last: no line may cross a name.
    for (index, start, text), plate in zip(plates, placed, strict=True):
        draw.rounded_rectangle(plate, 4, fill=(20, 22, 25), outline=colour_of(index))
        draw.text(start, text, font=font, fill=(245, 245, 245))
    return np.asarray(picture)


def _one_line(text: str) -> str:
    """Text without control characters, short enough for a plate."""
    clean = "".join(c if c.isprintable() else " " for c in text)
    return clean if len(clean) <= 24 else clean[:23] + "…"


def _overlap(a: tuple[float, ...], b: tuple[float, ...]) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
