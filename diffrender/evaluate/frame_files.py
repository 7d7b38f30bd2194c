"""Text files named by frame, from a folder, a zip, a tar or memory.

Archives are read member by member into memory, never unpacked; sizes are checked first.
"""

from __future__ import annotations

import io
import os
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from diffrender.errors import InputError
from diffrender.evaluate.tar_members import TarMember, tar_members

__all__ = ["FrameFiles", "FrameSource", "open_frames", "read_split"]

FrameSource: TypeAlias = "str | os.PathLike[str] | Mapping[str, str | bytes]"

FILE_LIMIT = 16 * 2**20
TOTAL_LIMIT = 2**30
COUNT_LIMIT = 200_000
_FRAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]*", re.ASCII)
# Where a folder that holds no text file itself may keep them: the devkit's layouts.
_INSIDE = ("data", "label_2", "training/label_2")
# What a zip made by macOS adds.
_LITTER = ("__MACOSX/", ".DS_Store")


@dataclass(frozen=True)
class FrameFiles:
    """Attributes:
    source: what was opened, for messages.
    names: frames that have a file ("000003"), sorted.
    others: members that are no frame's file, as they are called.
    folder: where in the archive or below the folder they lie, "" for the top.
    content: bytes of the file of one frame.
    """

    source: str
    names: tuple[str, ...]
    others: tuple[str, ...]
    folder: str
    content: Callable[[str], bytes]

    def path(self, name: str) -> str:
        """How messages call a frame's file."""
        return f"{self.source}: {name}.txt"

    def read(self, names: Sequence[str]) -> list[bytes]:
        """Contents in the order of `names`; a frame without a file reads as empty.

        Raises:
            InputError: a file is larger than 16 MiB, or all of them than 1 GiB, or unreadable.
        """
        here = set(self.names)
        contents, total = [], 0
        for name in names:
            content = self.content(name) if name in here else b""
            if len(content) > FILE_LIMIT:
                raise InputError(f"{self.path(name)} is larger than {FILE_LIMIT} bytes")
            total += len(content)
            if total > TOTAL_LIMIT:
                raise InputError(f"{self.source}: more than {TOTAL_LIMIT} bytes of text")
            contents.append(content)
        return contents


def open_frames(source: FrameSource, kind: str) -> FrameFiles:
    """The frame files of a folder, .zip, .tar.gz, .tgz, .tar, or of a mapping from frame to text.

    `kind` ("labels", "results") names them in errors. In a folder or archive the files NAME.txt
    must lie together: at the top, or in one folder such as `data`.

    Raises:
        InputError: nothing of that kind there, a broken or oversized archive, or frame files in
            several folders.
    """
    if isinstance(source, Mapping):
        return _from_memory(source, kind)
    path = Path(source)
    if path.is_dir():
        return _from_folder(path, kind)
    if not path.is_file():
        raise InputError(f"{path} does not exist, expected a folder, zip or tar.gz of {kind}")
    with path.open("rb") as file:
        magic = file.read(512)
    if magic[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return _from_zip(path, kind)
    if magic[:2] == b"\x1f\x8b" or magic[257:262] == b"ustar":
        return _from_tar(path, kind, gzipped=magic[:2] == b"\x1f\x8b")
    raise InputError(
        f"{path} is neither a folder nor a zip, tar or tar.gz; expected {kind} as files NAME.txt"
    )


def read_split(path: str | os.PathLike[str]) -> list[str]:
    """Frame names of a split list, one a line; blank lines are skipped.

    Raises:
        InputError: absent, larger than 16 MiB, empty, a line that is no name, or a name twice.
    """
    path = Path(path)
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path} {what}, expected a split list: one frame name a line")
    if path.stat().st_size > FILE_LIMIT:
        raise InputError(f"{path} is larger than {FILE_LIMIT} bytes, expected a split list")
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    lines: dict[str, int] = {}
    for number, line in enumerate(text.split("\n"), start=1):
        name = line.strip()
        if not name:
            continue
        if not _FRAME.fullmatch(name):
            raise InputError(f"{path} line {number}: {name[:40]!r} is not a frame name")
        if name in lines:
            raise InputError(f"{path} line {number}: {name} was given on line {lines[name]} too")
        lines[name] = number
    if not lines:
        raise InputError(f"{path} holds no frame name, expected one a line such as 000003")
    return list(lines)


def _from_memory(source: Mapping[str, str | bytes], kind: str) -> FrameFiles:
    texts = {}
    for name, text in source.items():
        try:
            texts[str(name)] = text.encode() if isinstance(text, str) else bytes(text)
        except UnicodeEncodeError as error:
            raise InputError(
                f"{kind}: the text of frame {str(name)[:40]!r} has no UTF-8 at character "
                f"{error.start}, a lone surrogate; expected text without them, or bytes"
            ) from error
    for name in texts:
        if not _FRAME.fullmatch(name):
            raise InputError(f"{kind}: {name[:40]!r} is not a frame name such as '000003'")
    return FrameFiles(kind, tuple(sorted(texts)), (), "", texts.__getitem__)


