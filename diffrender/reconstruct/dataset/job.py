"""What a run over a data set does to every frame, and the fingerprint that tells two runs apart."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from diffrender._files import readable
from diffrender._onnx import files_of
from diffrender.datasets import KittiObject
from diffrender.errors import InputError
from diffrender.evaluate import read_split
from diffrender.reconstruct.input_depth import DepthChoice
from diffrender.reconstruct.inputs import MaskChoice
from diffrender.reconstruct.result_json import to_plain
from diffrender.reconstruct.settings import ReconstructSettings
from diffrender.reconstruct.starting import StartChoice

__all__ = ["DatasetJob", "FrameChoice", "choose_frames", "describe", "differences", "fingerprint"]


@dataclass(frozen=True)
class DatasetJob:
    """Everything that decides what comes out of a frame.

    Attributes:
        root: folder in the KITTI object layout; on a cluster, seen under this path everywhere.
        folder: "training" or "testing" in it.
        depth, masks: where depth and instances come from.
        prior: name or file of the shape prior.
        settings: of the reconstruction.
        start: where first hypotheses come from, None for box fits.
        device: "cpu" or "cuda".
        seed: kept with the results.
        threads: of torch within a frame. Sums may be ordered otherwise with another number, so
            it belongs to the job; more frames at a time use cores better.
    """

    root: str
    folder: str = "training"
    depth: DepthChoice = field(default_factory=DepthChoice)
    masks: MaskChoice = field(default_factory=MaskChoice)
    prior: str = "by-class"
    settings: ReconstructSettings = field(default_factory=ReconstructSettings)
    start: StartChoice | None = None
    device: str = "cpu"
    seed: int = 0
    threads: int = 1

    def __post_init__(self) -> None:
        if self.threads < 1:
            raise InputError(f"threads is {self.threads}, expected at least 1")


@dataclass(frozen=True)
class FrameChoice:
    """Attributes:
    split: how the list was named.
    folder: "training" or "testing".
    names: frames to reconstruct, in the list's order.
    absent: frames of the list that have no image here.
    """

    split: str
    folder: str
    names: tuple[str, ...]
    absent: tuple[str, ...] = ()


def choose_frames(root: str | Path, split: str) -> FrameChoice:
    """The frames of a split: a list file, a list's name, or a folder of ROOT.

    A file holds one frame name a line; a name is looked for as ROOT/ImageSets/NAME.txt and
    ROOT/NAME.txt. Lists are of the folder training, one called "test" of testing. A folder such
    as "training" gives all frames that have an image.

    Raises:
        InputError: no such list or folder, a bad line, or no frame of it has an image here.
    """
    root = Path(root)
    if (root / split / "image_2").is_dir():
        return FrameChoice(split, split, tuple(KittiObject(root, split=split).names))
    file = Path(split)
    folder = "testing" if file.stem == "test" else "training"
    frames = KittiObject(root, split=folder)
    if file.is_file():
        listed = read_split(file)
    elif file.suffix or len(file.parts) > 1:
        raise InputError(
            f"--split {split} does not exist, expected a file with one frame name a line, a list's "
            "name such as val, or a folder such as training"
        )
    else:
        listed = frames.split_list(split)
    here = set(frames.names)
    names = tuple(name for name in listed if name in here)
    if not names:
        raise InputError(
            f"none of the {len(listed)} frames of {split} has an image in {frames.folder}"
        )
    return FrameChoice(split, folder, names, tuple(name for name in listed if name not in here))


def describe(job: DatasetJob) -> dict[str, Any]:
    """The job as plain values, with the digest of every file of weights in place of its age."""
    from importlib.metadata import version

    plain: dict[str, Any] = to_plain(job)
    plain["root"] = str(Path(job.root).resolve())
    plain["diffrender"] = version("diffrender")
    for part, given in (("depth", job.depth.source), ("masks", job.masks.source)):
        if given is not None:
            plain[part]["source"] = readable(_whole_path(given, Path(job.root) / job.folder))
    start = None if job.start is None else job.start.weights
    files = {
        "depth": job.depth.weights, "masks": job.masks.weights, "prior": job.prior, "start": start
    }  # fmt: skip
    if not Path(job.prior).is_file():  # a folder that happens to be called "car" is none
        files["prior"] = None
    for what, name in list(files.items()):
        if name and Path(name).suffix.lower() == ".onnx":  # settings and weights may lie beside it
            beside = files_of(Path(name))[1:]
            files.update({f"{what} {_beside(one)}": str(one) for one in beside})
    plain["files"] = {what: _digest(Path(p)) for what, p in files.items() if p and Path(p).exists()}
    return plain


def _beside(file: Path) -> str:
    """What a file beside a network is called in a description: settings, or weights by name."""
    return "settings" if file.suffix == ".json" else file.name


def _whole_path(source: str, folder: Path) -> str:
    """Names and what the split holds as given; else a path that no working folder changes."""
    from diffrender.depth import list_depth

    named = source in (*list_depth(), "lidar", "none") or (folder / source).exists()
    return source if named or not Path(source).exists() else str(Path(source).resolve())


def fingerprint(description: Mapping[str, Any]) -> str:
    """SHA-256 of a description, hexadecimal."""
    text = json.dumps(description, sort_keys=True, allow_nan=False, separators=(",", ":"))
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """What differs between two descriptions, as "depth.source: 'none', now 'lidar'"."""
    old, new = dict(_flat(before)), dict(_flat(after))
    keys = sorted(old.keys() | new.keys())
    return [
        f"{key}: {old.get(key)!r}, now {new.get(key)!r}"
        for key in keys
        if old.get(key) != new.get(key)
    ]


def _flat(value: Any, prefix: str = "") -> list[tuple[str, Any]]:
    if isinstance(value, Mapping):
        items = [(str(key), item) for key, item in value.items()]
    elif isinstance(value, list) and value and isinstance(value[0], Mapping):
        items = [(str(number), item) for number, item in enumerate(value)]
    else:
        return [(prefix.removesuffix("."), value)]
    return [pair for key, item in items for pair in _flat(item, f"{prefix}{key}.")]


def _digest(path: Path) -> str:
    """SHA-256 of a file, or of the names and contents of a folder's files."""
    total = hashlib.sha256()
    for file in [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file()):
        if file != path:
            total.update(os.fsencode(file.relative_to(path)) + b"\0")
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                total.update(block)
    return total.hexdigest()
