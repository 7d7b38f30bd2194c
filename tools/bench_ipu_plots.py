"""The figures of `diffrender bench ipu`: lines are the model, markers what is published."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from diffrender._files import atomic_path
from diffrender.tools import bench_ipu_published as published
from diffrender.tools.bench_ipu_sweeps import Law, law

__all__ = ["Cell", "Curve", "Figures", "draw"]

COLOURS = {"dense": "#777777", "static": "#1f6fb4", "dynamic": "#d2622a"}
SIDE_COLOURS = {1: "#8a8a8a", 4: "#3d9a5f", 8: "#1f6fb4", 16: "#b0307a"}


@dataclass(frozen=True)
class Curve:
    """One method over a sweep: where, ours, and the published values."""

    name: str
    mode: str
    at: list[float]
    ours: list[float]
    measured: list[float]


@dataclass(frozen=True)
class Cell:
    """One cell of the measured grid: block size, and speed-ups over dense at the same n.

    Attributes:
        side: b.
        measured: published.
        plain: the model's, with an overhead in dense alone.
        alike: the model's, with the same overhead in both.
    """

    side: int
    measured: float
    plain: float
    alike: float


@dataclass(frozen=True)
class Figures:
    """What the figures show.

    Attributes:
        density, blocks, sizes: curves of the three sweeps, TFLOP/s.
        cases: (m, 1 / d, b) -> speed-up of the model.
        fitted: the power law of the cases.
        cells: of the measured grid; none leaves its figure out.
    """

    density: list[Curve]
    blocks: list[Curve]
    sizes: list[Curve]
    cases: dict[tuple[int, int, int], float]
    fitted: Law
    cells: list[Cell]


def draw(figures: Figures, folder: Path) -> list[Path]:
    """Write ipu_density.png, ipu_blocks_sizes.png, ipu_power_law.png and ipu_grid.png.

    Returns:
        Their paths.
    """
    written = [
        _save(_density(figures.density), folder / "ipu_density.png"),
        _save(_two_sweeps(figures.blocks, figures.sizes), folder / "ipu_blocks_sizes.png"),
        _save(_power_law(figures.cases, figures.fitted), folder / "ipu_power_law.png"),
    ]
    if figures.cells:
        written.append(_save(_grid(figures.cells), folder / "ipu_grid.png"))
    return written


def _axes(columns: int) -> tuple[Any, Any]:
    """A figure that no window or global state knows of."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.2 * columns, 4.0), dpi=110, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(1, columns, squeeze=False)[0]
    for one in axes:
        one.grid(True, which="major", color="#dddddd", linewidth=0.7)
        one.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _save(figure: Any, path: Path) -> Path:
    with atomic_path(path) as temporary:
        figure.savefig(temporary)
    return path


def _curves(axis: Any, curves: list[Curve]) -> None:
    for curve in curves:
        colour = COLOURS[curve.mode]
        fine = curve.name.endswith("b = 1")
        axis.plot(curve.at, curve.ours, color=colour, linestyle="--" if fine else "-", zorder=2)
        axis.plot(
            curve.at,
            curve.measured,
            color=colour,
            linestyle="",
            marker="o",
            markersize=6,
            markerfacecolor="white" if fine else colour,
            zorder=3,
        )
    heights = _apart([curve.ours[-1] for curve in curves], 1.21)
    for curve, height in zip(curves, heights, strict=True):
        _name(axis, curve.name, curve.at[-1], height, COLOURS[curve.mode])


def _apart(heights: list[float], least: float) -> list[float]:
    """Heights of labels, pushed up where two are nearer than a ratio of `least`."""
    placed, floor = list(heights), 0.0
    for place in sorted(range(len(heights)), key=lambda i: heights[i]):
        placed[place] = max(heights[place], floor)
        floor = placed[place] * least
    return placed


def _name(axis: Any, text: str, x: float, y: float, colour: str) -> None:
    axis.annotate(
        text,
        (x, y),
        xytext=(8, 0),
        textcoords="offset points",
        color=colour,
        va="center",
        fontsize=9,
    )


def _legend(axis: Any, place: str) -> None:
    from matplotlib.lines import Line2D

    line = Line2D([], [], color="#333333", label="model")
    points = Line2D([], [], color="#333333", marker="o", linestyle="", label="measured, published")
    axis.legend(
        handles=[line, points],
        loc=place,
        frameon=False,
        fontsize=9,
    )


def _ticks(axis: Any, at: list[float], labels: list[str], room: float) -> None:
    axis.set_xscale("log", base=2)
    axis.set_yscale("log")
    axis.set_xticks(at, labels)
    axis.minorticks_off()
    low, high = axis.get_xlim()
    axis.set_xlim(low, high * room)
    low, high = axis.get_ylim()
    steps = [v for v in (1, 2, 5, 10, 20, 50, 100, 200) if low <= v <= high]
    axis.set_yticks(steps, [str(v) for v in steps])
    axis.set_ylabel("TFLOP/s of stored elements")


