"""Where the files of a tar lie in its bytes: ustar, GNU and pax archives, read strictly.

A header that does not add up or an archive without its end mark is an error; Python's own reader
stops there without a word, and takes several times as long. Source: POSIX.1-2017, pax,
"ustar Interchange Format" and "pax Header Block".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from diffrender.errors import InputError

__all__ = ["TarMember", "tar_members"]

_BLOCK = 512
_END = bytes(_BLOCK)
_OCTAL = re.compile(rb" *([0-7]+)[ \0]*")
_RECORD = re.compile(rb"([0-9]{1,9}) ([^=\n]{1,200})=", re.DOTALL)
_SIZE = re.compile(rb"[0-9]{1,20}")  # int() refuses thousands of digits
_FILE, _FOLDER, _SPARSE = (b"0", b"\0", b"7"), b"5", b"S"


@dataclass(frozen=True)
class TarMember:
    """Attributes:
    name: as the archive has it.
    start, size: where its content lies in the archive's bytes.
    is_file: False for links and devices.
    """

    name: str
    start: int
    size: int
    is_file: bool


def tar_members(data: bytes) -> Iterator[TarMember]:
    """Members in order, folders left out.

    Raises:
        InputError: a broken header, a sparse file, or an archive that is cut short; without the
            archive's name, which the caller knows.
    """
    offset = 0
    name: bytes | None = None  # from a header that precedes its member
    long_size: int | None = None
    while True:
        header = data[offset : offset + _BLOCK]
        if header == _END:
            return
        if len(header) < _BLOCK:
            raise InputError(f"the tar is cut short at byte {len(data)}")
        kind = header[156:157]
        _check_sum(header, offset)
        size = _octal(header[124:136], offset) if long_size is None else long_size
        start = offset + _BLOCK
        if start + size > len(data):
            raise InputError(f"the tar is cut short at byte {len(data)}")
        offset = start + -(-size // _BLOCK) * _BLOCK
        if kind in (b"x", b"g"):
            records = dict(_records(data[start : start + size], start))
            if kind == b"x":
                name = records.get(b"path")
                long_size = int(records[b"size"]) if b"size" in records else None
            continue
        if kind == b"L":  # GNU: the next member's name
            name = data[start : start + size].rstrip(b"\0")
            continue
        if kind == b"K":  # GNU: the next member's link target
            continue
        if kind == _SPARSE:
            raise InputError(f"the tar holds a sparse file at byte {start - _BLOCK}")
        full = _name(header) if name is None else name
        name = long_size = None
        if kind != _FOLDER:
            yield TarMember(full.decode("utf-8", "replace"), start, size, kind in _FILE)


def _check_sum(header: bytes, offset: int) -> None:
    # The sum counts its own eight bytes as blanks.
    if sum(header) - sum(header[148:156]) + 8 * 32 != _octal(header[148:156], offset):
        raise InputError(f"the tar's header at byte {offset} does not add up")


def _octal(field: bytes, offset: int) -> int:
    found = _OCTAL.fullmatch(field)
    if found is None:
        raise InputError(f"the tar's header at byte {offset} is broken")
    return int(found[1], 8)


def _name(header: bytes) -> bytes:
    name = header[:100].split(b"\0", 1)[0]
    prefix = header[345:500].split(b"\0", 1)[0] if header[257:263] == b"ustar\0" else b""
    return prefix + b"/" + name if prefix else name


def _records(content: bytes, start: int) -> Iterator[tuple[bytes, bytes]]:
    """Records "LENGTH KEY=VALUE\\n" of a pax header."""
    at = 0
    while at < len(content):
        found = _RECORD.match(content, at)
        length = int(found[1]) if found else 0
        record = content[at : at + length]
        if found is None or len(record) < length or not record.endswith(b"\n"):
            raise InputError(f"the tar's pax header at byte {start} is broken")
        value = record[found.end() - at : -1]
        if found[2] == b"size" and not _SIZE.fullmatch(value):
            raise InputError(f"the tar's pax header at byte {start} is broken")
        yield found[2], value
        at += length
