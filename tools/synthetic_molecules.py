"""`diffrender synthetic molecules`: grown molecules with computed gaps, as PCQM4Mv2 is laid out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffrender.errors import InputError
from diffrender.tools.console import guarded, note, print_json
from diffrender.tools.given import check_places, path_of

__all__ = ["molecules"]


@guarded
def molecules(
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", parser=path_of("--out"), help="Folder of the set; goes on."
        ),
    ],
    count: Annotated[int, typer.Option(help="Molecules with labels.")] = 20_000,
    seed: Annotated[int, typer.Option(help="Of growth, conformers and split.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 1,
) -> None:
    """Write molecules with conformers and two HOMO-LUMO gaps, split by scaffold.

    About 40 ms a molecule on one core. Interrupted, the same command goes on.
    """
    from diffrender.graph.molecules import SyntheticMolecules, write_molecules

    if workers < 1:
        raise InputError(f"--workers is {workers}, expected at least 1")

    def report(good: int, bad: int) -> None:
        made = min(good, count)  # they are grown some hundreds at a time, and the last are not kept
        note().print(f"{made} molecules of {count}, {bad} left out", markup=False)

    settings = SyntheticMolecules(count, seed)
    check_places({}, [out_dir])
    print_json(write_molecules(out_dir, settings, workers=workers, report=report))
