"""`diffrender bench NAME`: measure, print, and write the one format of all benchmarks."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Protocol, cast

import typer

from diffrender.errors import InputError
from diffrender.tools.bench_format import Report
from diffrender.tools.bench_molecules import MoleculeRuns
from diffrender.tools.console import guarded, out, plain_table, print_json

__all__ = ["BENCHMARKS", "bench", "run"]

# name -> "module:function"; the function takes quick=True|False and returns a Report.
BENCHMARKS: dict[str, str] = {
    "blocksparse": "diffrender.tools.bench_blocksparse:bench_blocksparse",
    "decoder": "diffrender.tools.bench_decoder:bench_decoder",
    "evaluate": "diffrender.tools.bench_evaluate:bench_evaluate",
    "graph": "diffrender.tools.bench_graph:bench_graph",
    "ipu": "diffrender.tools.bench_ipu:bench_ipu",
    "mesh-denoising": "diffrender.tools.bench_mesh_denoising:bench_mesh_denoising",
    "molecules": "diffrender.tools.bench_molecules:bench_molecules",
    "mesh-refining": "diffrender.tools.bench_mesh_refining:bench_mesh_refining",
    "priors": "diffrender.tools.bench_priors:bench_priors",
    "predictor": "diffrender.tools.bench_predictor:bench_predictor",
    "raster": "diffrender.tools.bench_raster:bench_raster",
    "reconstruct": "diffrender.tools.bench_reconstruct:bench_reconstruct",
    "reconstruct-real": "diffrender.tools.bench_reconstruct:bench_real",
    "reconstruct-speed": "diffrender.tools.bench_reconstruct:bench_speed",
    "reconstruct-synthetic": "diffrender.tools.bench_reconstruct:bench_synthetic",
}

# These draw figures too, into the folder figures=Path that they take, and into out/NAME unasked.
DRAWING = frozenset({"ipu"})
# These read meshes, metres per unit as given, and keep what is done in a folder to go on from.
OF_MESHES = frozenset({"mesh-denoising", "priors"})
# These train networks on a folder of molecules, as far as a limit of minutes allows.
OF_MOLECULES = frozenset({"molecules"})
_NO_RUNS = MoleculeRuns()


@dataclass(frozen=True)
class MeshFolder:
    """Meshes that a benchmark reads (None: those of DIFFRENDER_SHARED).

    Attributes:
        cars: folder of meshes, `scale` metres per unit.
        work: folder of what is finished, to go on from; None keeps nothing.
        folds: how many parts of the meshes are left out in turn; None: all.
    """

    cars: Path | None = None
    scale: float = 1.0
    work: Path | None = None
    folds: int | None = None


def run(
    name: str,
    *,
    quick: bool,
    figures: Path | None = None,
    meshes: MeshFolder = MeshFolder(),
    molecules: MoleculeRuns = _NO_RUNS,
) -> Report:
    """Run one registered benchmark.

    Raises:
        InputError: no benchmark of that name, or a folder for figures that it does not draw.
    """
    if name not in BENCHMARKS:
        raise InputError(
            f"no benchmark is called '{name}', expected one of: {', '.join(sorted(BENCHMARKS))}"
        )
    found = _load(name)
    if name in OF_MOLECULES:
        return cast(_OfMolecules, found)(quick=quick, runs=molecules)
    if molecules != _NO_RUNS:
        raise InputError(
            f"benchmark '{name}' trains on no molecules, leave --data, --seeds, --graphs, --size "
            f"and --limit out; these do: {', '.join(sorted(OF_MOLECULES))}"
        )
    if name in OF_MESHES:
        return cast(_OfMeshes, found)(quick=quick, meshes=meshes)
    if meshes != MeshFolder():
        raise InputError(
            f"benchmark '{name}' reads no meshes, leave --cars, --scale, --work and --folds out; "
            f"these do: {', '.join(sorted(OF_MESHES))}"
        )
    if name in DRAWING:
        return cast(_Drawing, found)(quick=quick, figures=figures or Path("out") / name)
    if figures is not None:
        raise InputError(
            f"benchmark '{name}' draws no figures, leave --figures out; these do: "
            f"{', '.join(sorted(DRAWING))}"
        )
    return cast(_Benchmark, found)(quick=quick)


def _load(name: str) -> object:
    module, _, function = BENCHMARKS[name].partition(":")
    return getattr(importlib.import_module(module), function)


class _Benchmark(Protocol):
    def __call__(self, *, quick: bool) -> Report: ...


class _Drawing(Protocol):
    def __call__(self, *, quick: bool, figures: Path | None) -> Report: ...


class _OfMeshes(Protocol):
    def __call__(self, *, quick: bool, meshes: MeshFolder) -> Report: ...


class _OfMolecules(Protocol):
    def __call__(self, *, quick: bool, runs: MoleculeRuns) -> Report: ...


@guarded
def bench(
    name: Annotated[str, typer.Argument(help="Which benchmark, such as raster or reconstruct.")],
    quick: Annotated[bool, typer.Option("--quick", help="End within 50 s on two cores.")] = False,
    json_file: Annotated[
        Path | None, typer.Option("--json", metavar="FILE", help="Write the report as JSON.")
    ] = None,
    figures: Annotated[
        Path | None,
        typer.Option("--figures", metavar="DIR", help="Folder for figures, out/NAME if not given."),
    ] = None,
    cars: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Meshes of one topology (priors).")
    ] = None,
    scale: Annotated[float, typer.Option(help="Metres per unit of --cars.")] = 1.0,
    work: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Keep what is finished, go on from it (priors, molecules)."
        ),
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=1, help="Only so many of the parts left out (priors).")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Molecules to train on (molecules).")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Runs of each network (molecules).")] = 1,
    graphs: Annotated[
        int, typer.Option(min=1, help="Graphs that a run sees (molecules).")
    ] = MoleculeRuns.graphs,
    size: Annotated[
        str, typer.Option(help="full, half, quarter or tiny (molecules).")
    ] = MoleculeRuns.size,
    limit: Annotated[
        float | None, typer.Option(metavar="MINUTES", help="Stop then, and report (molecules).")
    ] = None,
    to_stdout: Annotated[
        bool, typer.Option("--print-json", help="Print JSON instead of tables.")
    ] = False,
) -> None:
    """Measure speed or accuracy, and compare with the goals that were set."""
    ours = name in OF_MOLECULES
    report = run(
        name,
        quick=quick,
        figures=figures,
        meshes=MeshFolder(cars, scale, None if ours else work, folds),
        molecules=MoleculeRuns(data, work if ours else None, seeds, graphs, size, limit),
    )
    if json_file is not None:
        report.write(json_file)
    if to_stdout:
        print_json(report.as_dict())
    else:
        _print(report)
        if name in DRAWING:
            out().print(f"figures are in {figures or Path('out') / name}")
        if json_file is not None:
            out().print(f"wrote {json_file}")


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
