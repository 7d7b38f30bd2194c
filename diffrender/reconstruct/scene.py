"""What a reconstruction returns: objects with their poses, and the ones that were refused."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.instances import Instance, Rejected
from diffrender.meshes import Mesh
from diffrender.reconstruct.confidence import Agreement
from diffrender.road import Road
from diffrender.rotations import euler_to_matrix, yaw_to_alpha

__all__ = ["Pose", "ReconstructedObject", "Scene"]


@dataclass(frozen=True)
class Pose:
    """Pose and metric size of an object in the frame of the labels (KITTI camera 0, rectified).

    Attributes:
        location: (x, y, z) of the centre of the bottom face, metres.
        size: (length, width, height), metres.
        yaw: KITTI rotation_y, radians; pitch and roll follow `rotations.euler_to_matrix`.
    """

    location: tuple[float, float, float]
    size: tuple[float, float, float]
    yaw: float
    pitch: float = 0.0
    roll: float = 0.0

    @property
    def object_to_world_rotation(self) -> torch.Tensor:
        """(3, 3) rotation from the object frame to the frame of the labels."""
        angles = torch.tensor([self.yaw, self.pitch, self.roll], dtype=torch.float64)
        return euler_to_matrix(*angles)

    @property
    def centre(self) -> tuple[float, float, float]:
        """Centre of the box, metres."""
        up = self.object_to_world_rotation @ torch.tensor(
            [0.0, -self.size[2] / 2, 0.0], dtype=torch.float64
        )
        x, y, z = (torch.tensor(self.location, dtype=torch.float64) + up).tolist()
        return (x, y, z)

    @property
    def alpha(self) -> float:
        """KITTI observation angle, radians."""
        location = torch.tensor(self.location, dtype=torch.float64)
        return float(yaw_to_alpha(torch.tensor(self.yaw, dtype=torch.float64), location))

    def corners(self) -> np.ndarray:
        """The box's 8 corners, metres, (8, 3): bottom face first, then the top in that order."""
        length, width, height = self.size
        x = np.array([1, 1, -1, -1, 1, 1, -1, -1]) * length / 2
        y = np.array([0, 0, 0, 0, -1, -1, -1, -1]) * height
        z = np.array([1, -1, -1, 1, 1, -1, -1, 1]) * width / 2
        rotation = self.object_to_world_rotation.numpy()
        return np.stack([x, y, z], axis=-1) @ rotation.T + np.asarray(self.location)


@dataclass(frozen=True)
class ReconstructedObject:
    """One object: canonical textured mesh, pose, and how the fit went.

    Attributes:
        instance: the 2D evidence it came from.
        pose: pose and size in the frame of the labels.
        mesh: metric mesh in the object frame (x forward, y down, origin at the bottom's centre).
        latent: (D,) shape code of the prior.
        confidence: calibrated chance that the 3D IoU is at least 0.7, times the 2D score.
        stop_reason: why the optimizer stopped.
        losses: final value of every named term, and "total".
        history: one dict per recorded iteration, of the same names but "heading" and "traffic",
            which choose between descents and are no part of them; nor of its "total".
        silhouette: (H, W) bool, the rendered object in the full image.
        seconds: time spent on the object's share of the batch.
        agreement: what the confidence was worked out from.
    """

    instance: Instance
    pose: Pose
    mesh: Mesh
    latent: tuple[float, ...]
    confidence: float
    stop_reason: str
    losses: dict[str, float]
    history: list[dict[str, float]]
    silhouette: np.ndarray  # (H, W)
    seconds: float
    agreement: Agreement | None = None

    @property
    def name(self) -> str:
        return self.instance.name

    @property
    def category(self) -> str:
        return self.instance.category

    @property
    def centre(self) -> tuple[float, float, float]:
        """Centre of the box in the frame of the labels, metres."""
        return self.pose.centre

    @property
    def size(self) -> tuple[float, float, float]:
        """(length, width, height), metres."""
        return self.pose.size

    @property
    def yaw(self) -> float:
        """KITTI rotation_y, radians."""
        return self.pose.yaw


@dataclass(frozen=True)
class Scene:
    """Everything found in one image.

    Attributes:
        name: frame name such as "000114"; names the KITTI file.
        image: (H, W, 3) uint8 RGB.
        camera: the camera of the image.
        depth: (H, W) float32 metres used as supervision, 0 = unknown, or None.
        depth_source: "lidar", a network's name or a file name.
        objects, rejected: the outcome per instance.
        settings: the resolved settings as plain values.
        timings: seconds per stage.
        versions: package versions.
        seed: of every random draw.
        calibration: what a guessed focal length means for the poses (see `focal`); {} where the
            camera is from a calibration.
        road: what the objects stood on before they agreed on its slope; None: anywhere.
    """

    name: str
    image: np.ndarray  # (H, W, 3)
    camera: Camera
    objects: list[ReconstructedObject]
    rejected: list[Rejected] = field(default_factory=list)
    depth: np.ndarray | None = None  # (H, W)
    depth_source: str = "none"
    settings: dict[str, Any] = field(default_factory=dict)
    timings: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    seed: int = 0
    calibration: dict[str, Any] = field(default_factory=dict)
    road: Road | None = None

    def save(self, folder: str | Path) -> list[Path]:
        """Write scene.glb, per-object GLB and OBJ, NAME.txt, result.json, overlay.png, bev.png
        and report.html into `folder`; each is written to a temporary name and moved.

        Returns:
            The paths written, in that order.
        """
        from diffrender.reconstruct.export import save_scene

        return save_scene(self, Path(folder))
