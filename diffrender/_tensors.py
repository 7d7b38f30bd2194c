"""Tensors with a JSON header in one safetensors file: written whole or not at all, no pickle.

And what other files of arrays need so that a broken or hostile one is refused.
"""

from __future__ import annotations

import json
import math
import tokenize
import zipfile
import zlib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
from torch import Tensor

from diffrender._files import write_bytes_atomic
from diffrender.errors import InputError

__all__ = [
    "ARRAY_ERRORS",
    "check_members",
    "npy_header",
    "json_of",
    "read_tensors",
    "write_tensors",
]

# What numpy and zipfile raise for files that are cut short, overwritten or something else: a
# header is parsed as Python.
ARRAY_ERRORS = (
    EOFError,
    LookupError,
    MemoryError,
    OSError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
_MOST_DEFLATED = 1032  # bytes that one byte of a deflated file can become


def write_tensors(path: Path, tensors: Mapping[str, Tensor], key: str, header: object) -> None:
    """Write contiguous tensors on the CPU, and `header` as JSON under `key` of the metadata."""
    from safetensors.torch import save

    write_bytes_atomic(path, save(dict(tensors), metadata={key: json.dumps(header)}))


def read_tensors(path: Path, key: str, most: int, what: str) -> tuple[Any, dict[str, Tensor]]:
    """The header, None where there is none, and the tensors.

    Args:
        most: bytes that the file may have; `what` names what it should be, for the message.

    Raises:
        InputError: the file is too large, or not readable.
    """
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size > most:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {most}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json_of((file.metadata() or {}).get(key, "null"))
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not {what} ({error})") from error


def json_of(text: str) -> Any:
    """JSON; ValueError for any text that is none, for what nests too deeply too."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("it nests too deeply") from error


def npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type that an .npy file claims; raises one of ARRAY_ERRORS."""
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        shape, _, dtype = np.lib.format.read_array_header_1_0(file)
    else:
        shape, _, dtype = np.lib.format.read_array_header_2_0(file)
    return shape, dtype


def check_members(archive: zipfile.ZipFile, names: Collection[str], size: int) -> None:
    """Compare what arrays of an .npz file claim to be with the bytes there, before any is read.

    `size` is that of the file: its table of contents makes claims, too.

    Raises:
        ValueError, or another of ARRAY_ERRORS: an array that has not the bytes it claims.
    """
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        if name not in names:
            continue
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise ValueError(f"'{name}' is compressed in a way that numpy does not write")
        with archive.open(entry) as file:
            shape, dtype = npy_header(file)
        claimed = math.prod(shape) * dtype.itemsize
        held = min(entry.file_size, _MOST_DEFLATED * size)
        if claimed > held:
            raise ValueError(f"'{name}' claims {claimed} bytes, the file holds at most {held}")
