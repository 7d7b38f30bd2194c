"""`diffrender ablate`: what each part of the method is worth, one thing changed at a time."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffrender._files import writable_folder
from diffrender.errors import InputError
from diffrender.tools.console import guarded, note, print_json
from diffrender.tools.console import out as standard_out
from diffrender.tools.given import path_of, refuse_empty

if TYPE_CHECKING:
    from diffrender.tools.ablate_variants import Variant

__all__ = ["ablate"]


@guarded
def ablate(
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=path_of("--out"), help="Folder for the results."),
    ] = Path("ablation"),
    scenes: Annotated[int, typer.Option(help="Synthetic streets of each seed.")] = 4,
    seeds: Annotated[
        str, typer.Option(metavar="N,N", help="Seeds of the streets; 1 and 2 are for development.")
    ] = "1,2",
    kitti: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT",
            parser=path_of("--kitti"),
            help="Also real frames with lidar and instance_2.",
        ),
    ] = None,
    only: Annotated[
        str | None, typer.Option(metavar="GROUP,GROUP", help="Only these groups of cases.")
    ] = None,
    limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="Stop then; run again to go on.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the report as JSON.")] = False,
) -> None:
    """Losses, depth, masks, hypotheses, occlusion, priors and solvers, each against the base case.

    Writes cars.jsonl (a line a car, to go on from), report.json, tables.md and plot.png. Truth
    serves scoring only.
    """
    from diffrender.native import small_tensors
    from diffrender.tools.ablate_report import markdown, plot, summary
    from diffrender.tools.ablate_run import read_lines, real_lines, street_lines, write_lines

    refuse_empty({"--seeds": seeds, "--only": only})
    cases = _cases(only)
    numbers = _seeds(seeds)
    if scenes < 0 or (scenes == 0 and kitti is None):
        raise InputError(f"--scenes is {scenes}, expected at least 1, or 0 with --kitti")
    if limit is not None and not limit > 0:
        raise InputError(f"--limit is {limit}, expected minutes above 0")
    writable_folder(out)
    jobs = list(street_lines(cases, numbers, scenes))
    if kitti is not None:
        jobs += list(real_lines(cases, kitti))
    seconds = float("inf") if limit is None else 60 * limit
    path = out / "cars.jsonl"
    with small_tensors():
        left = write_lines(path, jobs, seconds)
    wanted = {place for place, _ in jobs}
    lines = [line for line in read_lines(path) if line["place"] in wanted]
    report = summary(lines, cases)
    report.write(out / "report.json")
    text = markdown(report)
    from diffrender._files import write_text_atomic

    write_text_atomic(out / "tables.md", text)
    plot(report, out / "plot.png")
    if as_json:
        print_json(report.as_dict())
    else:
        standard_out().print(text, markup=False, soft_wrap=True)
    if left:
        note().print(f"{left} of {len(jobs)} runs are left: the same command goes on", markup=False)


def _cases(only: str | None) -> list[Variant]:
    from diffrender.tools.ablate_variants import BASE, variants

    found = variants()
    if only is None:
        return found
    wanted = [word.strip() for word in only.split(",") if word.strip()]
    groups = list(dict.fromkeys(case.group for case in found if case is not BASE))
    if not wanted:
        raise InputError(f"--only is {only!r}, expected some of: {', '.join(groups)}")
    for word in wanted:
        if word not in groups:
            raise InputError(f"--only names {word!r}, expected some of: {', '.join(groups)}")
    return [BASE, *(case for case in found if case.group in wanted)]


def _seeds(text: str) -> tuple[int, ...]:
    try:
        found = tuple(dict.fromkeys(int(word) for word in text.split(",")))
    except ValueError:
        raise InputError(f"--seeds is {text!r}, expected numbers such as 1,2") from None
    if min(found) < 0:
        raise InputError(f"--seeds is {text!r}, expected numbers of at least 0")
    return found
