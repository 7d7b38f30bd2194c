"""Depth maps in files: 16-bit PNG, NPY and PFM."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np

from diffrender._files import atomic_path
from diffrender._png import HEADER_BYTES, png_header
from diffrender._tensors import ARRAY_ERRORS, npy_header
from diffrender.errors import InputError

__all__ = ["check_metres", "read_depth", "write_depth_png"]

_MAX_PIXELS = 1 << 26
_PLAUSIBLE = (0.01, 1000.0)  # metres: where the median depth of an image lies


def read_depth(
    path: str | Path,
    units_per_metre: float | None = None,
) -> np.ndarray:  # (H, W)
    """A depth map in metres, 0 where it is unknown.

    Args:
        path: .png (16 bit, one channel), .npy (two dimensions) or .pfm (one channel).
        units_per_metre: stored value of one metre: 256 for KITTI's depth PNG, 1000 for
            millimetres. Needed for PNG and for integer arrays; floating-point files are in metres
            where it is None.

    Returns:
        (H, W) float32 metres. NaN and infinite values become 0.

    Raises:
        InputError: the file is missing, broken, too large, has negative depths or ones that
            float32 cannot hold, or does not say its unit.
    """
    path = Path(path)
    if units_per_metre is not None and not (math.isfinite(units_per_metre) and units_per_metre > 0):
        raise InputError(f"units_per_metre is {units_per_metre}, expected a positive number")
    readers = {".png": _read_png, ".npy": _read_npy, ".pfm": _read_pfm}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: depth is read from .png (16 bit), .npy or .pfm")
    if not path.is_file():
        raise InputError(f"{path}: no such file")
    values = reader(path, units_per_metre)
    with np.errstate(over="ignore"):
        depth = np.where(np.isfinite(values), values, 0.0) / (units_per_metre or 1.0)
    if depth.min() < 0:
        raise InputError(
            f"{path}: {int((depth < 0).sum())} depths are negative; depth is z in metres and 0 "
            "means unknown"
        )
    if depth.max() > np.finfo(np.float32).max:
        raise InputError(
            f"{path}: depths reach {depth.max():g} m, more than float32 holds; is the unit right? "
            "Write 0 where the depth is unknown"
        )
    depth = depth.astype(np.float32)
    if not depth.any():
        at = "" if units_per_metre is None else f" at {units_per_metre:g} units per metre"
        raise InputError(f"{path}: every depth is 0 (unknown){at}")
    return depth


def check_metres(path: str | Path, depth: np.ndarray) -> None:  # (H, W)
    """Refuse a depth map that cannot be of a street in metres, 0 = unknown.

    Without this a map in another unit gives a scene that is wrong by that factor, silently.

    Raises:
        InputError: the median of the known depths is under a centimetre or over a kilometre.
    """
    median = float(np.median(depth[depth > 0]))
    if not _PLAUSIBLE[0] <= median <= _PLAUSIBLE[1]:
        raise InputError(
            f"{path}: the median depth is {median:.4g} m, expected {_PLAUSIBLE[0]:g} to "
            f"{_PLAUSIBLE[1]:g}; is the file in metres? --depth-units-per-metre says otherwise, "
            "such as 1000 for millimetres"
        )


def write_depth_png(
    path: str | Path,
    depth: np.ndarray,  # (H, W)
    units_per_metre: float = 256.0,
) -> Path:
    """Write a depth map in metres as a 16-bit PNG; the file appears whole or not at all.

    Depths are rounded to 1/units_per_metre; a known depth never rounds to 0 (unknown).

    Raises:
        InputError: not (H, W) finite non-negative numbers, or a depth too far for 16 bits.
    """
    from PIL import Image

    path = Path(path)
    depth = np.asarray(depth)
    if depth.ndim != 2 or depth.dtype.kind not in "fiu" or not depth.size:
        raise InputError(f"depth is {depth.dtype} of shape {depth.shape}, expected (H, W) metres")
    if not np.isfinite(depth).all() or depth.min() < 0:
        raise InputError("depth holds negative, NaN or infinite values; write 0 for unknown")
    if not (math.isfinite(units_per_metre) and units_per_metre > 0):
        raise InputError(f"units_per_metre is {units_per_metre}, expected a positive number")
    units = np.rint(depth.astype(np.float64) * units_per_metre)
    units = np.where((depth > 0) & (units < 1), 1.0, units)
    if units.max() > 65535:
        raise InputError(
            f"depth reaches {depth.max():.1f} m, 16 bits at {units_per_metre:g} units per metre "
            f"end at {65535 / units_per_metre:.1f} m; choose fewer units per metre or set it to 0"
        )
    with atomic_path(path) as temporary:
        Image.fromarray(units.astype(np.uint16)).save(temporary, format="PNG")
    return path


def _check_size(path: Path, height: int, width: int) -> None:
    if height < 1 or width < 1 or height * width > _MAX_PIXELS:
        raise InputError(
            f"{path}: {height} x {width} pixels, expected between 1 and {_MAX_PIXELS} pixels"
        )


def _read_png(path: Path, units_per_metre: float | None) -> np.ndarray:
    from PIL import Image, UnidentifiedImageError

    # The header decides what Pillow would silently narrow: bit depth and colour type.
    with path.open("rb") as file:
        header = png_header(file.read(HEADER_BYTES))
    if header is None:
        raise InputError(f"{path}: not a PNG file")
    width, height, bits, colour = header
    if bits != 16 or colour != 0:
        kinds = {0: "grey", 2: "RGB", 3: "palette", 4: "grey and alpha", 6: "RGBA"}
        raise InputError(
            f"{path}: {bits}-bit {kinds.get(colour, 'unknown')} PNG, expected 16-bit grey: 8 bits "
            "are a picture of depth, too coarse to measure with"
        )
    _check_size(path, height, width)
    if units_per_metre is None:
        raise InputError(
            f"{path}: a PNG does not say its unit; state units_per_metre (256 for KITTI, 1000 for "
            "millimetres)"
        )
    try:
        with Image.open(path) as image:
            values = np.array(image, dtype=np.float64)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{path}: the PNG is broken ({error})") from error
    return values


def _read_npy(path: Path, units_per_metre: float | None) -> np.ndarray:
    try:
        with path.open("rb") as file:
            shape, dtype = npy_header(file)
        if len(shape) != 2 or dtype.kind not in "fiu":
            raise InputError(f"{path}: {dtype} of shape {shape}, expected real numbers (H, W)")
        _check_size(path, *shape)
        if dtype.kind in "iu" and units_per_metre is None:
            raise InputError(f"{path}: {dtype} does not say its unit; state units_per_metre")
        values = np.load(path, allow_pickle=False)
    except InputError:
        raise
    except ARRAY_ERRORS as error:
        raise InputError(f"{path}: not a readable .npy file ({error})") from error
    return np.asarray(values, dtype=np.float64)


def _read_pfm(path: Path, units_per_metre: float | None) -> np.ndarray:
    if path.stat().st_size > 4 * _MAX_PIXELS + 256:
        raise InputError(f"{path}: {path.stat().st_size} bytes, more than {_MAX_PIXELS} pixels")
    data = path.read_bytes()
    header = re.match(
        rb"(P[fF])\s([0-9]{1,6})\s([0-9]{1,6})\s([+-]?[0-9.]{1,24}(?:[eE][+-]?[0-9]{1,3})?)\r?\n",
        data[:128],
    )
    if header is None:
        raise InputError(f"{path}: no PFM header ('Pf', width, height, scale)")
    if header[1] == b"PF":
        raise InputError(f"{path}: a three-channel PFM, expected one channel ('Pf')")
    width, height = int(header[2]), int(header[3])
    _check_size(path, height, width)
    try:
        scale = float(header[4])
    except ValueError as error:
        raise InputError(f"{path}: the PFM scale {header[4]!r} is not a number") from error
    if scale == 0 or not math.isfinite(scale):
        raise InputError(f"{path}: the PFM scale is {scale}, expected a non-zero number")
    if abs(scale) != 1 and units_per_metre is None:
        raise InputError(
            f"{path}: the PFM scale is {scale}, not 1 or -1, so the unit is unclear; state "
            "units_per_metre"
        )
    body = data[header.end() :]
    if len(body) != 4 * width * height:
        raise InputError(
            f"{path}: {len(body)} bytes of pixels, {width} x {height} need {4 * width * height}"
        )
    values = np.frombuffer(body, dtype="<f4" if scale < 0 else ">f4").reshape(height, width)
    return values[::-1].astype(np.float64)  # rows are stored from the bottom up
