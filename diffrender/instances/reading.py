"""Reading small files from strangers: limits before allocation, one clear line when they break."""

from __future__ import annotations

import json
import math
import os
import re
import warnings
from pathlib import Path
from typing import Any

import numpy as np

from diffrender._png import png_header
from diffrender.errors import InputError

__all__ = ["parse_number", "read_bytes", "read_id_image", "read_image", "read_json", "read_text"]

TEXT_LIMIT = 16 * 2**20
JSON_LIMIT = 256 * 2**20
IMAGE_LIMIT = 256 * 2**20
PIXEL_LIMIT = 100_000_000

# Stricter than float(): no "nan", "1_000" or digits of other scripts.
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def read_bytes(path: str | os.PathLike[str], limit: int, kind: str) -> bytes:
    """Content of a file of at most `limit` bytes; `kind` names it in errors ("a label file").

    Raises:
        InputError: absent, not a file, larger than the limit, or unreadable.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise InputError(f"{path} is a folder, expected {kind}")
        if not path.exists():
            raise InputError(f"{path} does not exist, expected {kind}")
        if not path.is_file():
            raise InputError(f"{path} is not a regular file, expected {kind}")
        size = path.stat().st_size
        if size > limit:
            raise InputError(f"{path} has {size} bytes, expected {kind} of at most {limit}")
        with path.open("rb") as file:
            content = file.read(limit + 1)  # the file may have grown since stat
    except (OSError, ValueError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} cannot be read as {kind}: {error}") from error
    if len(content) > limit:
        raise InputError(f"{path} has more than {limit} bytes, expected {kind} of at most that")
    return content


def read_text(path: str | os.PathLike[str], kind: str, limit: int = TEXT_LIMIT) -> str:
    """UTF-8 text of a file, without byte order mark.

    Raises:
        InputError: as `read_bytes`, or the bytes are not text; names the line.
    """
    content = read_bytes(path, limit, kind)
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"{path} line {line}: byte 0x{content[error.start]:02x} is not UTF-8 text; "
            f"expected {kind}"
        ) from error


def _refuse_constant(name: str) -> float:
    raise ValueError(f"the constant {name} is not allowed in JSON")


def parse_json(text: str, path: object) -> Any:
    """JSON without NaN or Infinity; errors name file, line and column.

    Raises:
        InputError: the text is not JSON.
    """
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{path} line {error.lineno} column {error.colno}: not JSON: {error.msg}"
        ) from error
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: not JSON that can be read: {error}") from error


def read_json(path: str | os.PathLike[str], kind: str, limit: int = JSON_LIMIT) -> Any:
    """JSON of a file; see `read_text` and `parse_json`."""
    return parse_json(read_text(path, kind, limit), path)


def parse_number(token: str, where: str, expected: str) -> float:
    """A finite decimal number; `where` (file, line, column) opens the error, `expected` ends it.

    Raises:
        InputError: the token is not a finite number.
    """
    if not _NUMBER.fullmatch(token):
        shown = token if len(token) <= 40 else token[:37] + "..."
        raise InputError(f"{where}: {shown!r} is not a number; expected {expected}")
    value = float(token)
    if not math.isfinite(value):
        raise InputError(f"{where}: {token[:40]!r} is too large; expected {expected}")
    return value


def _decode(path: str | os.PathLike[str], kind: str) -> tuple[Any, int]:
    """The file as a decoded PIL image, and the bits per channel that a PNG states, else 8.

    Pillow narrows 16-bit colour to 8 bits and widens 2- and 4-bit grey, both without a word.
    """
    import io

    from PIL import Image

    content = read_bytes(path, IMAGE_LIMIT, kind)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # our own limit stands below
            picture = Image.open(io.BytesIO(content))
        if picture.width * picture.height > PIXEL_LIMIT:
            raise InputError(
                f"{path} has {picture.width} x {picture.height} pixels, "
                f"expected {kind} of at most {PIXEL_LIMIT}"
            )
        picture.load()
    except InputError:
        raise
    except Exception as error:  # decoders fail in many ways on broken files
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        if "cannot identify" in reason:  # goes on with the address of our buffer
            reason = "unknown format"
        raise InputError(f"{path} cannot be decoded as {kind}: {reason}") from error
    header = png_header(content)
    return picture, 8 if header is None else header.bits


def read_image(path: str | os.PathLike[str]) -> np.ndarray:
    """An 8-bit picture as (H, W, 3) uint8 RGB, turned as its EXIF says; alpha dropped.

    Raises:
        InputError: absent, too large, broken, or deeper than 8 bits.
    """
    picture, bits = _decode(path, "an image")
    if bits > 8:
        raise InputError(
            f"{path} has {bits} bits per channel, expected an 8-bit image; convert it to 8-bit RGB"
        )
    if picture.mode not in ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr"):
        raise InputError(
            f"{path} has pixels of mode {picture.mode}, expected an 8-bit image; convert it to RGB"
        )
    return np.array(_upright(picture).convert("RGB"), dtype=np.uint8)


def _upright(picture: Any) -> Any:
    """The picture as viewers and OpenCV show it: telephones store it as the sensor lies."""
    from PIL import ImageOps

    try:
        return ImageOps.exif_transpose(picture)
    except Exception:  # a broken block says nothing; the picture itself was read whole
        return picture


def read_id_image(path: str | os.PathLike[str]) -> np.ndarray:
    """A picture of integer ids, such as an instance PNG, as (H, W) int32.

    Grey of 1 to 16 bits, or a palette (its indices are the ids); colour, and grey with alpha,
    only of 8 bits and where the three channels agree.

    Raises:
        InputError: absent, too large, broken, or coloured.
    """
    picture, bits = _decode(path, "an instance PNG")
    if bits == 16 and not picture.mode.startswith("I"):
        raise InputError(
            f"{path} is a 16-bit PNG with colour or alpha, of which 8 bits would be lost; expected "
            "grey ids of 8 or 16 bits: save it with one channel"
        )
    ids = np.array(picture)
    if picture.mode == "L" and bits in (2, 4):
        ids = ids // (255 // (2**bits - 1))  # Pillow spreads them over 0 to 255
    if picture.mode in ("LA", "PA", "RGB", "RGBA"):
        colours = ids[..., :1] if picture.mode in ("LA", "PA") else ids[..., :3]
        if (colours != colours[..., :1]).any():
            raise InputError(
                f"{path} is a colour image, expected grey ids of 8 or 16 bits (0 = no instance)"
            )
        ids = colours[..., 0]
    if ids.ndim != 2 or ids.dtype.kind not in "bui":
        raise InputError(
            f"{path} has pixels of mode {picture.mode}, expected grey ids of 8 or 16 bits"
        )
    return ids.astype(np.int32)
