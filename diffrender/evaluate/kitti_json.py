"""A report as plain values for JSON, and as Markdown."""

from __future__ import annotations

import dataclasses
import math
import re
from typing import Any

import numpy as np

from diffrender.evaluate.kitti_report import KittiReport
from diffrender.evaluate.kitti_tables import report_tables, summary_lines

__all__ = ["report_json", "report_markdown"]

SCHEMA = 1


def report_json(report: KittiReport) -> dict[str, Any]:
    """Plain values, every figure unrounded; NaN and infinity become None.

    The keys are the fields of `KittiReport` and of the records in it.
    """
    return {"schema": SCHEMA, "benchmark": "kitti-object", **_plain(report)}


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return value


def report_markdown(report: KittiReport) -> str:
    """The tables as GitHub-flavoured Markdown, the warnings before them."""
    first, *facts = (_escaped(line) for line in summary_lines(report))
    parts = [f"# {first}", "\n".join(f"- {fact}" for fact in facts)]
    if report.warnings:
        parts.append("\n".join(f"> **Note:** {_escaped(w)}\n" for w in report.warnings).rstrip())
    for table in report_tables(report):
        rules = tuple("---" if i < table.text else "---:" for i in range(len(table.head)))
        rows = [_row(table.head), f"| {' | '.join(rules)} |", *map(_row, table.rows)]
        parts.append(f"## {_escaped(table.title)}\n\n" + "\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _row(cells: tuple[str, ...]) -> str:
    return f"| {' | '.join(map(_escaped, cells))} |"


def _escaped(text: str) -> str:
    """Nothing in a file name ends a cell or starts markup."""
    return re.sub(r"([\\`*_\[\]<>|])", r"\\\1", " ".join(text.split()))
