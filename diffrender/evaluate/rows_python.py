"""Rows of KITTI object files in plain Python: the readable twin of kitti_rows.cpp.

It also says what is wrong with a row, so that both give the same message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator

from diffrender.errors import InputError

__all__ = ["COLUMNS", "NUMBERS", "TYPES", "file_rows", "parse_row"]

COLUMNS = (
    "type", "truncated", "occluded", "alpha", "left", "top", "right", "bottom", "height", "width",
    "length", "x", "y", "z", "rotation_y", "score",
)  # fmt: skip
NUMBERS = len(COLUMNS) - 1
# Of every number but the score: products of three stay finite.
LARGEST = 1e9
TYPES = (
    "Car", "Van", "Truck", "Pedestrian", "Person_sitting", "Cyclist", "Tram", "Misc", "DontCare",
)  # fmt: skip

_INDEX = {name.lower().encode(): index for index, name in enumerate(TYPES)}
_TYPE = re.compile(rb"[\x21-\x7e]{1,64}")
_NUMBER = re.compile(rb"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?")


def file_rows(content: bytes) -> Iterator[tuple[int, bytes]]:
    """(line number from 1, row) of the lines that are not blank; a byte order mark is skipped."""
    content = content.removeprefix(b"\xef\xbb\xbf")
    for number, line in enumerate(content.split(b"\n"), start=1):
        row = line.strip()
        if row:
            yield number, row


def type_of(word: bytes) -> int:
    """Index into TYPES, whatever the case of the letters; -1 for another type."""
    return _INDEX.get(word.lower(), -1)


def parse_row(row: bytes, least: int, most: int) -> tuple[int, bytes, list[float]]:
    """Type's index, type, and 15 numbers; the score is NaN where a row of 15 columns is allowed.

    Raises:
        InputError: how many columns there are, or which column is wrong and how; without the
            file and line, which the caller knows.
    """
    fields = row.split()
    if not _TYPE.fullmatch(fields[0]):
        raise InputError(f"column 1 (type) is {_shown(fields[0])}, expected a word such as Car")
    values = [_number(field, index) for index, field in enumerate(fields[1:most], start=1)]
    if not least <= len(fields) <= most:
        wanted = f"{least}" if least == most else f"{least} or {most}"
        hint = " (a label row has no score)" if least == 16 and len(fields) == 15 else ""
        raise InputError(f"column {len(fields)} is the last, expected {wanted} columns{hint}")
    return type_of(fields[0]), fields[0], values + [math.nan] * (NUMBERS - len(values))


def _number(field: bytes, index: int) -> float:
    value = float(field) if _NUMBER.fullmatch(field) else math.nan
    if not math.isfinite(value):
        raise InputError(
            f"column {index + 1} ({COLUMNS[index]}) is {_shown(field)}, expected a finite number"
        )
    if abs(value) > LARGEST and index < NUMBERS:
        raise InputError(
            f"column {index + 1} ({COLUMNS[index]}) is {_shown(field)}, expected no more than "
            f"{LARGEST:g}"
        )
    return value


def _shown(field: bytes) -> str:
    return repr(field[:40].decode("ascii", errors="backslashreplace"))
