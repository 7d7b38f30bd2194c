"""The exact truth of each synthetic car: pose, masks, occlusion, truncation, KITTI row."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.datasets.kitti_labels import KittiLabel
from diffrender.datasets.synthetic_cars import PlacedCar
from diffrender.datasets.synthetic_render import RoadToLabel
from diffrender.instances.png import row_name
from diffrender.instances.record import box_of_mask
from diffrender.meshes import Mesh
from diffrender.raster import rasterize
from diffrender.reconstruct.scene import Pose

__all__ = ["SyntheticCar", "car_truth"]


@dataclass(frozen=True, eq=False)
class SyntheticCar:
    """One car of a synthetic frame.

    Attributes:
        name: as the loader names the row of the label file.
        category: "Car" or "Van".
        kind: body style of the procedural family.
        pose: in the frame of the labels, with the road's pitch and roll.
        mesh: metric mesh in the object frame.
        mask: (H, W) bool, the visible pixels.
        whole: (H, W) bool, the pixels it would cover with nothing before it.
        visible: share of `whole` that is visible, 0 to 1.
        truncated: share of the car's full silhouette that lies outside the image, 0 to 1.
        label: KITTI row; its 2D box bounds `whole`; pitch and roll have no column there.
    """

    name: str
    category: str
    kind: str
    pose: Pose
    mesh: Mesh
    mask: np.ndarray  # (H, W)
    whole: np.ndarray  # (H, W)
    visible: float
    truncated: float
    label: KittiLabel


def _silhouette(mesh: Mesh, camera: Camera) -> tuple[np.ndarray, float]:
    """Pixels that the car alone covers in the image, and the share of it outside."""
    pixels, _ = camera.project(mesh.vertices)
    low = torch.floor(pixels.min(0).values).long() - 1
    high = torch.ceil(pixels.max(0).values).long() + 1
    left, top = int(low[0]), int(low[1])
    window = (int(high[1]) - top, int(high[0]) - left)
    alone = rasterize(mesh, camera.crop(float(left), float(top), window)).face[..., 0].numpy() >= 0
    height, width = camera.size
    whole = np.zeros(camera.size, bool)
    row0, row1 = max(top, 0), min(top + window[0], height)
    column0, column1 = max(left, 0), min(left + window[1], width)
    if row0 < row1 and column0 < column1:
        part = alone[row0 - top : row1 - top, column0 - left : column1 - left]
        whole[row0:row1, column0:column1] = part
    total = int(alone.sum())
    return whole, 1 - int(whole.sum()) / total if total else 1.0


def _pose(car: PlacedCar, to_label: RoadToLabel) -> Pose:
    rotation = to_label.rotation @ car.rotation
    forward = rotation[:, 0]
    x, y, z = to_label(car.foot).tolist()
    return Pose(
        (x, y, z),
        car.size,
        yaw=float(np.arctan2(-forward[2], forward[0])),
        pitch=float(np.arcsin(np.clip(forward[1], -1, 1))),
        roll=float(np.arctan2(-rotation[1, 2], rotation[1, 1])),
    )


def _occlusion_level(visible: float) -> int:
    """KITTI's levels as shares: 0 above 90 % visible, 1 above half, 2 above none, 3 hidden."""
    if visible > 0.9:
        return 0
    return 1 if visible > 0.5 else 2 if visible > 0 else 3


def car_truth(
    cars: list[PlacedCar],
    owner: np.ndarray,  # (H, W)
    camera: Camera,
    to_label: RoadToLabel,
) -> list[SyntheticCar]:
    """Truth of the cars that reach into the image; the others are scenery outside it.

    `owner` holds the index of the car that each pixel shows, -1 for none.
    """
    found: list[SyntheticCar] = []
    for number, car in enumerate(cars):
        pose = _pose(car, to_label)
        rotation = pose.object_to_world_rotation.float()
        placed = car.mesh.transformed(rotation, torch.tensor(pose.location, dtype=torch.float32))
        whole, outside = _silhouette(placed, camera)
        if not whole.any():
            continue
        mask = owner == number
        visible = min(float(mask.sum()) / float(whole.sum()), 1.0)
        left, top, right, bottom = box_of_mask(whole)
        label = KittiLabel(
            type=car.category,
            truncated=round(outside, 2),
            occluded=_occlusion_level(visible),
            alpha=pose.alpha,
            # KITTI counts from pixel centres and keeps its boxes on the image's pixels
            box=(
                max(left - 0.5, 0.0),
                max(top - 0.5, 0.0),
                min(right - 0.5, camera.size[1] - 1.0),
                min(bottom - 0.5, camera.size[0] - 1.0),
            ),
            height=pose.size[2],
            width=pose.size[1],
            length=pose.size[0],
            location=pose.location,
            rotation_y=pose.yaw,
        )
        found.append(
            SyntheticCar(
                row_name(label, len(found) + 1),
                car.category,
                car.kind,
                pose,
                car.mesh,
                mask,
                whole,
                visible,
                outside,
                label,
            )
        )
    return found
