"""What options were given: empty texts, and outputs that are inputs too."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from diffrender._files import writable_folder
from diffrender.errors import InputError
from diffrender.tools.console import fail

__all__ = ["check_places", "keep_inputs", "path_of", "refuse_empty"]


def check_places(files: Mapping[str, Path | None], folders: Iterable[Path | None] = ()) -> None:
    """Say before the work, which may take hours, where its results cannot be written.

    Args:
        files: to be written, by the names of their options; None is an option that was left out.
        folders: to be written into; they are made.

    Raises:
        InputError: a file's place is a folder, or that of another.
        OSError: a folder cannot be made or written to.
    """
    named: dict[str, str] = {}
    for option, path in files.items():
        if path is not None:
            if path.is_dir():
                raise InputError(f"{option} {path} is a folder, expected a file")
            first = named.setdefault(os.path.realpath(path), option)
            if first != option:
                raise InputError(f"{first} and {option} are both {path}: name two files")
            writable_folder(path.parent)
    for folder in folders:
        if folder is not None:
            writable_folder(folder)


def keep_inputs(outputs: Iterable[Path | None], inputs: Iterable[str | Path | None]) -> None:
    """Refuse to write over what is read: a file, or a file in a folder that is read.

    Raises:
        InputError: an output is there already, and is an input.
    """
    read = {Path(os.path.realpath(one)) for one in inputs if one is not None}
    for path in outputs:
        if (
            path is not None
            and path.exists()
            and not read.isdisjoint([real := Path(os.path.realpath(path)), real.parent])
        ):
            raise InputError(
                f"{path} is read as an input and would be written over: name another place to "
                "write to"
            )


def path_of(option: str) -> Callable[[str], Path]:
    """A parser of that option's path: "" would be read as the folder that one stands in.

    It often comes of a script whose variable was not set.
    """

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
