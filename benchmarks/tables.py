"""Markdown tables of benchmark reports, for docs/results.md.

python benchmarks/tables.py benchmarks/results/reconstruct-real.json
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

COLUMNS = {
    "share with 3D IoU >= 0.25": ("≥ 0.25", "{:.0%}"),
    "share with 3D IoU >= 0.5": ("≥ 0.5", "{:.0%}"),
    "share with 3D IoU >= 0.7": ("≥ 0.7", "{:.0%}"),
    "median 3D IoU": ("median IoU", "{:.2f}"),
    "median centre error": ("centre, % of depth", "{:.1%}"),
    "median yaw error modulo 180 degrees": ("yaw mod 180°", "{:.1f}°"),
    "median yaw error": ("yaw exact", "{:.1f}°"),
    "share with exact yaw within 10 degrees": ("yaw within 10°", "{:.0%}"),
}


def poses(report: dict[str, Any]) -> str:
    """Ours and the render-free baseline, one row of the table a case."""
    cases: dict[str, dict[str, tuple[float, str]]] = {}
    for row in report["rows"]:
        if row["operation"] in COLUMNS:
            cases.setdefault(row["case"], {})[row["operation"]] = (row["value"], row["peer"])
    lines = ["| case | method | " + " | ".join(name for name, _ in COLUMNS.values()) + " |"]
    lines.append("|" + "---|" * (len(COLUMNS) + 2))
    for case, values in cases.items():
        ours, box = [], []
        for operation, (_, style) in COLUMNS.items():
            value, peer = values.get(operation, (None, ""))
            ours.append("" if value is None else style.format(value))
            box.append(style.format(float(peer.split(": ")[1])) if ": " in peer else "")
        lines.append(f"| {case} | render | " + " | ".join(ours) + " |")
        lines.append("| | box | " + " | ".join(box) + " |")
    return "\n".join(lines)


def frames(report: dict[str, Any]) -> str:
    """Mean 3D IoU of every frame, one column a depth source; masks given."""
    table: dict[str, dict[str, str]] = {}
    sources: list[str] = []
    for row in report["rows"]:
        case, _, frame = row["case"].partition(", frame ")
        if frame and "instance_2" in case:
            source = case.split(", ")[1]
            sources += [source] if source not in sources else []
            count = row["operation"].rsplit(" ", 1)[-1]
            table.setdefault(frame, {})[source] = f"{row['value']:.2f} ({count})"
    lines = ["| frame | " + " | ".join(sources) + " |", "|" + "---|" * (len(sources) + 1)]
    for frame in sorted(table):
        cells = [table[frame].get(source, "") for source in sources]
        lines.append(f"| {frame} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def budget(report: dict[str, Any]) -> str:
    """Shares at 0.5 and 0.7 that each case would reach with one quantity true; masks given."""
    table: dict[str, dict[str, list[str]]] = {}
    for row in report["rows"]:
        case, found, _ = row["case"].partition(", error budget, ")
        if found and "instance_2" in case:
            what = row["operation"].partition(" if ")[2].removesuffix(" were true")
            cells = table.setdefault(what, {}).setdefault(case.split(", ")[1], [])
            cells.append(f"{row['value']:.0%}")
    if not table:
        return ""
    sources = list(next(iter(table.values())))
    lines = ["| if this were true | " + " | ".join(sources) + " |"]
    lines.append("|" + "---|" * (len(sources) + 1))
    for what, values in table.items():
        cells = [" / ".join(values.get(source, [])) for source in sources]
        lines.append(f"| {what} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def others(report: dict[str, Any]) -> str:
    """Everything else, and the targets."""
    lines = ["| case | operation | value | spread | peer | ratio |", "|---|---|---|---|---|---|"]
    for row in report["rows"]:
        apart = ", frame " in row["case"] or ", error budget, " in row["case"]
        if row["operation"] in COLUMNS or apart:
            continue
        spread = "" if row["spread"] is None else f"{row['spread']:.2g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        value = f"{row['value']:.3g} {row['unit']}"
        cells = [row["case"], row["operation"], value, spread, row["peer"], ratio]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| target | goal | measured | met |", "|---|---|---|---|"]
    for target in report["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3g}"
        met = "yes" if target["met"] else "**no**"
        lines.append(f"| {target['name']} | {target['goal']} | {value} | {met} |")
    return "\n".join(lines)


def main() -> None:
    for name in sys.argv[1:]:
        report = json.loads(Path(name).read_text(encoding="utf-8"))
        machine = ", ".join(f"{k} {v}" for k, v in report["machine"].items() if v)
        print(f"{name}: {machine}\n")
        for table in (poses(report), frames(report), budget(report), others(report)):
            if table.count("\n") > 1:
                print(table + "\n")


if __name__ == "__main__":
    main()
