"""Output files that are either whole or absent: written beside their place, then moved."""

from __future__ import annotations

import contextlib
import errno
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

from diffrender.errors import InputError

__all__ = [
    "atomic_path",
    "readable",
    "writable_folder",
    "write_bytes_atomic",
    "write_text_atomic",
]


@contextlib.contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on a clean exit move it to `path`.

    The suffix is kept, because image writers choose the format by it. Missing parent folders
    are made. If the block raises, the temporary file goes and an older `path` stays as it was.
    An operating-system error names `path`: nobody knows the temporary file, and a full disk names
    none. A symbolic link is followed.

    Raises:
        InputError: `path` is there and neither a file nor a folder: a device or a pipe.
    """
    path = Path(path)
    if path.is_symlink():
        path = Path(os.path.realpath(path))
    if path.exists() and not path.is_file() and not path.is_dir():
        raise InputError(f"{path} is a device or a pipe, expected a file to write")
    path.parent.mkdir(parents=True, exist_ok=True)
    # Not mkstemp: its 0600 mode would stay on the finished file.
    temporary = path.with_name(f".{path.stem[:40]}.{secrets.token_hex(6)}.tmp{path.suffix}")
    try:
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        if error.filename is not None and str(error.filename) != str(temporary):
            raise
        # numpy names no number either, only how much it could write.
        number, reason = error.errno or errno.EIO, error.strerror or str(error)
        raise OSError(number, reason, str(path)) from error
    finally:
        with contextlib.suppress(OSError):  # a read-only disk says so here again
            temporary.unlink(missing_ok=True)


def writable_folder(path: str | Path) -> Path:
    """Make a folder, and try a file in it, before hours of work are to be written there.

    Raises:
        OSError: the folder cannot be made or written to; it names the folder.
    """
    path = Path(path)
    path.mkdir(parents=True, exist_ok=True)
    trial = path / f".{secrets.token_hex(6)}.tmp"
    try:
        trial.touch()
        trial.unlink()
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error
    return path


def readable(text: str) -> str:
    """The text with U+FFFD in place of what no encoding can hold.

    Lone surrogates come from file names that are not UTF-8, and from JSON such as "\\ud800".
    """
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def write_bytes_atomic(path: str | Path, data: bytes) -> Path:
    """Write `data` to `path` whole or not at all; returns the path."""
    with atomic_path(path) as temporary:
        temporary.write_bytes(data)
    return Path(path)


def write_text_atomic(path: str | Path, text: str) -> Path:
    """Write `text` as UTF-8 with Unix line ends, whole or not at all; returns the path.

    See `readable` for what cannot be encoded.
    """
    return write_bytes_atomic(path, readable(text).encode("utf-8"))
