"""Shape priors on disk (safetensors with a JSON header) and the registry of shipped ones."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffrender._files import write_bytes_atomic
from diffrender._registry import find_named
from diffrender._tensors import json_of
from diffrender.errors import InputError
from diffrender.shape_priors.free_form import free_prior
from diffrender.shape_priors.mesh_files import check_solid
from diffrender.shape_priors.neural import NeuralPrior
from diffrender.shape_priors.neural_files import (
    PARTS,
    neural_header,
    neural_tensors,
    read_networks,
)
from diffrender.shape_priors.prior import ShapePrior

__all__ = ["list_priors", "load_prior", "prior_path", "save_prior"]

FORMAT, VERSION = "diffrender-shape-prior", 1
_LARGEST_FILE = 64 * 2**20  # bytes
_FLOATS = ("mean", "basis", "size_mean", "size_sigma")
_INTEGERS = ("faces", "face_parts")
_OPTIONAL = ("uv", "face_uv")
_SHIPPED = {
    name: f"{name}.safetensors" for name in ("car", "car-autoencoder", "cyclist", "pedestrian")
}
_MADE = {"free": free_prior}
_WHOLE = ("row_offsets", "column_indices", "texture.source")
_NETWORKS = ("mirror", *(f"{part}." for part in PARTS))


def list_priors() -> list[str]:
    """Names of the shipped priors, for `load_prior`."""
    return sorted([*_SHIPPED, *_MADE])


def prior_path(name: str) -> Path:
    """File of a prior that ships as one. Raises InputError for another name."""
    return Path(__file__).parent / "assets" / find_named("shape prior", name, _SHIPPED)


def load_prior(name_or_path: str | Path) -> ShapePrior:
    """A shipped prior by name, or a user's own from a .safetensors file.

    Shipped are "car" (principal components), "car-autoencoder" (a NeuralPrior), "pedestrian",
    "cyclist", and "free", which knows no class.

    Raises:
        InputError: no such prior or file, or a file that is not a sound prior (said is what).
    """
    if isinstance(name_or_path, str) and name_or_path in _SHIPPED:
        return _read(prior_path(name_or_path))
    if isinstance(name_or_path, str) and name_or_path in _MADE:
        return _MADE[name_or_path]()
    path = Path(name_or_path)
    if not path.is_file():
        raise InputError(
            f"no shape prior {str(name_or_path)!r}: expected one of {', '.join(list_priors())} "
            "or the path of a .safetensors file written by save_prior"
        )
    return _read(path)


def save_prior(prior: ShapePrior, path: str | Path) -> Path:
    """Write a prior as safetensors, whole or not at all; missing folders are made.

    Returns the path.
    """
    from safetensors.torch import save

    tensors: dict[str, Tensor] = {}
    for field in _FLOATS + _INTEGERS + _OPTIONAL:
        value = getattr(prior, field)
        if value is not None:
            kind = torch.float32 if value.is_floating_point() else torch.int32
            tensors[field] = value.detach().to("cpu", kind).contiguous()
    header = {
        "format": FORMAT,
        "version": VERSION,
        "name": prior.name,
        "licence": prior.licence,
        "part_names": list(prior.part_names),
        "explained": [round(share, 6) for share in prior.explained],
    }
    metadata = {"prior": json.dumps(header, sort_keys=True)}
    if isinstance(prior, NeuralPrior):
        tensors |= neural_tensors(prior)
        metadata["networks"] = neural_header(prior)
    return write_bytes_atomic(path, save(tensors, metadata))


@dataclass(frozen=True)
class _Header:
    name: str
    licence: str
    part_names: tuple[str, ...]
    explained: tuple[float, ...]


def _read(path: Path) -> ShapePrior:
    from safetensors import SafetensorError, safe_open

    size = path.stat().st_size
    if size > _LARGEST_FILE:
        raise InputError(f"{path}: {size} bytes, expected a prior of at most {_LARGEST_FILE}")
    tensors: dict[str, Tensor] = {}
    try:
        with safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            header = _header(path, metadata.get("prior"))
            for field in file.keys():  # noqa: SIM118 (not a dict)
                tensors[field] = file.get_tensor(field)
    except SafetensorError as error:
        raise InputError(f"{path}: not a readable safetensors file ({error})") from error
    networks = {n: tensors.pop(n) for n in list(tensors) if _of_networks(n, metadata)}
    missing = [field for field in _FLOATS + _INTEGERS if field not in tensors]
    unknown = sorted(set(tensors) - {*_FLOATS, *_INTEGERS, *_OPTIONAL})
    if missing or unknown:
        raise InputError(f"{path}: tensors missing: {missing or 'none'}; unknown: {unknown}")
    for field, value in {**tensors, **networks}.items():
        whole = field in (*_INTEGERS, "face_uv", "mirror") or field.endswith(_WHOLE)
        if value.dtype != (torch.int32 if whole else torch.float32):
            raise InputError(f"{path}: tensor '{field}' has an unexpected dtype {value.dtype}")
        if not whole and not bool(torch.isfinite(value).all()):
            raise InputError(f"{path}: tensor '{field}' holds values that are not finite")
    loaded = {n: t if t.is_floating_point() else t.long() for n, t in tensors.items()}
    if not bool((loaded["size_mean"] > 0).all() and (loaded["size_sigma"] > 0).all()):
        raise InputError(f"{path}: size_mean and size_sigma must be positive")
    try:
        base = ShapePrior(
            mean=loaded["mean"],
            basis=loaded["basis"],
            faces=loaded["faces"],
            face_parts=loaded["face_parts"],
            size_mean=loaded["size_mean"],
            size_sigma=loaded["size_sigma"],
            part_names=header.part_names,
            name=header.name,
            licence=header.licence,
            uv=loaded.get("uv"),
            face_uv=loaded.get("face_uv"),
            explained=header.explained,
        )
        check_solid("mean", base.mean)
        if "networks" in metadata:
            return read_networks(base, metadata["networks"], networks)
        return base
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _of_networks(name: str, metadata: dict[str, str]) -> bool:
    return "networks" in metadata and name.startswith(_NETWORKS)


def _header(path: Path, text: str | None) -> _Header:
    if text is None:
        raise InputError(f"{path}: a safetensors file, but not a shape prior (no 'prior' header)")
    try:
        raw = json_of(text)
    except ValueError as error:
        raise InputError(f"{path}: the header is not JSON ({error})") from error
    kinds = {
        "format": str,
        "version": int,
        "name": str,
        "licence": str,
        "part_names": list,
        "explained": list,
    }
    if not isinstance(raw, dict) or set(raw) != set(kinds):
        raise InputError(f"{path}: the header must hold exactly {', '.join(kinds)}")
    for field, kind in kinds.items():
        if not isinstance(raw[field], kind):
            raise InputError(f"{path}: header field '{field}' is not a {kind.__name__}")
    if raw["format"] != FORMAT or raw["version"] != VERSION:
        raise InputError(
            f"{path}: format {raw['format']} version {raw['version']}, "
            f"expected {FORMAT} version {VERSION}"
        )
    if not all(isinstance(part, str) for part in raw["part_names"]):
        raise InputError(f"{path}: header field 'part_names' must list names")
    if not all(isinstance(share, float | int) for share in raw["explained"]):
        raise InputError(f"{path}: header field 'explained' must list numbers")
    return _Header(
        raw["name"],
        raw["licence"],
        tuple(raw["part_names"]),
        tuple(float(share) for share in raw["explained"]),
    )
