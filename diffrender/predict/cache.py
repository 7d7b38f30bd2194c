"""Frames to samples on disk: shards that are made once, each whole or absent, and never again.

A frame gives image, camera, masks and depth. Its labels, if it has any, are not asked for.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
import torch

from diffrender._files import write_bytes_atomic
from diffrender._tensors import json_of
from diffrender._training import is_late
from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance
from diffrender.predict.samples import Samples
from diffrender.reconstruct.classes import CLASS_SIZES, ClassSize
from diffrender.reconstruct.crops import crop_evidence
from diffrender.reconstruct.observations import DepthNoise, observe
from diffrender.road import CAMERA_HEIGHT

__all__ = [
    "Frame",
    "FrameSource",
    "SampleSettings",
    "left_out",
    "load_samples",
    "prepare",
    "samples_of",
]

_KEY = "diffrender.samples"
_MAX_BYTES = 1 << 30


@dataclass(frozen=True)
class Frame:
    """One picture and what a detector and a depth network say of it.

    Attributes:
        name: of the frame.
        image: (H, W, 3) uint8 RGB.
        camera: of that image; its world frame is KITTI's rectified camera frame.
        instances: masks with classes.
        depth: (H, W) metres, 0 = unknown, or None.
        noise: what to believe of the depth.
        camera_height: metres above the road.
    """

    name: str
    image: np.ndarray  # (H, W, 3)
    camera: Camera
    instances: list[Instance]
    depth: np.ndarray | None  # (H, W)
    noise: DepthNoise
    camera_height: float = CAMERA_HEIGHT


class FrameSource(Protocol):
    """Frames by position; `description` says what they are, so that a cache is not mixed up."""

    @property
    def description(self) -> str: ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Frame: ...


@dataclass(frozen=True)
class SampleSettings:
    """Attributes:
    size: side of the windows, pixels.
    class_sizes: mean and spread of the sizes of every class that is learned.
    frames_per_file: of a shard.
    """

    size: int = 48
    class_sizes: Mapping[str, ClassSize] = field(default_factory=lambda: dict(CLASS_SIZES))
    frames_per_file: int = 8


def samples_of(frame: Frame, settings: SampleSettings) -> tuple[Samples | None, list[str]]:
    """The usable objects of a frame, or None; and why others were left out, "name: reason"."""
    refused = []
    usable = []
    for one in frame.instances:
        if one.category in settings.class_sizes:
            usable.append(one)
        else:
            refused.append(f"{frame.name} {one.name}: class {one.category!r} is not learned")
    if frame.camera.distortion is not None:
        raise InputError("its camera's lens distorts, rectify the image first")
    if not torch.allclose(frame.camera.rotation, torch.eye(3).to(frame.camera.rotation)):
        raise InputError("its camera is turned in the frame of the labels, expected KITTI's frame")
    found, unusable = observe(usable, frame.instances, frame.camera, frame.depth)
    refused += [f"{frame.name} {one.name}: {reason}" for one, reason in unusable]
    if not found:
        return None, refused
    sizes = [settings.class_sizes[o.instance.category] for o in found]
    classes = (torch.tensor([s.mean for s in sizes]), torch.tensor([s.sigma for s in sizes]))
    side = (settings.size, settings.size)
    crops = crop_evidence(found, frame.image, frame.depth, frame.camera, frame.noise, side, classes)
    height = torch.full((len(found),), frame.camera_height)
    return Samples(crops.evidence, crops.camera.expand(len(found)), height), refused


def prepare(
    source: FrameSource,
    folder: Path,
    settings: SampleSettings,
    *,
    share: tuple[int, int] = (0, 1),
    until: float | None = None,
) -> bool:
    """Write the shards that the folder does not hold yet; True when all of this share are there.

    Args:
        share: (rank, processes): every process makes its own shards.
        until: `time.monotonic()` after which no new shard is begun.

    A frame that cannot be used is noted in its shard with the reason and stops nothing.

    Raises:
        InputError: no frames, or the folder holds samples of another source or of other settings.
    """
    from safetensors.torch import save

    if len(source) < 1:
        raise InputError(f"{source.description}: no frames, expected at least one")
    stamp = _stamp(source, settings)
    paths = _paths(source, folder, settings)
    for number, path in enumerate(paths):
        if number % share[1] != share[0]:
            continue
        if path.is_file():
            _header(path, stamp)
            continue
        if is_late(until):
            return False
        first = number * settings.frames_per_file
        parts, refused = [], []
        for index in range(first, min(first + settings.frames_per_file, len(source))):
            try:
                samples, why = samples_of(source[index], settings)
            except (InputError, OSError) as error:
                refused.append(f"frame {index}: {error}")
                continue
            refused += why
            if samples is not None:
                parts.append(samples)
        tensors = Samples.join(parts).to_tensors() if parts else {"none": torch.zeros(1)}
        header = {"stamp": stamp, "refused": refused}
        write_bytes_atomic(path, save(tensors, metadata={_KEY: json.dumps(header)}))
    return True


def load_samples(source: FrameSource, folder: Path, settings: SampleSettings) -> list[Samples]:
    """The samples of every shard, in order; a list, so that shards can be set aside whole.

    Raises:
        InputError: a shard is absent, broken or of another source, or none holds an object.
    """
    from safetensors import SafetensorError, safe_open

    stamp = _stamp(source, settings)
    shards, refused = [], []
    for path in _paths(source, folder, settings):
        refused += _header(path, stamp)
        try:
            with safe_open(path, framework="pt") as file:
                stored = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except SafetensorError as error:
            raise InputError(f"{path}: not a readable safetensors file ({error})") from error
        if "none" not in stored:
            try:
                samples = Samples.from_tensors(stored)
            except InputError as error:
                raise InputError(f"{path}: not samples of this package ({error})") from error
            if samples.windows.size != (settings.size, settings.size):
                raise InputError(
                    f"{path}: windows of {samples.windows.size} pixels, expected {settings.size} a "
                    "side"
                )
            shards.append(samples)
    if not shards:
        reasons = "; ".join(refused[:3]) or "the frames have no instances"
        raise InputError(f"{source.description}: no object can be learned from ({reasons})")
    return shards


def left_out(source: FrameSource, folder: Path, settings: SampleSettings) -> list[str]:
    """Frames and objects that prepared samples do not hold, each with the reason.

    Raises:
        InputError: a shard is absent, broken or of another source.
    """
    stamp = _stamp(source, settings)
    return [why for path in _paths(source, folder, settings) for why in _header(path, stamp)]


def _paths(source: FrameSource, folder: Path, settings: SampleSettings) -> list[Path]:
    count = -(-len(source) // settings.frames_per_file)
    return [folder / f"samples_{number:05d}.safetensors" for number in range(count)]


def _stamp(source: FrameSource, settings: SampleSettings) -> str:
    plain = dataclasses.asdict(settings)
    return json.dumps([source.description, len(source), plain], sort_keys=True)


def _header(path: Path, stamp: str) -> list[str]:
    """Reasons for what was left out, after the check that the shard is of these samples."""
    from safetensors import SafetensorError, safe_open

    if not path.is_file():
        raise InputError(f"{path} is not there: prepare the samples first")
    if path.stat().st_size > _MAX_BYTES:
        raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {_MAX_BYTES}")
    try:
        with safe_open(path, framework="pt") as file:
            header = json_of((file.metadata() or {}).get(_KEY, "null"))
    except (SafetensorError, ValueError) as error:
        raise InputError(f"{path}: not a readable sample file ({error})") from error
    sound = isinstance(header, dict) and set(header) == {"stamp", "refused"}
    if not sound or not isinstance(header["refused"], list):
        raise InputError(f"{path}: a safetensors file, but not samples of this package")
    if header["stamp"] != stamp:
        raise InputError(
            f"{path} holds samples of other frames or settings: {str(header['stamp'])[:300]}; "
            "name another folder, or delete this one"
        )
    return [str(reason) for reason in header["refused"]]
