"""Options that were given as empty text, often by a script whose variable was not set."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path

from diffrender.errors import InputError
from diffrender.tools.console import fail

__all__ = ["path_of", "refuse_empty"]


def path_of(option: str) -> Callable[[str], Path]:
    """A parser of that option's path: "" would be read as the folder that one stands in."""

    def path(text: str) -> Path:
        if text == "":
            fail(_empty(option))  # options are read before `guarded` can turn an error into a line
        return Path(text)

    return path


def refuse_empty(options: Mapping[str, str | None]) -> None:
    """Texts by the names of their options; None is an option that was left out.

    Raises:
        InputError: one of them is empty.
    """
    for option, text in options.items():
        if text == "":
            raise InputError(_empty(option))


def _empty(option: str) -> str:
    return f"{option} is empty, expected a name, file or folder: leave it out or say which"
