"""`diffrender predict`: what trained networks say, as JSON."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from diffrender.errors import InputError
from diffrender.tools.console import guarded, print_json
from diffrender.tools.given import path_of, refuse_empty

__all__ = ["predict"]

predict = typer.Typer(help="What trained networks say.", no_args_is_help=True)

_LARGEST_LIST = 64 << 20


@predict.callback()
def _group() -> None:
    """What trained networks say."""


@predict.command()
@guarded
def molecules(
    weights: Annotated[
        list[Path],
        typer.Option(
            "--weights",
            metavar="FILE",
            parser=path_of("--weights"),
            help="A network; several: their mean.",
        ),
    ],
    smiles: Annotated[list[str] | None, typer.Argument(help="Molecules.")] = None,
    listing: Annotated[
        Path | None,
        typer.Option(
            "--list", metavar="FILE", parser=path_of("--list"), help="SMILES, one a line."
        ),
    ] = None,
    shares: Annotated[
        str | None, typer.Option(metavar="A,B,...", help="Weights of the networks in the mean.")
    ] = None,
) -> None:
    """Print the label of each molecule with the spread of the networks; 3D is not needed.

    A molecule that cannot be read has an "error" in its place, and the rest goes on.
    """
    from diffrender.graph.molecules import load_molecule_network, predict_molecules

    refuse_empty({"--shares": shares})
    asked = list(smiles or []) + _lines(listing)
    if not asked:
        raise InputError("no molecules: give SMILES, or a file of them with --list")
    parts = _numbers(shares)
    if parts is not None and len(parts) != len(weights):
        raise InputError(
            f"--shares is '{shares}', expected a number for each --weights, of which there are "
            f"{len(weights)}"
        )
    members = [load_molecule_network(path) for path in weights]
    found = predict_molecules(asked, members, parts)
    rows = [{k: v for k, v in asdict(row).items() if v is not None} for row in found]
    print_json({"label": members[0].label, "networks": len(members), "molecules": rows})


def _lines(path: Path | None) -> list[str]:
    if path is None:
        return []
    if path.stat().st_size > _LARGEST_LIST:
        raise InputError(f"{path}: more than {_LARGEST_LIST} bytes, expected a list of SMILES")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: not a text file ({error.reason})") from error
    return [line.strip() for line in text.splitlines() if line.strip()]


def _numbers(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError as error:
        raise InputError(f"--shares is '{text}', expected numbers as 1,0.5") from error