def _from_folder(root: Path, kind: str) -> FrameFiles:
    for inside in ("", *_INSIDE):
        folder = root / inside
        if not folder.is_dir():
            continue
        entries = sorted(os.listdir(folder))
        names = tuple(e[:-4] for e in entries if _is_frame(e))
        if names:
            others = tuple(e for e in entries if not _is_frame(e))

            def content(name: str, folder: str = str(folder)) -> bytes:
                path = f"{folder}/{name}.txt"
                try:
                    with open(path, "rb", buffering=0) as file:
                        return file.read(FILE_LIMIT + 1)
                except OSError as error:
                    raise InputError(
                        f"{path} cannot be read ({error.strerror}), expected a text file"
                    ) from error

            return FrameFiles(str(folder), names, others, inside, content)
    raise InputError(
        f"{root} holds no file NAME.txt, nor does {' or '.join(_INSIDE)} in it; expected {kind}"
    )


def _from_zip(path: Path, kind: str) -> FrameFiles:
    try:
        archive = zipfile.ZipFile(io.BytesIO(_whole(path)))
        members = {info.filename: info for info in archive.infolist() if not info.is_dir()}
    except InputError:
        raise
    except Exception as error:  # zipfile fails in many ways on broken archives
        raise InputError(f"{path}: the zip cannot be read ({error})") from error
    if len(archive.infolist()) > len(members) + sum(i.is_dir() for i in archive.infolist()):
        raise InputError(f"{path}: the zip holds two files of one name")
    if sum(info.file_size for info in members.values()) > TOTAL_LIMIT:
        raise InputError(f"{path}: more than {TOTAL_LIMIT} bytes when unpacked")
    folder, frames, others = _sort_members(path, list(members), kind)

    def content(name: str) -> bytes:
        info = members[frames[name]]
        if info.flag_bits & 1:
            raise InputError(f"{path}: {info.filename} is encrypted; zip it without a password")
        try:
            with archive.open(info) as file:
                return file.read(FILE_LIMIT + 1)
        except Exception as error:  # and so do its decoders: zlib, bz2, lzma
            raise InputError(f"{path}: {info.filename} cannot be read ({error})") from error

    return FrameFiles(str(path), tuple(sorted(frames)), others, folder, content)


def _from_tar(path: Path, kind: str, *, gzipped: bool) -> FrameFiles:
    data = _inflate(path) if gzipped else _whole(path)
    members: dict[str, TarMember] = {}
    links = []
    try:
        for member in tar_members(data):
            if not member.is_file:
                links.append(member.name)
            elif member.name in members:
                raise InputError(f"{member.name!r} is in the archive twice")
            else:
                members[member.name] = member
    except InputError as error:
        raise InputError(f"{path}: {error}") from error
    folder, frames, others = _sort_members(path, list(members), kind)

    def content(name: str) -> bytes:
        member = members[frames[name]]
        return data[member.start : member.start + member.size]

    return FrameFiles(str(path), tuple(sorted(frames)), (*others, *links), folder, content)


def _sort_members(
    path: Path, members: list[str], kind: str
) -> tuple[str, dict[str, str], tuple[str, ...]]:
    """Their folder, frame -> member, and the members that are no frame's file."""
    if len(members) > COUNT_LIMIT:
        raise InputError(f"{path} holds {len(members)} files, expected at most {COUNT_LIMIT}")
    folders: dict[str, dict[str, str]] = {}
    others = []
    for member in members:
        folder, _, name = member.replace("\\", "/").rpartition("/")
        if _is_frame(name) and not any(part in member for part in _LITTER):
            inside = folders.setdefault(folder.removeprefix(".").lstrip("/"), {})
            if name[:-4] in inside:
                raise InputError(f"{path}: {name} is in the archive twice")
            inside[name[:-4]] = member
        else:
            others.append(member)
    if not folders:
        raise InputError(f"{path} holds no file NAME.txt, expected {kind}")
    if len(folders) > 1:
        some = ", ".join(repr(name or "the top") for name in sorted(folders)[:3])
        raise InputError(f"{path} holds .txt files in {len(folders)} folders ({some}); keep one")
    ((folder, frames),) = folders.items()
    return folder, frames, tuple(others)


def _is_frame(file_name: str) -> bool:
    return file_name.endswith(".txt") and _FRAME.fullmatch(file_name[:-4]) is not None


def _whole(path: Path) -> bytes:
    if path.stat().st_size > TOTAL_LIMIT:
        raise InputError(f"{path} is larger than {TOTAL_LIMIT} bytes")
    return path.read_bytes()


def _inflate(path: Path) -> bytes:
    """All members of a gzip file, at most TOTAL_LIMIT bytes of them."""
    waiting, parts, total = _whole(path), [], 0
    try:
        while waiting:
            stream = zlib.decompressobj(wbits=31)
            parts.append(stream.decompress(waiting, TOTAL_LIMIT + 1 - total))
            total += len(parts[-1])
            if total > TOTAL_LIMIT:
                raise InputError(f"{path}: more than {TOTAL_LIMIT} bytes when unpacked")
            if not stream.eof:
                raise InputError(f"{path}: the gzip stream is cut short")
            waiting = stream.unused_data.lstrip(b"\0")
    except zlib.error as error:
        raise InputError(f"{path}: the gzip stream is broken ({error})") from error
    return b"".join(parts)
