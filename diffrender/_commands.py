"""Errors as a user meets them on a command line: one line on standard error, exit status 2."""

from __future__ import annotations

import sys
from collections.abc import Callable

from diffrender.errors import InputError, MissingExtraError

__all__ = ["BAD_INPUT", "mendable", "run_module"]

BAD_INPUT = 2


def mendable(error: Exception) -> str | None:
    """What to tell a user who can mend the error, on one line; None for a bug.

    InputError, MissingExtraError and operating-system errors that name a file are the user's.
    """
    if isinstance(error, InputError | MissingExtraError):
        message = str(error)
    elif isinstance(error, OSError) and error.filename is not None:
        message = f"{error.filename}: {error.strerror or error}"
    else:
        return None
    return " ".join(message.split())


def run_module(main: Callable[[], None]) -> None:
    """Run the command line of a module, `python -m diffrender.…`; a bug keeps its traceback."""
    try:
        main()
    except Exception as error:
        message = mendable(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        sys.exit(BAD_INPUT)
