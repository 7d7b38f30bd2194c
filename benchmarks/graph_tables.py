"""Tables of docs/graph.md, written from benchmarks/results; run after `diffrender bench graph`,
`mesh-denoising` or `mesh-refining` wrote their files there."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "graph.md"
RESULTS = {
    "speed": "graph.json",
    "denoising": "mesh-denoising.json",
    "refining": "mesh-refining.json",
}


def table(report: dict[str, Any]) -> str:
    """The rows of a report, with the machine that they come from."""
    machine = report["machine"]
    lines = ["| case | what | value | spread | ratio |", "|---|---|---|---|---|"]
    for row in report["rows"]:
        spread = "" if row["spread"] is None else f"{row['spread']:.3g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['peer']})"
        value = f"{row['value']:.4g} {row['unit']}"
        lines.append(f"| {row['case']} | {row['operation']} | {value} | {spread} | {ratio} |")
    met = sum(target["met"] for target in report["targets"])
    lines += [
        "",
        f"Goals met: {met} of {len(report['targets'])}. {machine['cpu']}, {machine['threads']} "
        f"thread of {machine['cores']} cores, torch {machine['torch']}; the spread is the "
        "interquartile range.",
    ]
    return "\n".join(lines)


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, file in RESULTS.items():
        path = ROOT / "benchmarks" / "results" / file
        if not path.is_file():
            continue
        found = table(json.loads(path.read_text(encoding="utf-8")))
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        page = re.sub(f"{begin}.*?{end}", lambda _, t=found, b=begin, e=end: f"{b}\n{t}\n{e}",
                      page, flags=re.DOTALL)  # fmt: skip
    PAGE.write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
