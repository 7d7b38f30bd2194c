"""Weight files, read without pickle and checked before anything large is allocated."""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffrender._tensors import ARRAY_ERRORS, check_members
from diffrender.errors import InputError

__all__ = ["load_npz_weights", "need_weights"]


def need_weights(name: str, weights: str | Path | None, what: str) -> Path:
    """The path of a weights file that the user must name, or InputError."""
    if weights is None:
        raise InputError(f"the depth network '{name}' needs weights=FILE: {what}")
    path = Path(weights)
    if not path.is_file():
        raise InputError(f"{path}: no such file, expected {what}")
    return path


def load_npz_weights(
    path: Path,
    shapes: Mapping[str, tuple[int, ...]],
    *,
    max_bytes: int = 64 << 20,
) -> dict[str, Tensor]:
    """Arrays of an .npz as float32 tensors, exactly the names and shapes asked for.

    Raises:
        InputError: not an .npz, larger than `max_bytes` when unpacked, a name too many or too
            few, a wrong shape, or a value that is not a finite real number.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            unpacked = sum(entry.file_size for entry in archive.infolist())
    except ARRAY_ERRORS as error:
        raise InputError(f"{path}: not an .npz file ({error})") from error
    if unpacked > max_bytes:
        raise InputError(
            f"{path}: {unpacked} bytes when unpacked, these weights need at most {max_bytes}"
        )
    result = {}
    try:
        with np.load(path, allow_pickle=False) as arrays:
            _check_names(path, set(arrays.files), set(shapes))
            check_members(arrays.zip, shapes, path.stat().st_size)
            for name, shape in shapes.items():
                array = arrays[name]
                if array.shape != shape or array.dtype.kind not in "fiu":
                    raise InputError(
                        f"{path}: '{name}' is {array.dtype} of shape {array.shape}, expected "
                        f"real numbers of shape {shape}"
                    )
                if not np.isfinite(array).all():
                    raise InputError(f"{path}: '{name}' holds NaN or infinite values")
                result[name] = torch.from_numpy(array.astype(np.float32))
    except InputError:
        raise
    except ARRAY_ERRORS as error:
        raise InputError(f"{path}: cannot be read as .npz weights ({error})") from error
    return result


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing or extra:
        raise InputError(
            f"{path}: not the weights of this network: {len(missing)} arrays are missing "
            f"({', '.join(missing[:3])}{', ...' if len(missing) > 3 else ''}) and {len(extra)} "
            f"are unknown ({', '.join(extra[:3])}{', ...' if len(extra) > 3 else ''})"
        )
