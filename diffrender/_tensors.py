"""Tensors with a JSON header in one safetensors file: written whole or not at all, no pickle."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from diffrender._files import write_bytes_atomic
from diffrender.errors import InputError

__all__ = ["read_tensors", "write_tensors"]


def write_tensors(path: Path, tensors: Mapping[str, Tensor], key: str, header: object) -> None:
    """Write contiguous tensors on the CPU, and `header` as JSON under `key` of the metadata."""
    from safetensors.torch import save

    write_bytes_atomic(path, save(dict(tensors), metadata={key: json.dumps(header)}))


def read_tensors(path: Path, key: str, most: int, what: str) -> tuple[Any, dict[str, Tensor]]:
    """The header, None where there is none, and the tensors.

    Args:
        most: bytes that the file may have; `what` names what it should be, for the message.

    Raises:
        InputError: the file is too large, or not readable.
    """
    from safetensors import SafetensorError, safe_open

    if path.stat().st_size > most:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {most}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json.loads((file.metadata() or {}).get(key, "null"))
            return header, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, json.JSONDecodeError) as error:
        raise InputError(f"{path}: not {what} ({error})") from error
