"""What doors with names share: the lookup, and the check that settings are those of the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeVar

from diffrender.errors import InputError

__all__ = ["check_settings", "find_named"]

_Entry = TypeVar("_Entry")


def find_named(what: str, name: str, known: Mapping[str, _Entry], hint: str = "") -> _Entry:
    """The entry of that name; `what` and `hint` are for the message.

    Raises:
        InputError: there is none; all names are listed.
    """
    if name not in known:
        more = f"; {hint}" if hint else ""
        raise InputError(f"no {what} '{name}', expected one of {', '.join(known)}{more}")
    return known[name]


def check_settings(name: str, settings: object, wanted: type | None) -> None:
    """Raise InputError unless settings are None or of the type that `name` takes, if any."""
    if settings is not None and type(settings) is not wanted:
        takes = wanted.__name__ if wanted else "no settings"
        raise InputError(f"settings is {type(settings).__name__}, '{name}' takes {takes}")
