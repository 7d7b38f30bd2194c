"""Networks in .onnx files: a session of onnxruntime, and what a JSON file beside one says of it."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import torch

from diffrender._hub import first_line
from diffrender._networks import tuples
from diffrender._tensors import json_of
from diffrender.errors import InputError, require

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

__all__ = ["files_of", "open_session", "read_sidecar", "sidecar_of"]

_MAX_BYTES = 2 << 30
_Settings = TypeVar("_Settings", bound="DataclassInstance")


def open_session(path: Path, device: torch.device) -> Any:
    """An onnxruntime.InferenceSession over the file, with as many threads as torch.

    Raises:
        InputError: the file is too large or cannot be loaded, or the device cannot be used.
        MissingExtraError: onnxruntime is not installed.
    """
    runtime = require("onnxruntime", "onnx")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    options.intra_op_num_threads = torch.get_num_threads()
    providers = _providers(runtime, device)
    try:
        # By its path: weights may lie in another file beside it.
        return runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # onnxruntime raises a dozen unrelated types for a bad file
        raise InputError(f"{path}: onnxruntime cannot load it ({first_line(error)})") from error


def _providers(runtime: Any, device: torch.device) -> list[str]:
    if device.type == "cpu":
        return ["CPUExecutionProvider"]
    name = "CUDAExecutionProvider"
    if device.type != "cuda" or name not in runtime.get_available_providers():
        raise InputError(
            f"onnxruntime {runtime.__version__} cannot use device '{device}'; it offers "
            f"{', '.join(runtime.get_available_providers())} (onnxruntime-gpu brings CUDA)"
        )
    return [name, "CPUExecutionProvider"]


def files_of(path: Path) -> list[Path]:
    """The files there are of a network, one in the common case.

    Of NAME.onnx: itself, NAME.json, and its weights where they lie beside it under one of the names
    that exporters give, NAME.onnx.data, NAME.onnx_data or NAME.data. Of a folder: all in it.
    """
    if path.is_dir():
        return sorted(one for one in path.rglob("*") if one.is_file())
    files = [path, sidecar_of(path)]
    if path.suffix.lower() == ".onnx":
        beside = (f"{path.name}.data", f"{path.name}_data", f"{path.stem}.data")
        files += [path.with_name(name) for name in beside]
    return [one for one in files if one.is_file()]


def sidecar_of(path: Path) -> Path:
    """The NAME.json that may lie beside a NAME.onnx."""
    return path.with_suffix(".json")


def read_sidecar(
    path: Path, kind: type[_Settings], required: tuple[str, ...] = ()
) -> _Settings | None:
    """Settings of the dataclass `kind` from NAME.json beside NAME.onnx, None where there is none.

    Raises:
        InputError: the file is no JSON object of its fields, or lacks a `required` one.
    """
    sidecar = sidecar_of(path)
    if not sidecar.is_file():
        return None
    try:
        values = json_of(sidecar.read_text(encoding="utf-8"))
        if not isinstance(values, dict):
            raise TypeError("expected an object")
        unknown = set(values) - {f.name for f in fields(kind)}
        if unknown:
            raise TypeError(f"unknown keys {sorted(unknown)}")
        for name in required:
            if name not in values:
                raise TypeError(f"'{name}' is missing")
        return kind(**tuples(values))
    except (TypeError, ValueError) as error:
        raise InputError(f"{sidecar}: cannot be read as {kind.__name__} ({error})") from error
