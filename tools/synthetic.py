"""`diffrender synthetic`: street scenes in the KITTI layout, and molecules in PCQM4Mv2's."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from diffrender._files import readable
from diffrender.errors import InputError
from diffrender.tools.console import guarded, out
from diffrender.tools.given import check_places, path_of
from diffrender.tools.synthetic_molecules import molecules

__all__ = ["synthetic"]

synthetic = typer.Typer(no_args_is_help=True)


@synthetic.callback()
def _group() -> None:
    """Synthetic street scenes with exact truth, and grown molecules with computed gaps."""


@synthetic.command()
@guarded
def write(
    out_dir: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", parser=path_of("--out"), help="Folder to write into."),
    ],
    count: Annotated[int, typer.Option(help="Number of frames.")] = 10,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 1,
) -> None:
    """Write frames in the KITTI object layout: image, calibration, labels, depth and masks."""
    from diffrender.datasets.synthetic import SyntheticStreets
    from diffrender.datasets.synthetic_export import write_kitti

    if count < 1:
        raise InputError(f"--count is {count}, expected at least 1")
    check_places({}, [out_dir])
    root = write_kitti(SyntheticStreets(seed, count), out_dir)
    line = f"wrote {count} frames below {root}: try --kitti {root} --frame 000000"
    out().print(readable(line), markup=False, soft_wrap=True)


synthetic.command()(molecules)
