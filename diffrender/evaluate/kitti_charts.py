"""Pictures of a report: precision-recall curves, AP over distance, the worst frames from above."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np

from diffrender.evaluate.kitti_report import AveragePrecision, ClassReport, KittiReport, WorstFrame
from diffrender.evaluate.kitti_tables import LABELS, band_name
from diffrender.evaluate.overlaps import rectangle_corners
from diffrender.evaluate.precision import SAMPLES

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["distance_chart", "precision_chart", "worst_chart"]

INK, SOFT, LINE = "#1d2023", "#646a70", "#dfe0dc"
_LEVEL = {"easy": "#2b9fc4", "moderate": "#1d2023", "hard": "#e0762f"}
_METRIC = {"bev": "#2b9fc4", "3d": "#e0762f"}
_FATE = {"hit": "#5fa83a", "missed": "#d8505c", "false": "#e0762f", "neutral": "#a3a8ad"}
_DASH = {"strict": "-", "loose": (0, (4, 2))}


def precision_chart(entry: ClassReport) -> bytes:
    """PNG: a panel per metric; a line per difficulty, dashed for the loose overlap."""
    metrics = [m for m in LABELS if any(row.metric == m for row in entry.rows)]
    figure = _figure((3.4 * len(metrics) + 0.4, 4.0))
    for index, metric in enumerate(metrics):
        axes = figure.add_subplot(1, len(metrics), index + 1)
        rows = [row for row in entry.rows if row.metric == metric]
        for row in rows:
            _curve(axes, row)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_ylabel("similarity" if metric == "aos" else "precision")
        _plain(axes, f"{entry.name}, {LABELS[metric]}", "recall")
        axes.legend(
            title="AP R40, minimum overlap", loc="upper center", bbox_to_anchor=(0.5, -0.14),
            ncols=1 + any(row.overlap == "loose" for row in rows), columnspacing=1.2,
            fontsize=7.5, title_fontsize=7.5, frameon=False,
        )  # fmt: skip
    return _png(figure)


def _curve(axes: Axes, row: AveragePrecision) -> None:
    """The sampled curve as a line, the counted points as dots."""
    count = len(row.curve.scores)
    recall = np.arange(SAMPLES) / (SAMPLES - 1)
    colour = _LEVEL[row.difficulty]
    label = f"{row.difficulty} {row.r40:.2f} (> {row.minimum:.2f})"
    axes.plot(
        recall[:count], row.curve.sampled[:count],
        color=colour, linestyle=_DASH[row.overlap], linewidth=1.6, label=label,
    )  # fmt: skip
    values = row.curve.precision if row.curve.similarity is None else row.curve.similarity
    axes.plot(row.curve.recall, values, ".", color=colour, markersize=2.5, alpha=0.5)


def distance_chart(entry: ClassReport) -> bytes:
    """PNG: AP R40 of BEV and 3D per band of depth, with the number of truths below."""
    figure = _figure((6.4, 3.4))
    axes = figure.add_subplot()
    lines: dict[tuple[str, str], list[Any]] = {}
    for band in entry.bands:
        lines.setdefault((band.metric, band.overlap), []).append(band)
    for (metric, overlap), bands in lines.items():
        axes.plot(
            range(len(bands)), [band.r40 for band in bands], "o", markersize=4,
            color=_METRIC[metric], linestyle=_DASH[overlap], linewidth=1.6,
            label=f"{LABELS[metric]} > {bands[0].minimum:.2f}",
        )  # fmt: skip
    first = next(iter(lines.values()))
    axes.set_xticks(
        range(len(first)), [f"{band_name(b.near, b.far)}\n{b.truths} truths" for b in first]
    )
    axes.set_xlim(-0.3, len(first) - 0.7)
    axes.set_ylim(0, 102)
    axes.set_ylabel("AP R40, %")
    _plain(axes, f"{entry.name}, {first[0].difficulty}: AP by depth of the truth", "")
    axes.legend(fontsize=8, frameon=False, loc="best", handlelength=4)
    return _png(figure)


def worst_chart(report: KittiReport) -> bytes:
    """PNG: the worst frames seen from above, truths filled, detections as outlines."""
    frames = report.worst
    columns = min(3, len(frames))
    rows = -(-len(frames) // columns)
    figure = _figure((4.3 * columns, 4.5 * rows + 0.5))
    for index, frame in enumerate(frames):
        _from_above(figure.add_subplot(rows, columns, index + 1), frame)
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles = [
        *(
            Patch(facecolor=_FATE[fate], alpha=0.45, label=f"truth, {name}")
            for fate, name in (("hit", "found"), ("missed", "missed"), ("neutral", "neutral"))
        ),
        *(
            Line2D([], [], color=_FATE[fate], linewidth=1.6, label=f"detection, {name}")
            for fate, name in (("hit", "right"), ("false", "false"), ("neutral", "neutral"))
        ),
    ]
    figure.legend(
        handles=handles, loc="outside lower center", ncols=6 if columns > 1 else 3,
        fontsize=9, frameon=False,
    )  # fmt: skip
    return _png(figure)


def _from_above(axes: Axes, frame: WorstFrame) -> None:
    from matplotlib.patches import Polygon

    boxes = [*frame.truth_boxes, *(b for b in frame.found_boxes if (b[:3] != -1000).all())]
    for box, fate in zip(frame.truth_boxes, frame.truth_fates, strict=True):
        corners = rectangle_corners(box[[0, 2]], box[3], box[4], box[6])
        axes.add_patch(Polygon(corners, facecolor=_FATE[fate], alpha=0.45, linewidth=0))
    for box, fate, score in zip(frame.found_boxes, frame.found_fates, frame.scores, strict=True):
        if (box[:3] == -1000).any():
            continue
        corners = rectangle_corners(box[[0, 2]], box[3], box[4], box[6])
        axes.add_patch(Polygon(corners, fill=False, edgecolor=_FATE[fate], linewidth=1.3))
        nose = np.array([np.cos(box[6]), -np.sin(box[6])]) * box[3] / 2
        axes.plot(*np.stack([box[[0, 2]], box[[0, 2]] + nose], 1), color=_FATE[fate], linewidth=1)
        if fate == "false":
            axes.annotate(f"{score:.2g}", corners.max(axis=0), fontsize=6.5, color=_FATE[fate])
    middle = np.array([box[[0, 2]] for box in boxes])
    low, high = middle.min(axis=0) - 5, middle.max(axis=0) + 5
    span = max(*(high - low), 25.0)
    centre = (low + high) / 2
    axes.set_aspect("equal")
    axes.set_xlim(centre[0] - span / 2, centre[0] + span / 2)
    axes.set_ylim(max(centre[1] - span / 2, -5), max(centre[1] - span / 2, -5) + span)
    wrong = f"{frame.false_positives} false, {frame.misses} missed"
    axes.set_ylabel("z, m")
    _plain(axes, f"{frame.name}: {wrong}", "x, m")


def _figure(size: tuple[float, float]) -> Figure:
    from matplotlib.figure import Figure
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    layout = ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12)  # inches
    return Figure(figsize=size, dpi=130, layout=layout, facecolor="white")


def _plain(axes: Axes, title: str, below: str) -> None:
    # No name from outside is read as mathematics.
    axes.set_title(title, fontsize=9.5, color=INK, loc="left", parse_math=False)
    axes.set_xlabel(below)
    for label in (axes.xaxis.label, axes.yaxis.label):
        label.set(color=SOFT, fontsize=8.5)
    axes.tick_params(labelsize=8, colors=SOFT, length=0)
    axes.grid(color=LINE, linewidth=0.7)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _png(figure: Figure) -> bytes:
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    FigureCanvasAgg(figure)
    buffer = io.BytesIO()
    # No date or version in the file: the same numbers give the same bytes.
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()
