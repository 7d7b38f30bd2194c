"""`diffrender evaluate`: detections and depth maps against their truth, a submission's form."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from diffrender._files import readable, write_text_atomic
from diffrender.errors import InputError
from diffrender.tools.console import guarded, out, plain_table, print_json, warn
from diffrender.tools.evaluate_depth import depth
from diffrender.tools.given import check_places, keep_inputs, path_of

if TYPE_CHECKING:
    from diffrender.evaluate import KittiReport

__all__ = ["evaluate"]

evaluate = typer.Typer(no_args_is_help=True)
evaluate.command()(depth)


@evaluate.callback()
def _group() -> None:
    """Score detections and depth maps; check a submission before it is sent."""


@evaluate.command()
@guarded
def kitti(
    labels: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=path_of("--labels"),
            help="Labels: a folder, zip or tar.gz of NAME.txt.",
        ),
    ],
    results: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=path_of("--results"),
            help="Results: a folder, zip or tar.gz of NAME.txt.",
        ),
    ],
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--split"),
            help="Frames to evaluate, one a line; else all with results.",
        ),
    ] = None,
    classes: Annotated[str, typer.Option(help="Names with commas.")] = "Car,Pedestrian,Cyclist",
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", parser=path_of("--json"), help="Write everything as JSON."
        ),
    ] = None,
    plots: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=path_of("--plots"), help="Write curves, pictures and report.html."
        ),
    ] = None,
    markdown: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", parser=path_of("--markdown"), help="Write the tables as Markdown."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A missing file is an error, not a warning.")
    ] = False,
    drop_wrong_rows: Annotated[
        bool,
        typer.Option("--drop-wrong-rows", help="Leave them out, as the devkit does, and say so."),
    ] = False,
) -> None:
    """KITTI object benchmark: AP in 2D, BEV and 3D, and AOS, as the devkit counts them."""
    from diffrender.evaluate import (
        KittiSettings,
        kitti_average_precision,
        read_split,
        report_json,
        report_markdown,
        write_plots,
    )

    keep_inputs([json_file, markdown], [labels, results, split])
    check_places({"--json": json_file, "--markdown": markdown}, [plots])
    settings = KittiSettings(
        classes=tuple(name.strip() for name in classes.split(",") if name.strip()),
        strict=strict,
        wrong_rows="drop" if drop_wrong_rows else "fail",
    )
    frames = None if split is None else read_split(split)
    report = kitti_average_precision(labels, results, frames, settings)
    written = []
    if json_file is not None:
        text = json.dumps(report_json(report), indent=1, allow_nan=False) + "\n"
        written.append(write_text_atomic(json_file, text))
    if markdown is not None:
        written.append(write_text_atomic(markdown, report_markdown(report)))
    if plots is not None:
        written += write_plots(report, plots)
    print_report(report)
    for message in report.warnings:
        warn(message)
    for path in written:
        out().print(f"wrote {readable(str(path))}", markup=False, soft_wrap=True)


def print_report(report: KittiReport) -> None:
    """The tables, on standard output."""
    from diffrender.evaluate.kitti_tables import report_tables, summary_lines

    console = out()
    for line in summary_lines(report):
        console.print(readable(line), markup=False, soft_wrap=True)
    for table in report_tables(report):
        console.print()
        console.print(table.title, markup=False)
        shown = plain_table()
        for index, title in enumerate(table.head):
            shown.add_column(title, justify="left" if index < table.text else "right", no_wrap=True)
        for row in table.rows:
            shown.add_row(*map(escape, row))
        console.print(shown)


@evaluate.command()
@guarded
def lint(
    results: Annotated[
        Path,
        typer.Argument(parser=path_of("RESULTS"), help="The zip to be submitted, or its folder."),
    ],
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--split"),
            help="Frames expected, one a line; else the 7518 test ones.",
        ),
    ] = None,
    to_stdout: Annotated[bool, typer.Option("--json", help="Print JSON instead of lines.")] = False,
) -> None:
    """Check a submission: names, number of files, columns, ranges, angles."""
    import dataclasses

    from diffrender.evaluate import lint_submission, read_split

    report = lint_submission(results, None if split is None else read_split(split))
    if to_stdout:
        print_json({"schema": 1, "errors": report.errors, **dataclasses.asdict(report)})
    else:
        kinds = ", ".join(f"{name} {n}" for name, n in report.classes.items()) or "none"
        console = out()
        what = f"{report.source}: {report.files} files, {report.empty} of them empty"
        console.print(readable(what), markup=False, soft_wrap=True)
        console.print(f"{report.rows} rows: {kinds}", markup=False, soft_wrap=True)
        for finding in report.findings:
            first = f", first {finding.first}" if finding.first else ""
            line = f"{finding.level:<8} {finding.count:>7}  {finding.what}{first}"
            console.print(readable(line), markup=False, soft_wrap=True)
        if not report.findings:
            console.print("nothing to mend")
    if report.errors:
        raise InputError(
            f"{results} is not ready to be submitted: {report.errors} kinds of error, listed above"
        )
