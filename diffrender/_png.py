"""What a PNG's header says; Pillow narrows or widens some kinds of pixels without a word."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["HEADER_BYTES", "PngHeader", "png_header"]

HEADER_BYTES = 26


class PngHeader(NamedTuple):
    """Size, bits per channel and colour type (PNG specification, section 11.2.2)."""

    width: int
    height: int
    bits: int
    colour: int


def png_header(content: bytes) -> PngHeader | None:
    """Of a file's first bytes, `HEADER_BYTES` or more; None where that is no PNG."""
    whole = len(content) >= HEADER_BYTES
    if not whole or content[:8] != b"\x89PNG\r\n\x1a\n" or content[12:16] != b"IHDR":
        return None
    width, height = (int.from_bytes(content[i : i + 4], "big") for i in (16, 20))
    return PngHeader(width, height, content[24], content[25])
