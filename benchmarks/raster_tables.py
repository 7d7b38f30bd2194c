"""The tables of docs/benchmarks.md, from the report of `diffrender bench raster`.

python benchmarks/raster_tables.py     # rewrites what stands below the page's last heading
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pages import (
    DOCS,
    RESULTS,
    goals,
    machine,
    markdown_table,
    paths_given,
    read_report,
    write_below,
)

MARK = "<!-- tables below: written by benchmarks/raster_tables.py -->\n"
FULL = "full (rasterize + interpolate + antialias) forward + backward"
APART = "three calls"
STEPS = ["rasterize", "interpolate", "antialias", "soft silhouette"]


def against_deodr(report: dict[str, Any]) -> str:
    """One line a cell: milliseconds on as many threads, how many times faster than DEODR, and the
    same step by three calls on all threads."""
    apart = {
        row["case"]: row["value"]
        for row in report["rows"]
        if row["operation"].startswith(f"{APART} forward + backward, ") and row["unit"] == "ms"
    }
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for row in report["rows"]:
        if row["operation"].startswith(f"{FULL}, threads: "):
            cells.setdefault(row["case"], {})[row["operation"].rsplit(" ", 1)[1]] = row
    threads = list(dict.fromkeys(key for found in cells.values() for key in found))
    head = ["cell"]
    for count in threads:
        head += [f"ms, {count} thread(s)", "IQR", "x faster than DEODR"]
    lines = []
    for case, found in cells.items():
        line = [case]
        for count in threads:
            row = found[count]
            width = "" if row["spread"] is None else f"{row['spread']:.2g}"
            line += [f"{row['value']:.3g}", width, f"{1 / row['ratio']:.2f}"]
        lines.append([*line, f"{apart[case]:.3g}" if case in apart else ""])
    return markdown_table([*head, "ms, three calls"], lines)


def operations(report: dict[str, Any]) -> str:
    """Milliseconds, forward / backward, of every operation by itself."""
    suffix = f", {report['machine']['threads']} threads"
    cells: dict[str, dict[str, float]] = {}
    for row in report["rows"]:
        name = row["operation"].removesuffix(suffix)
        if row["unit"] == "ms" and any(name in (f"{s} forward", f"{s} backward") for s in STEPS):
            cells.setdefault(row["case"], {})[name] = row["value"]
    lines = []
    for case, found in cells.items():
        pairs = [[found.get(f"{s} forward"), found.get(f"{s} backward")] for s in STEPS]
        lines.append(
            [case, *("" if None in p else " / ".join(f"{v:.3g}" for v in p) for p in pairs)]
        )
    return markdown_table(["cell", *STEPS], lines)


def others(report: dict[str, Any]) -> str:
    """Peers, single scenes and exponents: all rows that are in no table above."""
    lines, left = [], []
    for row in report["rows"]:
        grid = ", batch " in row["case"] and (
            row["operation"].startswith(("full (", APART, *STEPS))
        )
        if row["unit"] == "timings" and row["operation"].startswith("left out"):
            left.append(f"- {row['case']}: {row['operation']}")
        elif row["operation"].startswith("below the goal"):
            continue
        elif not (grid and row["unit"] == "ms" and "llvmpipe" not in row["operation"]):
            value = "" if row["unit"] == "timings" else f"{row['value']:.3g} {row['unit']}"
            lines.append([row["case"], row["operation"], value])
    text = markdown_table(["case", "operation", "value"], lines)
    return text + ("\nCells of the grid that were left out:\n\n" + "\n".join(left) + "\n") * bool(
        left
    )


def page(report: dict[str, Any]) -> str:
    """All tables with their headings."""
    gpu = "" if report["machine"].get("gpu") else ", no GPU"
    parts = {
        "Goals": goals(report),
        "Rasterize + interpolate + antialias, forward + backward": against_deodr(report),
        "Each operation, forward / backward, ms": operations(report),
        "Other peers, single scenes, growth": others(report),
    }
    text = f"\nMeasured on: {machine(report)}{gpu}.\n"
    return text + "".join(f"\n### {name}\n\n{table}" for name, table in parts.items())


def main(source: Path, target: Path) -> None:
    write_below(target, MARK, page(read_report(source)))


if __name__ == "__main__":
    usual = {"report": RESULTS / "raster.json", "page": DOCS / "benchmarks.md"}
    main(*paths_given(__doc__, usual))
