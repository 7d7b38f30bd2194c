"""The tables of a report, as text cells for the terminal, Markdown and HTML alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from diffrender.evaluate.kitti_report import AveragePrecision, ClassReport, KittiReport
from diffrender.evaluate.kitti_rules import DIFFICULTIES

__all__ = ["LABELS", "Table", "report_tables", "summary_lines"]

LABELS = {"2d": "2D", "aos": "AOS", "bev": "BEV", "3d": "3D"}
_LEVELS = tuple(difficulty.name for difficulty in DIFFICULTIES)


@dataclass(frozen=True)
class Table:
    """Attributes:
    title: what the table shows, with protocol and overlap where they matter.
    head: column titles.
    rows: cells; the first `text` columns are words, the others numbers.
    text: how many.
    """

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: int = 1


def summary_lines(report: KittiReport) -> list[str]:
    """What was evaluated, one fact a line."""
    inputs = report.inputs
    missing = f", {len(inputs.missing)} frames without a file" if inputs.missing else ""
    empty = f", {inputs.empty} empty files" if inputs.empty else ""
    return [
        f"KITTI object evaluation of {inputs.frames} frames",
        f"labels   {inputs.labels} ({inputs.truth_rows} rows)",
        f"results  {inputs.results} ({inputs.found_rows} rows{empty}{missing})",
    ]


def report_tables(report: KittiReport) -> list[Table]:
    """Per class AP, counts and AP by distance; then the errors of all classes."""
    tables: list[Table] = []
    for entry in report.classes:
        if not entry.rows:
            continue
        tables += [_precision(entry), _counts(entry)]
        if entry.bands:
            tables.append(_bands(entry))
    with_errors = [c for c in report.classes if c.errors is not None and c.errors.pairs]
    if with_errors:
        tables.append(_errors(with_errors))
    return tables


def _lines(entry: ClassReport) -> list[list[AveragePrecision]]:
    """The figures by metric and overlap, each list over the difficulties."""
    groups: dict[tuple[str, str], list[AveragePrecision]] = {}
    for row in entry.rows:
        groups.setdefault((row.overlap, row.metric), []).append(row)
    order = [("strict", m) for m in LABELS] + [("loose", m) for m in LABELS]
    return [groups[key] for key in order if key in groups]


def _precision(entry: ClassReport) -> Table:
    rows = [
        (
            LABELS[line[0].metric],
            f"{line[0].minimum:.2f}",
            *(f"{row.ap(points):.2f}" for points in (40, 11) for row in line),
        )
        for line in _lines(entry)
    ]
    head = [f"R{points} {level}" for points in (40, 11) for level in _LEVELS]
    title = f"{entry.name}: average precision in %, over 40 recalls (R40) and over 11 (R11)"
    return Table(title, ("", "overlap >", *head), tuple(rows))


def _counts(entry: ClassReport) -> Table:
    lines = [line for line in _lines(entry) if line[0].metric != "aos"]

    def cells(text: Callable[[AveragePrecision], str], line: list[AveragePrecision]) -> list[str]:
        return [text(row) for row in line]

    rows: list[tuple[str, ...]] = [
        ("ground truths", "", *cells(lambda row: str(row.truths), lines[0])),
        ("detections", "", *cells(lambda row: str(row.detections), lines[0])),
    ]
    rows += [
        (
            LABELS[line[0].metric],
            f"{line[0].minimum:.2f}",
            *cells(lambda r: f"{r.true_positives} / {r.false_positives} / {r.misses}", line),
        )
        for line in lines
    ]
    title = f"{entry.name}: true positives / false positives / missed, with every detection"
    return Table(title, ("", "overlap >", *_LEVELS), tuple(rows))


def band_name(near: float, far: float) -> str:
    """Such as "10–20 m", or "40 m +" for the last one."""
    return f"{near:g}–{far:g} m" if math.isfinite(far) else f"{near:g} m +"


def _bands(entry: ClassReport) -> Table:
    groups: dict[tuple[str, str], list[str]] = {}
    for band in entry.bands:
        key = (band.overlap, f"{LABELS[band.metric]},{band.minimum:.2f}")
        groups.setdefault(key, []).append(f"{band.r40:.2f}")
    first = [b for b in entry.bands if (b.metric, b.overlap) == (entry.bands[0].metric, "strict")]
    rows = [("ground truths", "", *(str(band.truths) for band in first))]
    order = sorted(groups, key=lambda key: key[0] != "strict")
    rows += [(*label.split(","), *groups[overlap, label]) for overlap, label in order]
    title = f"{entry.name}: AP R40 in % by depth z of the truth, {first[0].difficulty}"
    return Table(title, ("", "overlap >", *(band_name(b.near, b.far) for b in first)), tuple(rows))


def _errors(entries: list[ClassReport]) -> Table:
    columns = {
        "centre": "centre m", "z": "z m", "length": "length m", "width": "width m",
        "height": "height m", "yaw": "yaw °", "axis": "mod 180°", "iou_3d": "3D IoU",
    }  # fmt: skip
    rows = []
    for entry in entries:
        errors = entry.errors
        assert errors is not None
        cells = [
            f"{errors.median[name]:{form}} ({errors.mean[name]:{form}})"
            for name in columns
            for form in (".1f" if name in ("yaw", "axis") else ".2f",)
        ]
        rows.append((entry.name, str(errors.pairs), *cells, f"{100 * errors.flipped:.1f}"))
    level = entries[0].errors.difficulty if entries[0].errors else ""
    title = f"Errors of detections that hit in the image, {level}: median (mean)"
    return Table(title, ("", "pairs", *columns.values(), "turned %"), tuple(rows))
