"""Tables of docs/molecules.md, from the report of `diffrender bench molecules`.

python benchmarks/molecules_tables.py     # rewrites what stands between the page's marks
"""

from __future__ import annotations

import re
from typing import Any

from pages import DOCS, RESULTS, goals, markdown_table, paths_given, read_report, write_between

PAGE = DOCS / "molecules.md"
REPORTS = {"molecules.json": "table", "molecules-full.json": "full"}  # file, mark on the page
HEAD = [
    "network", "parameters", "seeds", "held-out error, eV", "of GPS++'s", "learned molecules, eV",
    "graphs/s",
]  # fmt: skip
OPERATION = re.compile(r"(.*), (\d+) parameters, seeds ([\d, ]+)")


def table(report: dict[str, Any]) -> str:
    """One row a network, then the orderings."""
    held: dict[str, dict[str, Any]] = {}
    learned: dict[str, float] = {}
    speed: dict[str, float] = {}
    intro, lines = "", []
    for row in report["rows"]:
        if row["operation"] == "median label":
            intro = (
                f"{row['case']}; {processor(report)}. Always predicting the median label: "
                f"{row['value']:.3f} eV.\n\n"
            )
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
            [
                name,
                f"{int(count):,}".replace(",", " "),
                str(len(seeds.split(","))),
                f"{row['value']:.3f}{spread}",
                ratio,
                f"{learned[operation]:.3f}",
                f"{speed[operation]:.0f}",
            ]
        )
    orderings = goals(report, ("ordering", "goal", "measured", "holds"), ".3f")
    return f"{intro}{markdown_table(HEAD, lines)}\n{orderings}"


def processor(report: dict[str, Any]) -> str:
    """The processor and its threads."""
    return f"{report['machine']['cpu']}, {report['machine']['threads']} thread"


def main() -> None:
    for name, mark in REPORTS.items():
        begin, end = f"<!-- {mark}: begin -->\n", f"<!-- {mark}: end -->"
        write_between(PAGE, begin, end, table(read_report(RESULTS / name)))


if __name__ == "__main__":
    paths_given(__doc__, {})
    main()
