"""Rows of many KITTI object files as arrays, parsed by the native kernel or its twin."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate.frame_files import FrameFiles
from diffrender.evaluate.rows_python import COLUMNS, NUMBERS, TYPES, file_rows, parse_row
from diffrender.native import kernel_threads, signature

__all__ = ["ObjectRows", "parse_files"]

_NAMES = "".join(f"{name.lower()}\n" for name in TYPES).encode()


@dataclass(frozen=True)
class ObjectRows:
    """The objects of some frames, frame after frame and in file order.

    Attributes:
        starts: (F + 1,) int64; rows starts[f] to starts[f + 1] belong to frame f.
        kind: (N,) int64, index into TYPES, -1 for a type that KITTI does not have.
        numbers: (N, 15) float64, the columns behind the type in the file's order and units.
        lines: (N,) int64, line in the file, from 1.
        other_types: rows per type that KITTI does not have.
        wrong: what is wrong with each row that was left out, with file, line and column.
    """

    starts: np.ndarray
    kind: np.ndarray
    numbers: np.ndarray
    lines: np.ndarray
    other_types: dict[str, int]
    wrong: tuple[str, ...]

    def column(self, name: str) -> np.ndarray:
        """(N,) one column by its name, such as "alpha"."""
        return self.numbers[:, COLUMNS.index(name) - 1]

    @property
    def image_boxes(self) -> np.ndarray:
        """(N, 4) left, top, right, bottom, pixels counted from pixel centres."""
        return self.numbers[:, 3:7]

    @property
    def boxes(self) -> np.ndarray:
        """(N, 7) x, y, z, length, width, height, yaw; metres, bottom-face centre, radians."""
        return self.numbers[:, [10, 11, 12, 9, 8, 7, 13]]

    @property
    def frame(self) -> np.ndarray:
        """(N,) index of each row's frame."""
        return np.repeat(np.arange(len(self.starts) - 1), np.diff(self.starts))


def parse_files(
    files: FrameFiles,
    names: Sequence[str],
    columns: tuple[int, int],
    wrong_rows: Literal["fail", "drop"],
    backend: str,
) -> ObjectRows:
    """Parse the files of `names`; a row has columns[0] to columns[1] columns.

    Raises:
        InputError: a row breaks the format and `wrong_rows` is "fail"; names file, line, column.
    """
    contents = files.read(names)
    parsed = (_parse_native if backend == "native" else _parse_python)(contents, columns)
    frame = np.repeat(np.arange(len(names)), np.diff(parsed.starts))
    wrong: list[str] = []
    split, rows = -1, dict[int, bytes]()  # the file whose rows those are
    for row in np.flatnonzero(parsed.bad).tolist():
        line = int(parsed.lines[row])
        if split != frame[row]:
            split, rows = int(frame[row]), dict(file_rows(contents[frame[row]]))
        reason = _reason(rows[line], line, columns)
        wrong.append(f"{files.path(names[frame[row]])} line {line}: {reason}")
        if wrong_rows == "fail":
            more = int(parsed.bad.sum()) - 1
            raise InputError(wrong[0] + (f" (and {more} more rows are wrong)" if more else ""))
    good = ~parsed.bad
    strange = np.flatnonzero(good & (parsed.kind < 0)).tolist()
    others = Counter(parsed.word(row).decode() for row in strange)
    starts = parsed.starts
    if wrong:
        counts = np.bincount(frame[good], minlength=len(names))
        starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return ObjectRows(
        starts,
        parsed.kind[good],
        parsed.numbers[good],
        parsed.lines[good],
        dict(others),
        tuple(wrong),
    )


@dataclass(frozen=True)
class _Parsed:
    starts: np.ndarray
    kind: np.ndarray
    numbers: np.ndarray
    lines: np.ndarray
    bad: np.ndarray
    word: Callable[[int], bytes]


def _reason(row: bytes, line: int, columns: tuple[int, int]) -> str:
    """What the twin says about the row, which is that line."""
    try:
        parse_row(row, *columns)
    except InputError as error:
        return str(error)
    raise AssertionError(f"line {line} is wrong for one parser and right for the other")


def _parse_native(contents: list[bytes], columns: tuple[int, int]) -> _Parsed:
    text = b"".join(contents)
    files, threads = len(contents), kernel_threads()
    file_starts = np.concatenate([[0], np.cumsum([len(c) for c in contents])]).astype(np.int64)
    counts = np.zeros(files, np.int64)
    signature("diffrender_kitti_count_rows", "ppiip")(
        text, file_starts.ctypes.data, files, threads, counts.ctypes.data
    )
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    total = int(starts[-1])
    numbers = np.full((total, NUMBERS), np.nan)
    kind, lines, places, bad = (np.zeros(total, np.int64) for _ in range(4))
    signature("diffrender_kitti_parse_rows", "pppi pi ii i ppppp")(
        text, file_starts.ctypes.data, starts.ctypes.data, files,
        _NAMES, len(TYPES), *columns, threads,
        numbers.ctypes.data, kind.ctypes.data, lines.ctypes.data, places.ctypes.data,
        bad.ctypes.data,
    )  # fmt: skip

    def word(row: int) -> bytes:
        return text[places[row] : places[row] + 65].split()[0]

    return _Parsed(starts, kind, numbers, lines, bad.astype(bool), word)


def _parse_python(contents: list[bytes], columns: tuple[int, int]) -> _Parsed:
    counts: list[int] = []
    kinds: list[int] = []
    numbers: list[list[float]] = []
    lines: list[int] = []
    bad: list[bool] = []
    words: list[bytes] = []
    for content in contents:
        before = len(kinds)
        for line, row in file_rows(content):
            try:
                kind, word, values = parse_row(row, *columns)
            except InputError:
                kind, word, values = -1, b"", [np.nan] * NUMBERS
            bad.append(not word)
            kinds.append(kind)
            words.append(word)
            numbers.append(values)
            lines.append(line)
        counts.append(len(kinds) - before)
    return _Parsed(
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        np.array(kinds, np.int64),
        np.array(numbers, np.float64).reshape(-1, NUMBERS),
        np.array(lines, np.int64),
        np.array(bad, bool),
        words.__getitem__,
    )
