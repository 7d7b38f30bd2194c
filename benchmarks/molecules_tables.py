"""Tables of docs/molecules.md, from the report of `diffrender bench molecules`.

python benchmarks/molecules_tables.py     # rewrites what stands between the page's marks
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from diffrender._files import write_text_atomic

HERE = Path(__file__).parent
REPORT = HERE / "results" / "molecules.json"
PAGE = HERE.parent / "docs" / "molecules.md"
BEGIN, END = "<!-- table: begin -->", "<!-- table: end -->"
OPERATION = re.compile(r"(.*), (\d+) parameters, seeds ([\d, ]+)")


def table(report: dict[str, Any]) -> str:
    """One row a network, then the orderings."""
    held: dict[str, dict[str, Any]] = {}
    learned: dict[str, float] = {}
    speed: dict[str, float] = {}
    lines = []
    for row in report["rows"]:
        if row["operation"] == "median label":
            lines = [
                f"{row['case']}; {machine(report)}. Always predicting the median label: "
                f"{row['value']:.3f} eV.",
                "",
                "| network | parameters | seeds | held-out error, eV | of GPS++'s | "
                "learned molecules, eV | graphs/s |",
                "|---|---|---|---|---|---|---|",
            ]
        elif row["unit"] == "eV" and row["peer"]:
            held[row["operation"]] = row
        elif row["unit"] == "eV":
            learned[row["operation"]] = row["value"]
        else:
            speed[row["operation"]] = row["value"]
    for operation, row in held.items():
        found = OPERATION.fullmatch(operation)
        assert found is not None, operation
        name, count, seeds = found.groups()
        spread = "" if row["spread"] is None else f" ± {row['spread']:.3f}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.3f}"
        lines.append(
            f"| {name} | {int(count):,} | {len(seeds.split(','))} | {row['value']:.3f}{spread} | "
            f"{ratio} | {learned[operation]:.3f} | {speed[operation]:.0f} |".replace(",", " ")
        )
    lines += ["", "| ordering | goal | measured | holds |", "|---|---|---|---|"]
    for target in report["targets"]:
        value = "not measured" if target["value"] is None else f"{target['value']:.3f}"
        holds = "yes" if target["met"] else "**no**"
        lines.append(f"| {target['name']} | {target['goal']} | {value} | {holds} |")
    return "\n".join(lines)


def machine(report: dict[str, Any]) -> str:
    """The processor and its threads."""
    return f"{report['machine']['cpu']}, {report['machine']['threads']} thread"


def main() -> None:
    page = PAGE.read_text(encoding="utf-8")
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    made = table(json.loads(REPORT.read_text(encoding="utf-8")))
    write_text_atomic(PAGE, f"{before}{BEGIN}\n{made}\n{END}{after}")


if __name__ == "__main__":
    main()
