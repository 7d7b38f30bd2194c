"""The tables of docs/catalogue.md, from the reports of `diffrender bench catalogue`.

python benchmarks/catalogue_tables.py     # rewrites what stands below the page's mark
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from pages import DOCS, RESULTS, machine, markdown_table, paths_given, read_report, write_below

MARK = "<!-- tables below: written by benchmarks/catalogue_tables.py -->\n"
PARAMETERS = ("vertices", "attributes", "texture", "pose", "intrinsics", "light", "density")
MARKS = {"exact": "●", "own": "◐", "biased": "○"}
_POSE = re.compile(r"pose from ([\d.]+)(%| degrees).*, recovered of (\d+)")


def claims(report: dict[str, Any]) -> str:
    """One line a technique, one column a parameter: the mark and the lowest cosine."""
    found: dict[str, dict[str, str]] = {}
    for target in report["targets"]:
        name, _, what = target["name"].partition(": ")
        parameter, where, exactness = (what.split(", ") + ["", ""])[:3]
        if parameter not in PARAMETERS:
            continue
        value = "" if target["value"] is None else f" {target['value']:.2f}"
        part = {"both": "", "interior": " i", "silhouette": " s"}[where]
        failed = "" if target["met"] else " **fails**"
        found.setdefault(name, {})[parameter] = f"{MARKS[exactness]}{value}{part}{failed}"
    rows = [[name, *(cells.get(p, "") for p in PARAMETERS)] for name, cells in found.items()]
    return markdown_table(["technique", *PARAMETERS], rows)


def poses_and_cost(report: dict[str, Any]) -> str:
    """One line a technique: poses recovered by start, milliseconds and memory at 64 rows."""
    found: dict[str, dict[str, str]] = {}
    columns: dict[str, None] = {}
    for row in report["rows"]:
        match = _POSE.match(row["operation"])
        cells = found.setdefault(row["case"], {})
        if match:
            column = f"{float(match[1]):g}{'°' if match[2].strip() == 'degrees' else ' %'}"
            columns[column] = None
            cells[column] = f"{100 * row['value']:.0f}/{match[3]}"
        elif row["operation"].startswith("pose from the truth on a sharp picture"):
            if row["unit"] == "degrees":
                cells["bias"] = f"{row['value']:.1f}°"
            else:
                cells["bias"] += f", {100 * row['value']:.1f} %"
        elif row["operation"] == "64 rows: forward + backward":
            cells["ms"] = f"{row['value']:.3g}"
        elif row["operation"] == "64 rows: peak of tensors":
            cells["MiB"] = f"{row['value']:.3g}"
    turns = sorted((c for c in columns if "°" in c), key=lambda c: float(c[:-1]))
    shifts = sorted((c for c in columns if "%" in c), key=lambda c: float(c[:-2]))
    head = [*turns, *shifts, "bias", "ms", "MiB"]
    rows = [[name, *(cells.get(c, "") for c in head)] for name, cells in found.items() if cells]
    return markdown_table(["technique", *head], rows)


def reconstructions(report: dict[str, Any]) -> str:
    """One line a technique, best first: by yaw within 10 degrees, then by 3D IoU."""
    cases: dict[str, dict[str, float]] = {}
    for row in report["rows"]:
        cases.setdefault(row["case"], {})[row["operation"]] = row["value"]
    order = ("yaw within 10 degrees", "median 3D IoU")
    best = sorted(cases.items(), key=lambda item: [-item[1].get(name, 0.0) for name in order])
    rows = []
    for case, values in best:
        yaw, centre = values.get("median yaw error"), values.get("median centre error")
        rows.append(
            [
                case.rpartition(", ")[0],
                f"{values['yaw within 10 degrees']:.0%}",
                "" if yaw is None else f"{yaw:.1f}°",
                "" if centre is None else f"{centre:.1%}",
                f"{values['median 3D IoU']:.2f}",
                f"{values['time a car']:.1f}",
            ]
        )
    head = ["silhouette by", "yaw within 10°", "median yaw error", "centre, of depth", "3D IoU"]
    return markdown_table([*head, "s a car"], rows)


def page(report: dict[str, Any], streets: dict[str, Any] | None) -> str:
    """All tables with their headings."""
    held = [target["met"] for target in report["targets"]]
    text = (
        f"\nMeasured on: {machine(report)}.\n\n"
        f"### Claims: {sum(held)} of {len(held)} hold\n\n"
        "● the derivative of the scene's anti-aliased picture, ◐ exact for its own picture, ○ "
        "biased; the lowest cosine similarity over directions and regions; i: claimed inside "
        f"surfaces only, s: at silhouettes only.\n\n{claims(report)}\n"
        "### Basins of attraction, and cost\n\n"
        "Poses recovered, in per cent of so many descents on the technique's own picture, from "
        "starts that were turned or shifted (of the car's length); bias: how far from the truth a "
        "descent on a sharp picture ends that begins there; forward and backward at 64 rows. "
        "Blank: pose is not claimed, or 64 rows took longer than the patience of the benchmark."
        f"\n\n{poses_and_cost(report)}\n"
    )
    if streets is not None:
        cars = streets["rows"][0]["case"].rpartition(", ")[2]
        text += (
            f"### Street cars by each silhouette\n\n{cars.capitalize()}, fitted one by one with "
            f"Adam on the same short stages.\n\n{reconstructions(streets)}"
        )
    return text


def main(results: Path, target: Path) -> None:
    path = results / "catalogue-reconstruct.json"
    streets = read_report(path) if path.is_file() else None
    write_below(target, MARK, page(read_report(results / "catalogue.json"), streets))


if __name__ == "__main__":
    main(*paths_given(__doc__, {"results": RESULTS, "page": DOCS / "catalogue.md"}))
