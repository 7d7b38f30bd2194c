"""Table of docs/results.md on held-out meshes, from the report of `diffrender bench priors`.

python benchmarks/priors_tables.py     # rewrites what stands between the page's two marks
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tables import others

ROOT = Path(__file__).resolve().parents[1]
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
    lines = [
        "| prior | Chamfer, mm | folds' IQR | IoU | folds' IQR | normals | folds' IQR |",
        "|---|---|---|---|---|---|---|",
    ]
    for case, rows in found.items():
        cells = [case.rsplit(", ", 1)[0]]
        for name, style in COLUMNS.items():
            cells += [style.format(rows[name]["value"]), f"{rows[name]['spread']:.2g}"]
        lines.append("| " + " | ".join(cells) + " |")
    which = next(iter(found)).rsplit(", ", 1)[1]
    return f"Means over meshes: {which}.\n\n" + "\n".join(lines)


def main(source: Path, page: Path) -> None:
    report = json.loads(source.read_text(encoding="utf-8"))
    text = page.read_text(encoding="utf-8")
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        raise SystemExit(f"{page} must hold these lines once: {BEGIN.strip()} {END.strip()}")
    rest = [row for row in report["rows"] if row["operation"] not in COLUMNS]
    more = others({"rows": rest, "targets": report["targets"]})
    machine = ", ".join(f"{key} {value}" for key, value in report["machine"].items() if value)
    parts = f"\nMachine: {machine}.\n\n{table(report)}\n\n{more}\n\n"
    before, after = text.split(BEGIN)[0], text.split(END)[1]
    page.write_text(before + BEGIN + parts + END + after, encoding="utf-8")
    print(f"wrote {page}")


if __name__ == "__main__":
    names = [Path(name) for name in sys.argv[1:]]
    default = [ROOT / "benchmarks" / "results" / "priors.json", ROOT / "docs" / "results.md"]
    main(*(names if len(names) == 2 else default))
