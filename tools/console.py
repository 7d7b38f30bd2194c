"""What every subcommand shares: where output goes, and errors as one line with exit code 2."""

from __future__ import annotations

import errno
import functools
import io
import json
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffrender._commands import BAD_INPUT, mendable

__all__ = ["fail", "guarded", "note", "out", "plain_table", "print_json", "warn"]

_PACKAGE = Path(__file__).parents[1]  # in a source tree, whose folders lie side by side, too
P = ParamSpec("P")
T = TypeVar("T")


def _said_as_it_can(stream: TextIO) -> TextIO:
    """A stream that has no letter for a sign says "?" in its place, and does not fail."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors in ("strict", "surrogateescape"):
        stream.reconfigure(errors="replace")
    return stream


def out() -> Console:
    """Console on standard output: tables and file names."""
    console = Console(file=_said_as_it_can(sys.stdout), highlight=False, emoji=False)
    if not console.is_terminal:  # a file or a pipe has no width: do not fold at 80
        console.width = 140
    return console


def note() -> Console:
    """Console on standard error: progress, warnings and errors."""
    return Console(file=_said_as_it_can(sys.stderr), highlight=False, soft_wrap=True, emoji=False)


def plain_table(*columns: str) -> Table:
    """A table without side lines, narrow enough for a terminal."""
    return Table(*columns, box=box.SIMPLE_HEAD, pad_edge=False)


def warn(message: str) -> None:
    """One line of warning on standard error."""
    note().print(f"[yellow]warning:[/yellow] {escape(' '.join(message.split()))}")


def fail(message: str) -> NoReturn:
    """One clear line on standard error and exit code 2."""
    note().print(f"[red]error:[/red] {escape(' '.join(message.split()))}")
    raise typer.Exit(BAD_INPUT)


def print_json(value: Any) -> None:
    """Plain JSON on standard output, without colours or wrapping."""
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def _own_as_lines(show: Callable[..., None]) -> Callable[..., None]:
    """This package's warnings are for the user, without the line of source that others keep."""

    def shown(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        if category is UserWarning and _PACKAGE in Path(filename).parents:
            warn(str(message))
        else:
            show(message, category, filename, lineno, file, line)

    return shown


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Wrap a subcommand: what is `mendable` becomes one line; a bug keeps its traceback.

    Our own warnings become lines too.
    """

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _own_as_lines(warnings.showwarning)
                return command(*args, **kwargs)
        except Exception as error:
            message = mendable(error)
            if message is None and isinstance(error, OSError) and error.errno == errno.ENOSPC:
                message = "standard output cannot be written to: its disk is full"
            if message is None:
                raise
            fail(message)

    return wrapper
