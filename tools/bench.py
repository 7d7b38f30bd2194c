"""`diffrender bench NAME`: measure, print, and write the one format of all benchmarks."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from diffrender._files import readable
from diffrender.errors import InputError
from diffrender.tools.bench_choices import MeshFolder as MeshFolder
from diffrender.tools.bench_choices import MoleculeRuns as MoleculeRuns
from diffrender.tools.bench_choices import TechniqueChoice as TechniqueChoice
from diffrender.tools.bench_format import Report
from diffrender.tools.console import guarded, out, plain_table, print_json
from diffrender.tools.given import check_places, path_of

__all__ = ["BENCHMARKS", "MeshFolder", "MoleculeRuns", "TechniqueChoice", "bench", "run"]


@dataclass(frozen=True)
class Benchmark:
    """Where a benchmark is: a function of `quick`, and of one choice more where it has one.

    Attributes:
        place: "module:function" in `diffrender.tools`.
        about: one line of help.
        keyword: by which the function takes the choice, or "".
        choice: the kind of the choice, or None.
    """

    place: str
    about: str
    keyword: str = ""
    choice: type | None = None


BENCHMARKS: dict[str, Benchmark] = {
    "raster": Benchmark("bench_raster:bench_raster", "The rasterizer, against its peers."),
    "catalogue": Benchmark(
        "bench_catalogue:bench_catalogue",
        "Gradients, basins and costs of every technique.",
        "techniques",
        TechniqueChoice,
    ),
    "reconstruct": Benchmark("bench_reconstruct:bench_reconstruct", "The main job."),
    "reconstruct-synthetic": Benchmark(
        "bench_reconstruct:bench_synthetic", "Street cars with exact truth."
    ),
    "reconstruct-real": Benchmark(
        "bench_reconstruct:bench_real", "The real frames of DIFFRENDER_SHARED."
    ),
    "reconstruct-speed": Benchmark("bench_reconstruct:bench_speed", "Seconds an object."),
    "predictor": Benchmark("bench_predictor:bench_predictor", "What the predictor's start saves."),
    "priors": Benchmark(
        "bench_priors:bench_priors", "Shape spaces on meshes left out.", "meshes", MeshFolder
    ),
    "evaluate": Benchmark("bench_evaluate:bench_evaluate", "The evaluator: figures and speed."),
    "blocksparse": Benchmark("bench_blocksparse:bench_blocksparse", "Products against dense ones."),
    "decoder": Benchmark("bench_decoder:bench_decoder", "A decoder trained at many densities."),
    "ipu": Benchmark("bench_ipu:bench_ipu", "The IPU model, with its figures.", "figures", Path),
    "graph": Benchmark("bench_graph:bench_graph", "The graph network's speed, against GPSConv."),
    "molecules": Benchmark(
        "bench_molecules:bench_molecules",
        "GPS++, its parts and two baselines on one budget.",
        "runs",
        MoleculeRuns,
    ),
    "mesh-denoising": Benchmark(
        "bench_mesh_denoising:bench_mesh_denoising",
        "Denoising of cars, against PCA and auto-encoder.",
        "meshes",
        MeshFolder,
    ),
    "mesh-refining": Benchmark(
        "bench_mesh_refining:bench_mesh_refining", "Free-form meshes refined by the graph network."
    ),
}


def run(name: str, *, quick: bool, choice: object | None = None) -> Report:
    """Run one registered benchmark.

    Args:
        choice: of the kind that the benchmark takes (`BENCHMARKS`), or None for its usual one.

    Raises:
        InputError: no benchmark of that name, or a choice that it does not take.
    """
    if name not in BENCHMARKS:
        raise InputError(
            f"no benchmark is called '{name}', expected one of: {', '.join(sorted(BENCHMARKS))}"
        )
    found = BENCHMARKS[name]
    measure = _load(found)
    if choice is not None and not (found.choice and isinstance(choice, found.choice)):
        takes = found.choice.__name__ if found.choice else "none"
        raise InputError(f"benchmark '{name}' got a {type(choice).__name__}, it takes: {takes}")
    if found.choice is None:
        return measure(quick=quick)
    if choice is None:
        choice = Path("out") / name if found.choice is Path else found.choice()
    return measure(quick=quick, **{found.keyword: choice})


def _load(found: Benchmark) -> Callable[..., Report]:
    module, _, function = found.place.partition(":")
    measure: Callable[..., Report] = getattr(
        importlib.import_module(f"diffrender.tools.{module}"), function
    )
    return measure


bench = typer.Typer(no_args_is_help=True)

_Quick = Annotated[bool, typer.Option("--quick", help="End within 50 s on two cores.")]
_File = Annotated[
    Path | None,
    typer.Option("--json", metavar="FILE", parser=path_of("--json"), help="Write it as JSON."),
]
_Raw = Annotated[bool, typer.Option("--print-json", help="Print JSON instead of tables.")]
_Work = Annotated[
    Path | None,
    typer.Option(
        metavar="DIR",
        parser=path_of("--work"),
        help="Keep finished parts here and go on from them.",
    ),
]


@bench.callback()
def _group() -> None:
    """Measure speed or accuracy, and compare with the goals that were set."""


def _report(report: Report, json_file: Path | None, raw: bool) -> None:
    if json_file is not None:
        report.write(json_file)
    if raw:
        print_json(report.as_dict())
        return
    _print(report)
    if json_file is not None:
        out().print(f"wrote {readable(str(json_file))}", markup=False, soft_wrap=True)


def _plain(name: str) -> Callable[..., None]:
    def command(quick: _Quick = False, json_file: _File = None, raw: _Raw = False) -> None:
        check_places({"--json": json_file})
        _report(run(name, quick=quick), json_file, raw)

    return command


def _of_meshes(name: str) -> Callable[..., None]:
    def command(
        quick: _Quick = False,
        json_file: _File = None,
        raw: _Raw = False,
        cars: Annotated[
            Path | None,
            typer.Option(metavar="DIR", parser=path_of("--cars"), help="Meshes of cars."),
        ] = None,
        scale: Annotated[float, typer.Option(help="Metres per unit of --cars.")] = 1.0,
        work: _Work = None,
        folds: Annotated[
            int | None, typer.Option(min=1, help="Only so many of the parts left out.")
        ] = None,
    ) -> None:
        check_places({"--json": json_file}, [work])
        _report(run(name, quick=quick, choice=MeshFolder(cars, scale, work, folds)), json_file, raw)

    return command


def _ipu(
    quick: _Quick = False,
    json_file: _File = None,
    raw: _Raw = False,
    figures: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=path_of("--figures"), help="Folder for figures."),
    ] = Path("out/ipu"),
) -> None:
    check_places({"--json": json_file}, [figures])
    _report(run("ipu", quick=quick, choice=figures), json_file, raw)
    if not raw:
        out().print(f"figures are in {readable(str(figures))}", markup=False, soft_wrap=True)


def _molecules(
    quick: _Quick = False,
    json_file: _File = None,
    raw: _Raw = False,
    data: Annotated[
        Path | None,
        typer.Option(metavar="DIR", parser=path_of("--data"), help="Molecules to train on."),
    ] = None,
    work: _Work = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network.")] = 1,
    graphs: Annotated[
        int, typer.Option(min=1, help="Graphs that a run sees.")
    ] = MoleculeRuns.graphs,
    size: Annotated[str, typer.Option(help="full, half, quarter or tiny.")] = MoleculeRuns.size,
    limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="Stop then, and report.")
    ] = None,
) -> None:
    check_places({"--json": json_file}, [work])
    runs = MoleculeRuns(data, work, seeds, graphs, size, limit)
    _report(run("molecules", quick=quick, choice=runs), json_file, raw)


def _catalogue(
    quick: _Quick = False,
    json_file: _File = None,
    raw: _Raw = False,
    technique: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Only this one, may be repeated.")
    ] = None,
    work: _Work = None,
    reconstruct: Annotated[
        bool, typer.Option("--reconstruct", help="Reconstruct streets by each instead.")
    ] = False,
) -> None:
    check_places({"--json": json_file}, [work])
    choice = TechniqueChoice(tuple(technique or ()), work, reconstruct)
    _report(run("catalogue", quick=quick, choice=choice), json_file, raw)


_OWN: dict[str, Callable[..., None]] = {
    "ipu": _ipu,
    "molecules": _molecules,
    "catalogue": _catalogue,
}

for _name, _found in BENCHMARKS.items():
    _command = _OWN.get(_name) or (_of_meshes if _found.choice is MeshFolder else _plain)(_name)
    bench.command(_name, help=_found.about)(guarded(_command))


def _print(report: Report) -> None:
    console = out()
    console.print(", ".join(f"{key} {value}" for key, value in report.machine.items() if value))
    rows = plain_table("case", "operation", "value", "spread", "peer", "ratio")
    for row in report.rows:
        rows.add_row(
            row.case,
            row.operation,
            f"{row.value:.4g} {row.unit}",
            "" if row.spread is None else f"{row.spread:.2g}",
            row.peer,
            "" if row.ratio is None else f"{row.ratio:.2f}",
        )
    console.print(rows)
    if report.targets:
        targets = plain_table("goal", "", "measured", "met")
        for target in report.targets:
            value = "not measured" if target.value is None else f"{target.value:.4g}"
            targets.add_row(target.name, target.goal, value, "yes" if target.met else "NO")
        console.print(targets)
