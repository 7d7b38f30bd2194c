"""What every subcommand shares: where output goes, and errors as one line with exit code 2."""

from __future__ import annotations

import functools
import io
import json
import sys
from collections.abc import Callable
from typing import Any, NoReturn, ParamSpec, TextIO, TypeVar

import typer
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from diffrender._commands import BAD_INPUT, mendable

__all__ = ["fail", "guarded", "note", "out", "plain_table", "print_json", "warn"]

P = ParamSpec("P")
T = TypeVar("T")


def _said_as_it_can(stream: TextIO) -> TextIO:
    """A stream that has no letter for a sign says "?" in its place, and does not fail."""
    if isinstance(stream, io.TextIOWrapper) and stream.errors == "strict":
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


def guarded(command: Callable[P, T]) -> Callable[P, T]:
    """Wrap a subcommand: what is `mendable` becomes one line; a bug keeps its traceback."""

    @functools.wraps(command)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return command(*args, **kwargs)
        except Exception as error:
            message = mendable(error)
            if message is None:
                raise
            fail(message)

    return wrapper
