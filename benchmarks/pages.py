"""What the writers of tables share: Markdown, a report's goals and machine, a page's marks."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"
DOCS = ROOT / "docs"


def paths_given(about: str | None, usual: Mapping[str, Path]) -> list[Path]:
    """The paths on the command line by their names in its help: all of them, or none and the usual.

    Asked for help, or given paths of another number, it says so and leaves.
    """
    parser = argparse.ArgumentParser(
        description=about, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, path in usual.items():
        parser.add_argument(name, type=Path, nargs="?", help=f"left out, {path.name}")
    given = [path for path in vars(parser.parse_args()).values() if path is not None]
    if given and len(given) != len(usual):
        parser.error(f"expected all of {' '.join(usual)}, or none")
    return given or list(usual.values())


def read_report(path: Path) -> dict[str, Any]:
    """A report of `diffrender bench`."""
    return json.loads(path.read_text(encoding="utf-8"))


def markdown_table(head: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def goals(
    report: dict[str, Any],
    head: tuple[str, str, str, str] = ("goal", "", "measured", "met"),
    style: str = ".3g",
) -> str:
    """Every goal, met or not."""
    rows = []
    for one in report["targets"]:
        value = "not measured" if one["value"] is None else format(one["value"], style)
        rows.append([one["name"], one["goal"], value, "yes" if one["met"] else "**no**"])
    return markdown_table(list(head), rows)


def machine(report: dict[str, Any]) -> str:
    """What a report was measured on."""
    return ", ".join(f"{key} {value}" for key, value in report["machine"].items() if value)


def write_below(page: Path, mark: str, text: str) -> None:
    """Replace what stands below a page's mark, a whole line."""
    write_between(page, mark, None, text)


def write_between(page: Path, begin: str, end: str | None, text: str) -> None:
    """Replace what stands between two marks of a page; each must be there once."""
    old = page.read_text(encoding="utf-8")
    for mark in (begin, end):
        if mark is not None and old.count(mark) != 1:
            raise SystemExit(f"{page} must hold this once: {mark.strip()}")
    after = "" if end is None else end + old.split(end)[1]
    page.write_text(old.split(begin)[0] + begin + text + after, encoding="utf-8")
    print(f"wrote {page}")
