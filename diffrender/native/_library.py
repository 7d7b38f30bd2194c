"""Find and load the compiled kernels, or say why they are not there."""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable
from pathlib import Path

from diffrender.errors import InputError
from diffrender.native._build import LEVELS, library_name

__all__ = ["NativeError", "instruction_set", "library", "reason_missing", "signature"]

ABI = 6  # of diffrender_abi() in src/pool.cpp
KEPT_MEMORY = 256 << 20  # bytes of freed memory that the process may keep; see src/memory.cpp
_FOLDER = Path(__file__).parent
_HINT = "rebuild with: python -m diffrender.native (needs a C++17 compiler)"


class NativeError(RuntimeError):
    """The native kernels cannot be used; the message says why and how to get them."""


def _open(level: str) -> ctypes.CDLL:
    path = _FOLDER / library_name(level)
    if not path.is_file():
        raise NativeError(f"{path.name} was not built at install; {_HINT}")
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        raise NativeError(f"{path.name} does not load ({error}); {_HINT}") from error
    found.diffrender_abi.restype = ctypes.c_int64
    found.diffrender_cpu_level.restype = ctypes.c_int64
    if found.diffrender_abi() != ABI:
        raise NativeError(
            f"{path.name} has ABI {found.diffrender_abi()}, this package expects {ABI}; {_HINT}"
        )
    return found


def _wish(variable: str, known: tuple[str, ...]) -> str:
    """What the environment asks for, "" where it says nothing.

    Raises:
        InputError: a word that means nothing here.
    """
    word = os.environ.get(variable, "")
    if word not in ("", *known):
        raise InputError(
            f"{variable} is '{word}', expected one of: {', '.join(known)}; or unset it"
        )
    return word


@functools.cache
def _load() -> tuple[ctypes.CDLL | None, str, str]:
    """The library, its instruction set, and the reason when there is none."""
    wish = _wish("DIFFRENDER_NATIVE", ("off", *LEVELS))
    malloc = _wish("DIFFRENDER_MALLOC", ("system",))
    if wish == "off":
        return None, "", "switched off by DIFFRENDER_NATIVE=off"
    names = list(LEVELS)
    try:
        chosen, level = _open("baseline"), 0
        highest = names.index(wish) if wish in names else len(names) - 1
        for step in range(min(int(chosen.diffrender_cpu_level()), highest), 0, -1):
            if (_FOLDER / library_name(names[step])).is_file():
                chosen, level = _open(names[step]), step
                break
    except NativeError as error:
        return None, "", str(error)
    if malloc != "system":
        chosen.diffrender_keep_memory.restype = ctypes.c_int64
        chosen.diffrender_keep_memory(ctypes.c_int64(KEPT_MEMORY))
    return chosen, names[level], ""


def library() -> ctypes.CDLL:
    """The loaded kernels. Raises NativeError with the reason when they cannot be used."""
    found, _, reason = _load()
    if found is None:
        raise NativeError(reason)
    return found


def reason_missing() -> str | None:
    """Why the native kernels cannot be used, or None when they can."""
    found, _, reason = _load()
    return None if found is not None else reason


def instruction_set() -> str | None:
    """Which build is loaded ("baseline", "avx2", "avx512"), or None."""
    found, level, _ = _load()
    return level if found is not None else None


def signature(name: str, arguments: str) -> Callable[..., int]:
    """The kernel `name`; `arguments` has "p" for a pointer, "i" for an int64, "d" for a double."""
    function = getattr(library(), name)
    kinds = {"p": ctypes.c_void_p, "i": ctypes.c_int64, "d": ctypes.c_double}
    function.argtypes = [kinds[letter] for letter in arguments.replace(" ", "")]
    function.restype = ctypes.c_int64
    return function
