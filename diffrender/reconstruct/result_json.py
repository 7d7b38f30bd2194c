"""The record of a run as strict JSON; docs/outputs.md describes the schema."""

from __future__ import annotations

import dataclasses
import enum
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from diffrender._files import readable
from diffrender.cameras import Camera
from diffrender.reconstruct.scene import ReconstructedObject, Scene

__all__ = ["SCHEMA", "camera_record", "object_record", "pose_record", "result_json", "to_plain"]

SCHEMA = 1


def result_json(scene: Scene, files: Mapping[str, Any] | None = None) -> str:
    """The text of result.json: UTF-8 text of strict JSON, NaN and infinities as null.

    `files` maps "scene", "kitti", "overlay", ... and "objects" (a list in the objects' order) to
    paths relative to the folder.
    """
    listed = dict(files or {})
    per_object = listed.pop("objects", [{}] * len(scene.objects))
    record = {
        "schema": SCHEMA,
        "generator": "diffrender",
        "frame": scene.name,
        "units": {"length": "metre", "angle": "radian", "time": "second"},
        "camera": camera_record(scene.camera),
        "depth_source": scene.depth_source,
        "objects": [
            object_record(item) | {"files": own}
            for item, own in zip(scene.objects, per_object, strict=True)
        ],
        "road": None if scene.road is None else dataclasses.asdict(scene.road),
        "rejected": [item._asdict() for item in scene.rejected],
        "seed": scene.seed,
        "settings": scene.settings,
        "timings": scene.timings,
        "versions": scene.versions,
        "files": listed,
    }
    if scene.calibration:
        record["calibration"] = scene.calibration
    return json.dumps(to_plain(record), indent=1, allow_nan=False, ensure_ascii=False) + "\n"


def camera_record(camera: Camera) -> dict[str, Any]:
    """K (corner-based pixels), pose, image size, and a lens's coefficients where there is one."""
    record = {
        "intrinsics": to_plain(camera.intrinsics),
        "world_to_camera_rotation": to_plain(camera.rotation),
        "world_to_camera_translation": to_plain(camera.translation),
        "height": camera.size[0],
        "width": camera.size[1],
        "pixel_centres": "half",
    }
    if camera.distortion is not None:
        record["distortion"] = to_plain(camera.distortion)
    return record


def pose_record(item: ReconstructedObject) -> dict[str, Any]:
    """Pose and size in the frame of the labels (x right, y down, z forward)."""
    pose = item.pose
    return {
        "location": list(pose.location),
        "centre": list(pose.centre),
        "size": list(pose.size),
        "yaw": pose.yaw,
        "pitch": pose.pitch,
        "roll": pose.roll,
        "alpha": pose.alpha,
        "object_to_world_rotation": to_plain(pose.object_to_world_rotation),
    }


def object_record(item: ReconstructedObject) -> dict[str, Any]:
    """Everything about one object but its geometry."""
    return {
        "name": item.name,
        "category": item.category,
        "score": item.instance.score,
        "box_2d": list(item.instance.box),
        "pose": pose_record(item),
        "latent": list(item.latent),
        "confidence": item.confidence,
        "stop_reason": item.stop_reason,
        "losses": item.losses,
        "history": item.history,
        "seconds": item.seconds,
        "mesh": {"vertices": len(item.mesh.vertices), "faces": len(item.mesh.faces)},
    }


def to_plain(value: Any) -> Any:
    """Plain JSON values of nested records, arrays and tensors.

    NaN and infinities become None; a type that JSON does not know becomes its text, and text is
    made readable (lone surrogates become U+FFFD).
    """
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return readable(str(value))
    if isinstance(value, int) and not isinstance(value, enum.Enum):
        return int(value)
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {readable(str(key)): to_plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        ordered = sorted(value, key=str) if isinstance(value, set | frozenset) else value
        return [to_plain(item) for item in ordered]
    if isinstance(value, torch.Tensor):
        return to_plain(value.detach().cpu().tolist())
    if isinstance(value, np.ndarray | np.generic):
        return to_plain(value.tolist())
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: to_plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    return readable(str(value))
