"""Tables of docs/graph.md, written from benchmarks/results; run after `diffrender bench graph`,
`mesh-denoising` or `mesh-refining` wrote their files there."""

from __future__ import annotations

from typing import Any

from pages import DOCS, RESULTS, markdown_table, paths_given, read_report, write_between

PAGE = DOCS / "graph.md"
REPORTS = {
    "speed": "graph.json",
    "denoising": "mesh-denoising.json",
    "refining": "mesh-refining.json",
}


def table(report: dict[str, Any]) -> str:
    """The rows of a report, with the machine that they come from."""
    machine, lines = report["machine"], []
    for row in report["rows"]:
        spread = "" if row["spread"] is None else f"{row['spread']:.3g}"
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['peer']})"
        value = f"{row['value']:.4g} {row['unit']}"
        lines.append([row["case"], row["operation"], value, spread, ratio])
    met = sum(target["met"] for target in report["targets"])
    return (
        f"{markdown_table(['case', 'what', 'value', 'spread', 'ratio'], lines)}\n"
        f"Goals met: {met} of {len(report['targets'])}. {machine['cpu']}, {machine['threads']} "
        f"thread of {machine['cores']} cores, torch {machine['torch']}; the spread is the "
        "interquartile range.\n"
    )


def main() -> None:
    for name, file in REPORTS.items():
        if (RESULTS / file).is_file():
            text = table(read_report(RESULTS / file))
            write_between(PAGE, f"<!-- {name} -->\n", f"<!-- end of {name} -->", text)


if __name__ == "__main__":
    paths_given(__doc__, {})
    main()
