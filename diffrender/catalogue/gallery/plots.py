"""Plots as inline SVG: basins of attraction, and cost on logarithmic axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from diffrender.catalogue.evaluate import Cell, Level

__all__ = ["Curve", "basin_plots", "cost_plots", "line_plot"]

# Mid-tones, readable on white and on black.
_STROKES = ("#0f8ab2", "#e0762f", "#5fa83a")
_WIDTH, _HEIGHT = 330, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 34


@dataclass(frozen=True)
class Curve:
    """A named row of points (x, y), in the order of x."""

    name: str
    points: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Axis:
    """A label, the marks that are written, and whether it is logarithmic."""

    label: str
    ticks: tuple[float, ...]
    logarithmic: bool = False

    def place(self, value: float) -> float:
        """0 at the first tick, 1 at the last."""
        low, high = self._scale(self.ticks[0]), self._scale(self.ticks[-1])
        return (self._scale(value) - low) / (high - low)

    def _scale(self, value: float) -> float:
        return math.log10(value) if self.logarithmic else value


def basin_plots(levels: Sequence[Level]) -> str:
    """Recovery rate against the first error, turned and shifted."""
    plots = []
    for kind, label, unit in (
        ("yaw", "turned about the vertical at the start, degrees", 1),
        ("shift", "shifted at the start, % of the length", 100),
    ):
        found = [level for level in levels if level.kind == kind]
        if len(found) < 2:
            continue
        points = tuple((unit * level.error, 100 * level.rate) for level in found)
        trials = min(level.trials for level in found), max(level.trials for level in found)
        counted = f"{trials[0]}" if trials[0] == trials[1] else f"{trials[0]} to {trials[1]}"
        title = f"Poses recovered, % of {counted} descents"
        across = Axis(label, (0.0, *(x for x, _ in points)))
        up = Axis("", (0.0, 25.0, 50.0, 75.0, 100.0))
        plots.append(line_plot(title, [Curve("recovered", points)], across, up))
    return "".join(plots)


def cost_plots(cells: Sequence[Cell]) -> str:
    """Milliseconds and mebibytes against rows of the picture, and against faces."""
    plots = []
    for against, label in (("height", "rows of the picture"), ("faces", "faces")):
        found = [cell for cell in cells if cell.against == against]
        if len(found) < 2:
            continue
        across = Axis(label, tuple(float(cell.value) for cell in found), logarithmic=True)
        times = [
            Curve("forward", tuple((c.value, 1e3 * c.forward) for c in found)),
            Curve("backward", tuple((c.value, max(1e3 * c.backward, 1e-3)) for c in found)),
        ]
        plots.append(line_plot("Milliseconds", times, across, _decades(times)))
        memory = [Curve("peak", tuple((c.value, max(c.memory / 2**20, 1e-2)) for c in found))]
        plots.append(line_plot("Memory, MiB of tensors", memory, across, _decades(memory)))
    return "".join(plots)


def line_plot(title: str, curves: Sequence[Curve], across: Axis, up: Axis) -> str:
    """One card: curves with a dot at every point."""

    def x(value: float) -> float:
        return _LEFT + across.place(value) * (_WIDTH - _LEFT - _RIGHT)

    def y(value: float) -> float:
        return _HEIGHT - _BOTTOM - up.place(value) * (_HEIGHT - _TOP - _BOTTOM)

    parts = []
    for tick in up.ticks:
        parts.append(
            f'<line class="rule" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y(tick):.1f}" '
            f'y2="{y(tick):.1f}"/><text x="{_LEFT - 6}" y="{y(tick) + 4:.1f}" '
            f'text-anchor="end">{tick:g}</text>'
        )
    last = -math.inf
    for tick in across.ticks:
        if x(tick) - last > 24:  # room for four digits
            last = x(tick)
            parts.append(
                f'<text x="{x(tick):.1f}" y="{_HEIGHT - 18}" text-anchor="middle">{tick:g}</text>'
            )
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    parts.append(
        f'<text x="{middle}" y="{_HEIGHT - 3}" text-anchor="middle">{escape(across.label)}</text>'
    )
    for curve, stroke in zip(curves, _STROKES, strict=False):
        places = [(x(a), y(b)) for a, b in curve.points]
        line = " ".join(f"{a:.1f},{b:.1f}" for a, b in places)
        parts.append(f'<polyline fill="none" stroke="{stroke}" stroke-width="2" points="{line}"/>')
        parts += [f'<circle cx="{a:.1f}" cy="{b:.1f}" r="3" fill="{stroke}"/>' for a, b in places]
    legend = "".join(
        f'<span><i class="swatch" style="background:{stroke}"></i>{escape(curve.name)}</span>'
        for curve, stroke in zip(curves, _STROKES, strict=False)
    )
    shown = f'<div class="legend">{legend}</div>' if len(curves) > 1 else ""
    return (
        f'<div class="plot"><h3>{escape(title)}</h3><svg viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        f'role="img" aria-label="{escape(title)} against {escape(across.label)}">'
        f"{''.join(parts)}</svg>{shown}</div>"
    )


def _decades(curves: Sequence[Curve]) -> Axis:
    """A logarithmic axis of whole powers of ten around all values."""
    values = [value for curve in curves for _, value in curve.points]
    low = math.floor(math.log10(min(values)))
    high = max(math.ceil(math.log10(max(values))), low + 1)
    return Axis("", tuple(10.0**n for n in range(low, high + 1)), logarithmic=True)
