"""Table of docs/results.md on held-out meshes, from the report of `diffrender bench priors`.

python benchmarks/priors_tables.py     # rewrites what stands between the page's two marks
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pages import DOCS, RESULTS, machine, markdown_table, paths_given, read_report, write_between
from tables import others

BEGIN = "<!-- below: written by benchmarks/priors_tables.py -->\n"
END = "<!-- above: written by benchmarks/priors_tables.py -->\n"
COLUMNS = {
    "Chamfer distance": "{:.1f}",
    "volumetric IoU": "{:.3f}",
    "normal consistency": "{:.3f}",
}


def table(report: dict[str, Any]) -> str:
    """One line a prior: means over meshes, and the spread over folds."""
    found: dict[str, dict[str, dict[str, Any]]] = {}
    for row in report["rows"]:
        if row["operation"] in COLUMNS:
            found.setdefault(row["case"], {})[row["operation"]] = row
    head = ["prior", "Chamfer, mm", "folds' IQR", "IoU", "folds' IQR", "normals", "folds' IQR"]
    lines = []
    for case, rows in found.items():
        cells = [case.rsplit(", ", 1)[0]]
        for name, style in COLUMNS.items():
            cells += [style.format(rows[name]["value"]), f"{rows[name]['spread']:.2g}"]
        lines.append(cells)
    which = next(iter(found)).rsplit(", ", 1)[1]
    return f"Means over meshes: {which}.\n\n" + markdown_table(head, lines)


def main(source: Path, page: Path) -> None:
    report = read_report(source)
    rest = [row for row in report["rows"] if row["operation"] not in COLUMNS]
    more = others({"rows": rest, "targets": report["targets"]})
    parts = f"\nMachine: {machine(report)}.\n\n{table(report)}\n{more}\n"
    write_between(page, BEGIN, END, parts)


if __name__ == "__main__":
    usual = {"report": RESULTS / "priors.json", "page": DOCS / "results.md"}
    main(*paths_given(__doc__, usual))
