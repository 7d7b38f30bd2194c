"""The tables of docs/benchmarks-blocksparse.md, from `diffrender bench blocksparse`'s report.

python benchmarks/blocksparse_tables.py     # rewrites what stands below the page's mark
"""

from __future__ import annotations

import re
import statistics
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

MARK = "<!-- tables below: written by benchmarks/blocksparse_tables.py -->\n"
CASE = re.compile(r"m=k=(\d+), n=(\d+), d=([\d.]+), b=(\d+), x (\(\w, \w\)), threads: (\d+)")
PRODUCTS = ("forward", "grad_input", "grad_weight")


def bandwidth(report: dict[str, Any]) -> tuple[str, float]:
    """Threads that read memory in the rows of single columns, and their bytes a second."""
    rows = [row for row in report["rows"] if row["unit"] == "GB/s"]
    case = CASE.fullmatch(rows[0]["case"])
    assert case is not None
    return case[6], 1e9 * statistics.median(row["value"] / row["ratio"] for row in rows)


def apart(side: int, n: int, density: float, dense: float, speed: float) -> float:
    """Share of 1/d if a product computed as fast as dense, but not while it moves memory.

    x is read once, y read and written once, the values read once, at `speed` bytes a second.
    """
    moved = 4 * (3 * side * n + density * side * side)
    ideal = density * dense
    return ideal / (ideal + moved / speed)


def gains(report: dict[str, Any]) -> str:
    """One table a product, layout and number of threads: gain over dense, in a row the sizes."""
    found: dict[tuple[str, str, str], dict[tuple[int, int, float], dict[int, float]]] = {}
    dense: dict[tuple[str, str, str], dict[tuple[int, int, float], float]] = {}
    many, speed = bandwidth(report)
    for row in report["rows"]:
        case = CASE.fullmatch(row["case"])
        if case is None or row["operation"] not in PRODUCTS or row["unit"] != "ms":
            continue
        side, n, density, block, layout, threads = case.groups()
        table = found.setdefault((row["operation"], layout, threads), {})
        cell = (int(side), int(n), float(density))
        table.setdefault(cell, {})[int(block)] = 1 / row["ratio"]
        times = dense.setdefault((row["operation"], layout, threads), {})
        times[cell] = 1e-3 * row["value"] / row["ratio"]
    text = ""
    for (product, layout, threads), table in found.items():
        blocks = sorted({block for cells in table.values() for block in cells})
        lines = []
        modelled = threads == many and product != "grad_weight"
        for (side, n, density), cells in table.items():
            line = [str(side), str(n), f"{density:g}", f"{1 / density:.3g}"]
            if modelled:
                time = dense[product, layout, threads][side, n, density]
                line.append(f"{100 * apart(side, n, density, time, speed):.0f} %")
            line += [
                f"{cells[b]:.2f} ({100 * cells[b] * density:.0f} %)" if b in cells else ""
                for b in blocks
            ]
            lines.append(line)
        head = [
            "m = k",
            "n",
            "d",
            "1/d",
            *(["in turns"] if modelled else []),
            *(f"b = {b}" for b in blocks),
        ]
        text += f"\n#### {product}, x {layout}, threads: {threads}\n\n{markdown_table(head, lines)}"
    return text


def others(report: dict[str, Any]) -> str:
    """Peers, single columns, half precision, dynamic mode, and what was left out."""
    lines = []
    for row in report["rows"]:
        if row["operation"] in PRODUCTS and row["unit"] == "ms":
            continue
        value = "" if row["unit"] == "timings" else f"{row['value']:.4g} {row['unit']}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3g}"
        lines.append([row["case"], row["operation"], value, row["peer"], ratio])
    return markdown_table(["case", "operation", "value", "beside", "ratio"], lines)


def page(report: dict[str, Any]) -> str:
    """All tables with their headings."""
    gpu = "" if report["machine"].get("gpu") else ", no GPU"
    return (
        f"\nMeasured on: {machine(report)}{gpu}.\n"
        f"\n### Goals\n\n{goals(report)}"
        f"\n### Gain over dense (share of 1/d)\n{gains(report)}"
        f"\n### Peers, single columns, half precision, dynamic mode\n\n{others(report)}"
    )


def main(source: Path, target: Path) -> None:
    write_below(target, MARK, page(read_report(source)))


if __name__ == "__main__":
    usual = {"report": RESULTS / "blocksparse.json", "page": DOCS / "benchmarks-blocksparse.md"}
    main(*paths_given(__doc__, usual))
