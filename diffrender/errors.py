"""The errors that a user meets, and the check that raises them at the public edge."""

from __future__ import annotations

import importlib
import math
from collections.abc import Iterable
from types import ModuleType

__all__ = ["InputError", "MissingExtraError", "check_shape", "check_weights", "require"]


class InputError(ValueError):
    """A file or argument that cannot be used: what came, what was expected, how to mend it.

    The command line prints the message on one line and leaves with exit code 2.
    """


class MissingExtraError(ImportError):
    """An optional package that a feature needs is not installed; the message names the extra."""


def require(module: str, extra: str) -> ModuleType:
    """Import an optional package or say which extra brings it.

    Raises:
        MissingExtraError: the package is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise MissingExtraError(
            f"the package '{module}' is needed here and could not be imported ({error}); "
            f"install it with: pip install 'diffrender[{extra}]'"
        ) from error


def check_shape(name: str, value: object, *expected: int | str | None) -> None:
    """Raise InputError unless `value.shape` ends in `expected`.

    An int must match, None matches any size, and a leading "..." allows leading dimensions.
    """
    shape = tuple(getattr(value, "shape", ()))
    leading = bool(expected) and expected[0] == "..."
    tail = expected[1:] if leading else expected
    fits = len(shape) >= len(tail) if leading else len(shape) == len(tail)
    if fits and tail:
        fits = all(e is None or e == s for e, s in zip(tail, shape[-len(tail) :], strict=True))
    if not fits:
        wanted = ", ".join("*" if e is None else str(e) for e in expected)
        raise InputError(f"{name} has shape {shape}, expected ({wanted})")


def check_weights(record: object, names: Iterable[str] | None = None) -> None:
    """Raise InputError unless a record's fields, all or those named, are finite and at least 0."""
    for name in vars(record) if names is None else names:
        value = getattr(record, name)
        if not 0 <= value < math.inf:
            raise InputError(
                f"{type(record).__name__}.{name} is {value}, expected a finite number, at least 0"
            )