def _density(curves: list[Curve]) -> Any:
    figure, (axis,) = _axes(1)
    inverse = [Curve(c.name, c.mode, [1 / d for d in c.at], c.ours, c.measured) for c in curves]
    _curves(axis, inverse)
    at = inverse[0].at
    _ticks(axis, at, [f"1/{v:.0f}" for v in at], 1.9)
    axis.set_xlabel("density d")
    axis.set_title("m = k = 4096, FP16, best n", fontsize=10)
    _legend(axis, "lower left")
    return figure


def _two_sweeps(blocks: list[Curve], sizes: list[Curve]) -> Any:
    figure, (left, right) = _axes(2)
    _curves(left, blocks)
    _ticks(left, blocks[0].at, [f"{v:.0f}" for v in blocks[0].at], 1.7)
    left.set_xlabel("block size b")
    left.set_title("m = k = 4096, d = 1/16, FP16, best n", fontsize=10)
    _legend(left, "upper left")
    _curves(right, sizes)
    _ticks(right, sizes[0].at, [f"{v:.0f}" for v in sizes[0].at], 2.0)
    right.set_xlabel("features m = k")
    right.set_title("b = 16, d = 1/16, FP16, best n", fontsize=10)
    return figure


def _ratios(axis: Any, reach: tuple[float, float]) -> None:
    """Both axes logarithmic and alike, with lines at equality and at a factor of 2."""
    axis.plot(reach, reach, color="#333333", linewidth=1)
    for factor in (0.5, 2):
        line = [factor * v for v in reach]
        axis.plot(reach, line, color="#333333", linewidth=0.7, linestyle=":")
    axis.set_xscale("log")
    axis.set_yscale("log")
    ticks = [v for v in (0.1, 0.2, 0.5, 1, 2, 5, 10) if reach[0] <= v <= reach[1]]
    axis.set_xticks(ticks, [f"{v:g}" for v in ticks])
    axis.set_yticks(ticks, [f"{v:g}" for v in ticks])
    axis.minorticks_off()
    axis.set_xlim(*reach)
    axis.set_ylim(*reach)


def _grid(cells: list[Cell]) -> Any:
    """Speed-ups at the same n, model over measured: dense's overhead in dense alone, in both."""
    figure, (left, right) = _axes(2)
    titles = ("as planned", "with dense's overhead in both")
    for axis, title, values in (
        (left, titles[0], [cell.plain for cell in cells]),
        (right, titles[1], [cell.alike for cell in cells]),
    ):
        for side, colour in SIDE_COLOURS.items():
            mine = [(c.measured, v) for c, v in zip(cells, values, strict=True) if c.side == side]
            at = [[pair[i] for pair in mine] for i in (0, 1)]
            axis.plot(*at, "o", markersize=3.5, alpha=0.7, color=colour, label=f"b = {side}")
        _ratios(axis, (0.2, 16))
        axis.set_xlabel("measured speed-up over dense")
        axis.set_ylabel("speed-up over dense of the model")
        axis.set_title(f"static, FP16, the same n; {title}", fontsize=10)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    return figure


def _power_law(cases: dict[tuple[int, int, int], float], fitted: Law) -> Any:
    """Left, the model's cases against the published law; right, both laws over the density."""
    figure, (left, right) = _axes(2)
    for side, colour in SIDE_COLOURS.items():
        mine = {key: value for key, value in cases.items() if key[2] == side}
        expected = [law(published.POWER_LAW, m, 1 / d, b) for m, d, b in mine]
        left.plot(
            expected,
            list(mine.values()),
            linestyle="",
            marker="o",
            markersize=4,
            alpha=0.8,
            color=colour,
            label=f"b = {side}",
        )
    _ratios(left, (0.06, 16))
    left.set_xlabel("speed-up by the published law")
    left.set_ylabel("speed-up over dense of the model")
    left.set_title("static, FP16, best n of both; dotted: factor 2", fontsize=10)
    left.legend(frameon=False, fontsize=9, loc="upper left")
    grid = published.speed_up_grid()
    for side, colour in SIDE_COLOURS.items():
        inverse = list(published.DENSITIES)
        ours = [law(fitted, 4096, 1 / d, side) for d in inverse]
        theirs = [law(published.POWER_LAW, 4096, 1 / d, side) for d in inverse]
        right.plot(inverse, ours, color=colour)
        right.plot(inverse, theirs, color=colour, linestyle="--")
        for d in inverse:
            points = [grid[side, 4096, d, n] for n in published.GRID_COLUMNS[2:]]
            known = [point for point in points if point is not None]
            right.plot([d] * len(known), known, "o", markersize=3.5, color=colour, alpha=0.6)
        _name(right, f"b = {side}", inverse[-1], ours[-1], colour)
    _ticks(right, [float(d) for d in published.DENSITIES], ["1/4", "1/8", "1/16", "1/32"], 1.4)
    ticks = [0.2, 0.5, 1, 2, 5]
    right.set_yticks(ticks, [f"{v:g}" for v in ticks])
    right.axhline(1, color="#333333", linewidth=0.8)
    right.set_xlabel("density d")
    right.set_ylabel("speed-up over dense")
    right.set_title("m = k = 4096: fit to model (—), published (- -), measured (•)", fontsize=10)
    return figure
