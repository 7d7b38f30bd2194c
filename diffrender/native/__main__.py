"""`python -m diffrender.native`: compile the kernels in place, for this machine."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from diffrender._commands import run_module
from diffrender.errors import InputError
from diffrender.native._build import NoCompilerError, build, runnable_levels


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    argparse.ArgumentParser(
        prog="python -m diffrender.native",
        description="Compile the kernels again, in the place where they are installed; minutes.",
    ).parse_args(arguments)
    try:
        written = build(Path(__file__).parent, only=runnable_levels())
    except NoCompilerError as error:
        raise InputError(str(error)) from error
    for library in written:
        print(library)


if __name__ == "__main__":
    run_module(main)
