"""Run-length masks of COCO: counts down the columns, background first, plain or compressed.

Source: Lin et al., "Microsoft COCO: common objects in context", ECCV 2014, and its mask API.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from diffrender.errors import InputError

__all__ = ["counts_from_string", "counts_to_string", "decode_rle", "encode_counts", "encode_rle"]

# Each character carries 5 bits, lowest first, above 48; bit 6 says that more follow.
_BASE, _MORE, _SIGN = 48, 0x20, 0x10
_LONGEST = 7  # characters of one number: 35 bits are more than any image has pixels
RLE_PIXEL_LIMIT = 100_000_000


def encode_counts(mask: np.ndarray) -> list[int]:  # (H, W)
    """Lengths of the runs of a mask, column by column, beginning with a run of background.

    Shapes: (H, W) bool -> counts that add up to H * W; the first is 0 if pixel (0, 0) is set.
    """
    flat = np.asarray(mask, dtype=bool).flatten(order="F")
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    counts = np.diff(np.concatenate([[0], changes, [flat.size]])).tolist()
    return [0, *counts] if flat.size and flat[0] else counts


def counts_to_string(counts: Sequence[int]) -> str:
    """COCO's compressed string of run lengths; from the third on, differences are stored."""
    characters: list[str] = []
    for index, count in enumerate(counts):
        value = count - counts[index - 2] if index > 2 else count
        more = True
        while more:
            bits = value & 0x1F
            value >>= 5
            more = value != -1 if bits & _SIGN else value != 0
            characters.append(chr((bits | _MORE if more else bits) + _BASE))
    return "".join(characters)


def counts_from_string(text: str) -> list[int]:
    """Run lengths of COCO's compressed string.

    Raises:
        InputError: a character outside the alphabet, a number cut short or too long, or a
            negative run.
    """
    counts: list[int] = []
    value = shift = 0
    for position, character in enumerate(text):
        bits = ord(character) - _BASE
        if not 0 <= bits < 64:
            raise InputError(
                f"RLE string character {position + 1} is {character!r}, expected '0' to 'o'"
            )
        value |= (bits & 0x1F) << shift
        shift += 5
        if bits & _MORE:
            if shift >= 5 * _LONGEST:
                raise InputError(f"RLE string character {position + 1}: the number is too long")
            continue
        if bits & _SIGN:
            value -= 1 << shift
        if len(counts) > 2:
            value += counts[-2]
        if value < 0:
            raise InputError(f"RLE string character {position + 1}: run of {value} pixels")
        counts.append(value)
        value = shift = 0
    if shift:
        raise InputError("the RLE string ends inside a number; it is cut short")
    return counts


def encode_rle(mask: np.ndarray) -> dict[str, object]:  # (H, W)
    """COCO's compressed RLE of a mask: {"size": [H, W], "counts": str}."""
    if mask.ndim != 2:
        raise InputError(f"the mask has shape {mask.shape}, expected (H, W)")
    return {"size": [mask.shape[0], mask.shape[1]], "counts": counts_to_string(encode_counts(mask))}


def decode_rle(rle: object, size: tuple[int, int] | None = None) -> np.ndarray:
    """Mask of a COCO RLE, compressed (string) or plain (list of counts).

    Args:
        rle: {"size": [H, W], "counts": str, ASCII bytes or list of int}.
        size: the (height, width) it must have, if given; checked before allocation.

    Returns:
        (H, W) bool.

    Raises:
        InputError: missing keys, a wrong size, bad counts, or runs that do not fill the image.
    """
    if not isinstance(rle, dict) or not {"size", "counts"} <= rle.keys():
        raise InputError("the RLE is not an object with 'size' and 'counts'")
    shape, counts = rle["size"], rle["counts"]
    if (
        not isinstance(shape, list | tuple)
        or len(shape) != 2
        or not all(type(side) is int and side > 0 for side in shape)
    ):
        raise InputError(f"the RLE's size is {shape!r}, expected [height, width]")
    if size is not None and tuple(shape) != tuple(size):
        raise InputError(f"the RLE's size is {list(shape)}, the image has {list(size)}")
    total = shape[0] * shape[1]
    if total > RLE_PIXEL_LIMIT:
        raise InputError(f"the RLE has {total} pixels, expected at most {RLE_PIXEL_LIMIT}")
    if isinstance(counts, bytes):
        counts = counts.decode("latin-1")
    if isinstance(counts, str):
        if len(counts) > _LONGEST * (total + 1):
            raise InputError("the RLE string is longer than its image could need")
        counts = counts_from_string(counts)
    elif not isinstance(counts, list) or not all(type(run) is int and run >= 0 for run in counts):
        raise InputError("the RLE's counts are neither a string nor a list of whole numbers >= 0")
    if sum(counts) != total:
        raise InputError(
            f"the RLE's runs add up to {sum(counts)} pixels, expected {shape[0]} x {shape[1]} = "
            f"{total}"
        )
    values = np.arange(len(counts)) % 2 == 1
    return np.repeat(values, counts).reshape(shape, order="F")
