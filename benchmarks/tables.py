"""Markdown tables of benchmark reports, for docs/results.md.

python benchmarks/tables.py benchmarks/results/reconstruct-real.json
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from pages import goals, machine, markdown_table, read_report

COLUMNS = {
    "share with 3D IoU >= 0.25": ("≥ 0.25", "{:.0%}"),
    "share with 3D IoU >= 0.5": ("≥ 0.5", "{:.0%}"),
    "share with 3D IoU >= 0.7": ("≥ 0.7", "{:.0%}"),
    "median 3D IoU": ("median IoU", "{:.2f}"),
    "median centre error": ("centre, % of depth", "{:.1%}"),
    "median yaw error modulo 180 degrees": ("yaw mod 180°", "{:.1f}°"),
    "median yaw error": ("yaw exact", "{:.1f}°"),
    "share with exact yaw within 10 degrees": ("yaw within 10°", "{:.0%}"),
    "share with the heading not flipped (yaw within 90 degrees)": ("not flipped", "{:.0%}"),
}


def poses(report: dict[str, Any]) -> str:
    """Ours and the render-free baseline, one row of the table a case."""
    cases: dict[str, dict[str, tuple[float, str]]] = {}
    for row in report["rows"]:
        if row["operation"] in COLUMNS:
            cases.setdefault(row["case"], {})[row["operation"]] = (row["value"], row["peer"])
    lines = []
    for case, values in cases.items():
        ours, box = [], []
        for operation, (_, style) in COLUMNS.items():
            value, peer = values.get(operation, (None, ""))
            ours.append("" if value is None else style.format(value))
            compared = peer.startswith("method box: ")
            box.append(style.format(float(peer.split(": ")[1])) if compared else "")
        lines.append([case, "render", *ours])
        if any(box):
            lines.append(["", "box", *box])
    return markdown_table(["case", "method", *(name for name, _ in COLUMNS.values())], lines)


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
    lines = [
        [frame, *(cells.get(source, "") for source in sources)]
        for frame, cells in sorted(table.items())
    ]
    return markdown_table(["frame", *sources], lines)


def budget(report: dict[str, Any]) -> str:
    """Shares at 0.5 and 0.7 that each case would reach with one quantity true; masks given."""
    table: dict[str, dict[str, list[str]]] = {}
    for row in report["rows"]:
        case, found, _ = row["case"].partition(", error budget, ")
        if found and "instance_2" in case:
            what = row["operation"].partition(" if ")[2].removesuffix(" were true")
            cells = table.setdefault(what, {}).setdefault(case.split(", ")[1], [])
            cells.append(f"{row['value']:.0%}")
    sources = list(next(iter(table.values()), {}))
    lines = [
        [what, *(" / ".join(values.get(source, [])) for source in sources)]
        for what, values in table.items()
    ]
    return markdown_table(["if this were true", *sources], lines)


def others(report: dict[str, Any]) -> str:
    """Everything else, and the targets."""
    lines = []
    for row in report["rows"]:
        apart = ", frame " in row["case"] or ", error budget, " in row["case"]
        if row["operation"] in COLUMNS or apart:
            continue
        spread = "" if row["spread"] is None else f"{row['spread']:.2g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        value = f"{row['value']:.3g} {row['unit']}"
        lines.append([row["case"], row["operation"], value, spread, row["peer"], ratio])
    head = ["case", "operation", "value", "spread", "peer", "ratio"]
    return f"{markdown_table(head, lines)}\n{goals(report, ('target', 'goal', 'measured', 'met'))}"


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("reports", nargs="+", help="files of `diffrender bench ... --json FILE`")
    for name in parser.parse_args().reports:
        report = read_report(Path(name))
        print(f"{name}: {machine(report)}\n")
        for table in (poses(report), frames(report), budget(report), others(report)):
            if table.count("\n") > 2:
                print(table)


if __name__ == "__main__":
    main()
