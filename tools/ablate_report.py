"""Tables and plots of an ablation: every case beside the base on the same cars, with spread."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._files import atomic_path
from diffrender.evaluate import PoseError, PoseSummary, summarise
from diffrender.tools.ablate_run import REAL, Line
from diffrender.tools.ablate_variants import BASE, Variant
from diffrender.tools.bench_format import Report, Row

__all__ = ["markdown", "plot", "summary"]

_FIGURES = {
    "median_iou": ("median 3D IoU", "IoU"),
    "iou_50": ("share with 3D IoU >= 0.5", "share"),
    "iou_70": ("share with 3D IoU >= 0.7", "share"),
    "centre": ("median centre error", "share of depth"),
    "yaw_10": ("share with exact yaw within 10 degrees", "share"),
}


def summary(lines: Sequence[Line], cases: Sequence[Variant]) -> Report:
    """Rows for every place ("synthetic streets", "real frames, lidar") and case that was run.

    On streets a figure is the mean over the seeds and its spread their standard deviation. "IoU
    over the base" is the mean difference on the same cars, its spread the standard error over
    scenes.
    """
    report = Report(rows=[])
    for place in ("synthetic streets", REAL):
        mine = [line for line in lines if (line["where"] == REAL) == (place == REAL)]
        base = _ious(mine, BASE.key)
        for case in cases:
            own = [line for line in mine if line["case"] == case.key]
            cars = [line for line in own if line["name"] is not None]
            if not cars:
                continue
            groups = sorted({line["where"] for line in cars})
            found = [_summary([c for c in cars if c["where"] == group]) for group in groups]
            title = f"{place}, {len(cars)} cars, {case.key}"
            for name, (words, unit) in _FIGURES.items():
                values = [getattr(one, name) for one in found]
                known = [value for value in values if not math.isnan(value)]
                if known:
                    width = float(np.std(known, ddof=1)) if len(known) > 1 else None
                    report.rows.append(Row(title, words, float(np.mean(known)), unit, width))
            change, error = _change(_ious(mine, case.key), base)
            if case is not BASE and not math.isnan(change):
                words = "mean 3D IoU over the base, same cars"
                report.rows.append(Row(title, words, change, "IoU", error, peer="base"))
            runs = [line for line in own if line["name"] is None and line["objects"]]
            if runs:
                seconds = [run["seconds"] / run["objects"] for run in runs]
                report.rows.append(Row(title, "time an object", float(np.median(seconds)), "s"))
    return report


def _summary(cars: list[Line]) -> PoseSummary:
    return summarise([None if c["error"] is None else PoseError(**c["error"]) for c in cars])


def _ious(lines: Sequence[Line], case: str) -> dict[tuple[str, str], float]:
    """3D IoU by scene and car; 0 where a car was not found."""
    return {
        (line["place"].split(", ")[0], line["name"]): line["error"]["iou"] if line["error"] else 0.0
        for line in lines
        if line["case"] == case and line["name"] is not None
    }


def _change(
    own: dict[tuple[str, str], float], base: dict[tuple[str, str], float]
) -> tuple[float, float | None]:
    """Mean difference over the cars of both, and its standard error over scenes."""
    scenes: dict[str, list[float]] = {}
    for key in own.keys() & base.keys():
        scenes.setdefault(key[0], []).append(own[key] - base[key])
    if not scenes:
        return math.nan, None
    every = [value for values in scenes.values() for value in values]
    middle = float(np.mean(every))
    if len(scenes) < 2:
        return middle, None
    # Cars of a scene share its light and its depth map, so scenes are what is independent.
    sums = [sum(values) - middle * len(values) for values in scenes.values()]
    count = len(sums)
    error = math.sqrt(count / (count - 1) * float(np.square(sums).sum())) / len(every)
    return middle, error


def markdown(report: Report) -> str:
    """The rows as tables, one for each place."""
    places: dict[str, dict[str, dict[str, Row]]] = {}
    for row in report.rows:
        place, _, case = row.case.rpartition(" cars, ")
        place = place.rpartition(", ")[0]
        places.setdefault(place, {}).setdefault(case, {})[row.operation] = row
    out: list[str] = []
    heads = [words for words, _ in _FIGURES.values()]
    for place, cases in places.items():
        out += [f"### {place[0].upper()}{place[1:]}", ""]
        out.append("| case | " + " | ".join(heads) + " | mean IoU over the base | time an object |")
        out.append("|---" * (len(heads) + 3) + "|")
        for case, rows in cases.items():
            cells = [_cell(rows.get(words)) for words in heads]
            cells.append(_cell(rows.get("mean 3D IoU over the base, same cars"), signed=True))
            cells.append(_cell(rows.get("time an object")))
            out.append(f"| {case} | " + " | ".join(cells) + " |")
        out.append("")
    return "\n".join(out)


def _cell(row: Row | None, *, signed: bool = False) -> str:
    if row is None:
        return ""
    if row.unit in ("share", "share of depth"):
        digits = 0 if row.unit == "share" else 1
        text = f"{100 * row.value:.{digits}f}"
        spread = "" if row.spread is None else f" ± {100 * row.spread:.{digits}f}"
        return f"{text}{spread} %"
    text = f"{row.value:+.3f}" if signed else f"{row.value:.2f}"
    digits = 3 if signed else 2
    spread = "" if row.spread is None else f" ± {row.spread:.{digits}f}"
    return f"{text}{spread}" + (" s" if row.unit == "s" else "")


def plot(report: Report, path: Path) -> Path:
    """Bars of the IoU that every case gains or loses against the base, by place."""
    from matplotlib.figure import Figure

    words = "mean 3D IoU over the base, same cars"
    places: dict[str, list[tuple[str, Row]]] = {}
    for row in report.rows:
        if row.operation == words:
            place, _, case = row.case.rpartition(" cars, ")
            places.setdefault(place.rpartition(", ")[0], []).append((case, row))
    most = max((len(rows) for rows in places.values()), default=1)
    figure = Figure(figsize=(6.5 * max(len(places), 1), 0.9 + 0.24 * most), layout="constrained")
    axes: Any = figure.subplots(1, max(len(places), 1), squeeze=False)[0]
    for axis, (place, rows) in zip(axes, places.items(), strict=False):
        values = [row.value for _, row in rows]
        errors = [row.spread or 0.0 for _, row in rows]
        at = np.arange(len(rows))[::-1]
        colours = ["#2b7a4b" if value >= 0 else "#b04030" for value in values]
        axis.barh(at, values, xerr=errors, color=colours, error_kw={"lw": 0.8})
        axis.set_yticks(at, [case for case, _ in rows], fontsize=7)
        axis.axvline(0, color="black", lw=0.8)
        axis.set_title(place, fontsize=9)
        axis.set_xlabel("mean 3D IoU over the base, same cars", fontsize=8)
    with atomic_path(path) as partial:
        figure.savefig(partial, dpi=110, format=path.suffix[1:])
    return path
