"""Loss curves as inline SVG: no script, no network."""

from __future__ import annotations

import math
from html import escape

__all__ = ["line_chart"]

# Mid-tones, readable on white and on black.
STROKES = [
    "#8a929a", "#e0762f", "#2b9fc4", "#5fa83a", "#b55fc0", "#c9a21f", "#d8505c", "#7a80e0",
    "#2fae8c", "#a8794f", "#d678a8", "#6f9a9e",
]  # fmt: skip
WIDTH, HEIGHT = 320, 170
LEFT, RIGHT, TOP, BOTTOM = 42, 8, 8, 22


def line_chart(title: str, history: list[dict[str, float]]) -> str:
    """One card with a curve per term of `history`; "total" is drawn first and thickest.

    Values that are missing or not finite break their curve. The axis is logarithmic if no value
    is negative and they span more than a factor of 20; it then shows five decades at most, and
    what is smaller lies on its lower edge.
    """
    named = dict.fromkeys(key for record in history for key in record if key != "iteration")
    terms = sorted(named, key=lambda key: key != "total")
    values = [r[k] for r in history for k in terms if _finite(r.get(k))]
    if not values:
        return (
            f'<div class="chart"><h3>{escape(title)}</h3><p class="note">No history kept.</p></div>'
        )
    smallest = max(min((v for v in values if v > 0), default=0.0), max(values) * 1e-5)
    logarithmic = min(values) >= 0 and max(values) > 20 * smallest > 0

    def scale(value: float) -> float:
        return math.log10(max(value, smallest)) if logarithmic else float(value)

    low, high = scale(min(values)), scale(max(values))
    if not logarithmic:
        low = min(low, 0.0)
    if high - low < 1e-12:
        low, high = low - 0.5, high + 0.5
    steps = [r["iteration"] if _finite(r.get("iteration")) else i for i, r in enumerate(history)]
    first, last = float(min(steps)), float(max(max(steps), min(steps) + 1))

    def x(step: float) -> float:
        return LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT)

    def y(value: float) -> float:
        return TOP + (high - value) / (high - low) * (HEIGHT - TOP - BOTTOM)

    parts = []
    for value in _ticks(low, high, logarithmic):
        label = _number(10**value if logarithmic else value)
        parts.append(
            f'<line class="rule" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value):.1f}" '
            f'y2="{y(value):.1f}"/><text x="{LEFT - 5}" y="{y(value) + 3.5:.1f}" '
            f'text-anchor="end">{label}</text>'
        )
    for step, anchor in ((first, "start"), (last, "end")):
        parts.append(
            f'<text x="{x(step):.1f}" y="{HEIGHT - 6}" text-anchor="{anchor}">{step:g}</text>'
        )
    for number, term in reversed(list(enumerate(terms))):
        runs: list[list[str]] = [[]]
        for step, record in zip(steps, history, strict=True):
            if _finite(record.get(term)):
                runs[-1].append(f"{x(step):.1f},{y(scale(record[term])):.1f}")
            elif runs[-1]:
                runs.append([])
        for run in filter(None, runs):
            parts.append(
                f'<polyline fill="none" stroke="{STROKES[number % len(STROKES)]}" '
                f'stroke-width="{2.6 if term == "total" else 1.5}" points="{" ".join(run)}"/>'
            )
    legend = "".join(
        f'<span><i class="swatch" style="background:{STROKES[n % len(STROKES)]}"></i>'
        f"{escape(term)}</span>"
        for n, term in enumerate(terms)
    )
    return (
        f'<div class="chart"><h3>{escape(title)}</h3>'
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="Loss by iteration">'
        f'{"".join(parts)}</svg><div class="legend">{legend}</div></div>'
    )


def _finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _ticks(low: float, high: float, logarithmic: bool) -> list[float]:
    if logarithmic:
        whole = [float(t) for t in range(math.ceil(low), math.floor(high) + 1)]
        return whole if len(whole) > 1 else [low, high]
    step = 10 ** math.floor(math.log10(high - low))
    step = next(s for s in (step * 0.2, step * 0.5, step, step * 2) if (high - low) / s <= 5)
    return [
        i * step for i in range(math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9) + 1)
    ]


def _number(value: float) -> str:
    return f"{value:.3g}" if value else "0"
