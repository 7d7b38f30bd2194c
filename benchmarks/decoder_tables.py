"""Tables and plot of docs/blocksparse-decoder.md, from the report of `diffrender bench decoder`.

python benchmarks/decoder_tables.py     # rewrites what stands below the page's mark, and the plot
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pages import DOCS, RESULTS, machine, markdown_table, paths_given, read_report, write_below

MARK = "<!-- below: written by benchmarks/decoder_tables.py -->\n"
ERROR, CHAMFER = "held-out vertex error", "held-out Chamfer distance"
STEP, INFERENCE = "training step, batch 256", "inference, batch 256"
_CASE = re.compile(r"(\d+) latents, width (\d+), (?:dense|density (1/\d+))")
INK, SOFT, LINE = "#1f2933", "#52606d", "#d9dee4"
COLOURS = ["#3565a8", "#c2562d"]


def _rows(report: dict[str, Any], operation: str) -> dict[tuple[int, int], dict[str, Any]]:
    """(latents, width) -> density -> row, for an operation's rows."""
    found: dict[tuple[int, int], dict[str, Any]] = {}
    for row in report["rows"]:
        match = _CASE.fullmatch(row["case"])
        if match and row["operation"].startswith(operation):
            key = int(match[1]), int(match[2])
            found.setdefault(key, {})[match[3] or "1"] = row
    return found


def accuracy(report: dict[str, Any]) -> str:
    """Errors by density, one pair of columns a number of latents."""
    errors, chamfers = _rows(report, ERROR), _rows(report, CHAMFER)
    linear = {
        (int(row["case"].split(" ")[0]), row["operation"]): row["value"]
        for row in report["rows"]
        if row["case"].endswith("principal components")
    }
    head, first = ["density"], ["principal components"]
    for latents, width in errors:
        head += [
            f"{latents} latents, width {width}: vertex error, mm",
            "seeds' range",
            "Chamfer, mm",
        ]
        first += [f"{linear[latents, ERROR]:.2f}", "", f"{linear[latents, CHAMFER]:.2f}"]
    lines = [first]
    for density in next(iter(errors.values())):
        line = ["1 (dense)" if density == "1" else density]
        for key, found in errors.items():
            row = found[density]
            line += [f"{row['value']:.2f}", f"{row['spread']:.2f}"]
            line += [f"{chamfers[key][density]['value']:.2f}"]
        lines.append(line)
    return markdown_table(head, lines)


def speed(report: dict[str, Any]) -> str:
    """Times by density, and how many times faster than dense."""
    steps, inference = _rows(report, STEP), _rows(report, INFERENCE)
    head = ["density"]
    for _, width in steps:
        head += [f"width {width}: training step, ms", "× faster", "inference, ms", "× faster"]
    lines = []
    for density in next(iter(steps.values())):
        line = ["1 (dense)" if density == "1" else density]
        for key in steps:
            for found in (steps, inference):
                row = found[key][density]
                line += [f"{row['value']:.3g} ± {row['spread']:.2g}", f"{1 / row['ratio']:.2f}"]
        lines.append(line)
    return markdown_table(head, lines)


def plot(report: dict[str, Any], target: Path) -> None:
    """Error over speed-up of a training step, one line a number of latents."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    errors, steps = _rows(report, ERROR), _rows(report, STEP)
    timed = {width: found for (_, width), found in steps.items()}
    figure = Figure(figsize=(8.4, 3.4), dpi=110, layout="constrained", facecolor="white")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1, len(errors), squeeze=False)[0]
    for index, ((latents, width), found) in enumerate(errors.items()):
        axes, colour = panels[index], COLOURS[index % len(COLOURS)]
        gains = timed.get(width, next(iter(timed.values())))
        across = [1 / gains[density]["ratio"] for density in found]
        up = [row["value"] for row in found.values()]
        reach = [row["spread"] / 2 for row in found.values()]
        axes.errorbar(across, up, yerr=reach, color=colour, marker="o", capsize=3, linewidth=1.4)
        for x, y, density in zip(across, up, found, strict=True):
            axes.annotate(
                "dense" if density == "1" else density, (x, y), xytext=(4, 5),
                textcoords="offset points", fontsize=8, color=SOFT,
            )  # fmt: skip
        linear = next(
            row["value"]
            for row in report["rows"]
            if row["case"] == f"{latents} latents, principal components"
            and row["operation"] == ERROR
        )
        axes.axhline(linear, color=SOFT, linewidth=1, linestyle="--")
        axes.annotate(
            "principal components", (max(across), linear), xytext=(0, 3), ha="right",
            textcoords="offset points", fontsize=8, color=SOFT,
        )  # fmt: skip
        axes.set_title(f"{latents} latents, width {width}", fontsize=9.5, color=INK, loc="left")
        axes.set_xlabel("training step, × faster than dense", fontsize=8.5, color=SOFT)
        axes.set_ylabel("held-out vertex error, mm", fontsize=8.5, color=SOFT)
        axes.tick_params(labelsize=8, colors=SOFT, length=0)
        axes.grid(color=LINE, linewidth=0.7)
        for side in axes.spines.values():
            side.set_visible(False)
    # No date or version in the file: the same numbers give the same bytes.
    figure.savefig(target, format="png", metadata={"Software": None})


def main(source: Path, page: Path, picture: Path) -> None:
    report = read_report(source)
    parts = f"\nMeasured on: {machine(report)}.\n\n{accuracy(report)}\n{speed(report)}"
    write_below(page, MARK, parts)
    plot(report, picture)
    print(f"wrote {picture}")


if __name__ == "__main__":
    usual = {
        "report": RESULTS / "decoder.json",
        "page": DOCS / "blocksparse-decoder.md",
        "picture": DOCS / "images" / "blocksparse_decoder.png",
    }
    main(*paths_given(__doc__, usual))
