"""The scene from above: boxes with headings, the field of view and the depth's points."""

from __future__ import annotations

import warnings

import numpy as np
import torch

from diffrender.reconstruct.ground import ground_of
from diffrender.reconstruct.overlay import colour_of
from diffrender.reconstruct.scene import Scene

__all__ = ["depth_points", "draw_birds_eye"]

FARTHEST = 500.0  # metres; an object that is put farther away lies outside the picture


def depth_points(
    scene: Scene, limit: int, farthest: float = np.inf
) -> tuple[np.ndarray, np.ndarray]:
    """At most `limit` points of the depth map up to `farthest` metres, with the image's colours.

    Returns:
        (N, 3) float32 metres in the frame of the labels and (N, 3) uint8 sRGB; N = 0 without
        depth.
    """
    if scene.depth is None:
        return np.zeros((0, 3), np.float32), np.zeros((0, 3), np.uint8)
    known = np.isfinite(scene.depth) & (scene.depth > 0) & (scene.depth <= farthest)
    rows, columns = np.nonzero(known)
    if len(rows) > limit:
        # Drawn once with a fixed seed: a regular stride would show as stripes.
        keep = np.random.default_rng(0).choice(len(rows), limit, replace=False)
        rows, columns = rows[np.sort(keep)], columns[np.sort(keep)]
    pixels = torch.from_numpy(np.stack([columns, rows], axis=1) + 0.5)
    depth = torch.from_numpy(scene.depth[rows, columns].astype(np.float64))
    points = scene.camera.to(torch.float64).unproject(pixels, depth)
    return points.numpy().astype(np.float32), scene.image[rows, columns]


def draw_birds_eye(scene: Scene) -> np.ndarray:
    """Top view, x to the right and z up, metres on both axes. Returns (H, W, 3) uint8 RGB.

    Drawn is what lies up to 500 metres ahead, and 250 to either side.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.patches import Polygon

    left, right, near, far = ground_of(scene).extent
    left, right, far = max(left, -FARTHEST / 2), min(right, FARTHEST / 2), min(far, FARTHEST)
    wide, deep = right - left, far - near + 3
    tall = float(np.clip(7.0 * deep / wide, 4.0, 10.5))
    size = (float(np.clip(tall * wide / deep + 0.8, 4.5, 7.0)), tall)
    figure = Figure(figsize=size, dpi=130, layout="constrained", facecolor="#fcfcfb")
    canvas = FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_xlim(left, right)
    axes.set_ylim(near - 3, far)
    axes.set_facecolor("#f4f4f2")
    step = 5 if deep < 60 else 10 if deep < 250 else 50
    axes.set_xticks(np.arange(np.ceil(left / step) * step, right + 1e-6, step))
    axes.set_yticks(np.arange(0, far + 1e-6, step))
    axes.grid(color="#d9dad6", linewidth=0.7)
    axes.set_axisbelow(True)
    axes.set_xlabel("x, metres to the right of the camera")
    axes.set_ylabel("z, metres ahead")
    for spine in axes.spines.values():
        spine.set_color("#c4c6c0")

    points, colours = depth_points(scene, 20000, 2 * FARTHEST)
    if len(points):
        shade = colours.astype(np.float64) / 255 * 0.75
        axes.scatter(points[:, 0], points[:, 2], s=0.8, c=shade, linewidths=0, rasterized=True)
    for ray in _view_edges(scene, far * 2):
        axes.plot(*ray, color="#70757a", linewidth=1, linestyle=(0, (5, 4)))
    centre = scene.camera.centre.tolist()
    axes.plot(centre[0], centre[2], marker="^", markersize=9, color="#303438")

    for index, item in enumerate(scene.objects):
        colour = np.array(colour_of(index)) / 255
        corners = item.pose.corners()[:4][:, [0, 2]]
        axes.add_patch(
            Polygon(corners, facecolor=(*colour, 0.35), edgecolor=colour * 0.75, linewidth=1.6)
        )
        middle, nose = corners.mean(axis=0), corners[:2].mean(axis=0)
        axes.plot(*np.stack([middle, nose], axis=1), color=colour * 0.6, linewidth=2)
        axes.plot(*corners[:2].T, color=colour * 0.5, linewidth=3.2, solid_capstyle="round")
        axes.annotate(
            item.name or item.category,
            (corners[:, 0].max(), corners[:, 1].mean()),
            (5, 0),
            textcoords="offset points",
            fontsize=8,
            va="center",
            color="#202326",
            parse_math=False,
            annotation_clip=True,
            bbox={"boxstyle": "round,pad=0.2", "facecolor": "#ffffffd0", "edgecolor": "none"},
        )
    with warnings.catch_warnings():
        # A name may use a script that the font lacks; boxes in its place are good enough here.
        warnings.filterwarnings("ignore", message="Glyph .* missing from")
        canvas.draw()
    return np.array(canvas.buffer_rgba())[..., :3].copy()


def _view_edges(scene: Scene, depth: float) -> list[np.ndarray]:
    """The image's left and right edges as lines from the camera, (2, 2) rows x and z each."""
    camera = scene.camera.to(torch.float64)
    row = camera.intrinsics[1, 2]
    pixels = torch.stack([torch.tensor([0.0, row]), torch.tensor([float(camera.size[1]), row])])
    ends = camera.unproject(pixels.double(), torch.full((2,), depth, dtype=torch.float64))
    start = camera.centre
    return [torch.stack([start, end])[:, [0, 2]].T.numpy() for end in ends]
