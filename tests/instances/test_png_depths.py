"""PNGs of the bit depths that Pillow narrows or widens without a word."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.instances import KittiLabel
from diffrender.instances.reading import read_id_image, read_image

GREY, RGB, GREY_ALPHA, RGBA = 0, 2, 4, 6
IDS = np.array([[0, 1, 3, 2], [1, 0, 2, 3]], np.uint16)


def _chunk(name: bytes, content: bytes) -> bytes:
    check = struct.pack(">I", zlib.crc32(name + content))
    return struct.pack(">I", len(content)) + name + content + check


def _write(path: Path, rows: list[bytes], width: int, bits: int, colour: int) -> Path:
    header = struct.pack(">IIBBBBB", width, len(rows), bits, colour, 0, 0, 0)
    pixels = zlib.compress(b"".join(b"\0" + row for row in rows))
    chunks = _chunk(b"IHDR", header) + _chunk(b"IDAT", pixels) + _chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)
    return path


def _deep(path: Path, colour: int) -> Path:
    channels = {GREY: 1, RGB: 3, GREY_ALPHA: 2, RGBA: 4}[colour]
    values = np.repeat((100 * IDS)[..., None], channels, axis=2)
    return _write(path, [row.astype(">u2").tobytes() for row in values], 4, 16, colour)


def test_grey_of_16_bits_keeps_its_ids(tmp_path: Path) -> None:
    assert np.array_equal(read_id_image(_deep(tmp_path / "a.png", GREY)), 100 * IDS)


@pytest.mark.parametrize("colour", [RGB, GREY_ALPHA, RGBA])
def test_ids_of_16_bits_with_colour_or_alpha_are_refused(tmp_path: Path, colour: int) -> None:
    with pytest.raises(InputError, match="is a 16-bit PNG with colour or alpha, of which 8 bits"):
        read_id_image(_deep(tmp_path / "a.png", colour))


@pytest.mark.parametrize("bits", [2, 4])
def test_grey_of_few_bits_keeps_its_ids(tmp_path: Path, bits: int) -> None:
    numbers = [int("".join(f"{v:0{bits}b}" for v in row), 2) for row in IDS]
    rows = [number.to_bytes(bits // 2, "big") for number in numbers]
    assert np.array_equal(read_id_image(_write(tmp_path / "a.png", rows, 4, bits, GREY)), IDS)


@pytest.mark.parametrize("colour", [GREY, RGB, GREY_ALPHA, RGBA])
def test_a_picture_deeper_than_8_bits_is_refused(tmp_path: Path, colour: int) -> None:
    with pytest.raises(InputError, match="has 16 bits per channel, expected an 8-bit image"):
        read_image(_deep(tmp_path / "a.png", colour))


@pytest.mark.parametrize("name", ["DontCare", "dontcare", "DONTCARE"])
def test_regions_are_no_objects_whatever_the_case(name: str) -> None:
    row = KittiLabel(name, -1, -1, -10, (0, 0, 9, 9), -1, -1, -1, (-1000, -1000, -1000), -10)
    assert not row.is_object
