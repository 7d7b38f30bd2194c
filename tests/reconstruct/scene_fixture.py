"""A small scene for the tests of the outputs: extruded cars with a texture that tells sides."""

from __future__ import annotations

import math
from typing import Any

import cv2
import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.instances import Instance, Rejected, box_of_mask
from diffrender.meshes import Mesh
from diffrender.reconstruct.scene import Pose, ReconstructedObject, Scene

# Side view of a car in the unit box: x forward, y down, front first, clockwise on the screen.
PROFILE = [
    (0.50, -0.15), (0.49, -0.45), (0.42, -0.55), (0.20, -0.62), (0.05, -0.97), (-0.22, -1.0),
    (-0.40, -0.68), (-0.49, -0.62), (-0.50, -0.18), (-0.42, 0.0), (0.42, 0.0),
]  # fmt: skip
CENTRE = (0.0, -0.45)


def car_mesh(size: tuple[float, float, float], body: tuple[float, float, float]) -> Mesh:
    """A closed extruded profile; u runs from the front to the rear, v from the roof down."""
    length, width, height = size
    count = len(PROFILE)
    flat = np.array([*PROFILE, CENTRE])
    vertices = np.concatenate(
        [np.concatenate([flat, np.full((count + 1, 1), side)], axis=1) for side in (-0.5, 0.5)]
    )
    faces = []
    for i in range(count):
        j, other = (i + 1) % count, count + 1
        faces += [(i, other + i, other + j), (i, other + j, j)]
        faces += [(count, i, j), (other + count, other + j, other + i)]
    triangles = torch.tensor(faces)
    points = torch.from_numpy(vertices * [length, height, width]).float()
    a, b, c = (points[triangles[:, k]].double() for k in range(3))
    if float((a * torch.linalg.cross(b, c)).sum()) < 0:
        triangles = triangles.flip(1)
    uv = torch.from_numpy(np.stack([0.5 - vertices[:, 0], 1 + vertices[:, 1]], axis=1)).float()
    return Mesh(points, triangles, uv=uv, face_uv=triangles, texture=_paint(body))


def _paint(body: tuple[float, float, float]) -> torch.Tensor:
    picture = np.full((64, 128, 3), np.array(body) * 255, dtype=np.uint8)
    window = np.array([[50, 5], [90, 5], [104, 20], [42, 22]], dtype=np.int32)
    cv2.fillPoly(picture, [window], (40, 48, 60))
    for x in (26, 102):
        cv2.circle(picture, (x, 56), 9, (20, 20, 20), -1)
    picture[30:42, :6] = (255, 240, 160)  # lamps: front yellow, rear red
    picture[26:40, -6:] = (220, 20, 20)
    return torch.from_numpy(picture).float() / 255


def silhouette_of(mesh: Mesh, pose: Pose, camera: Camera) -> np.ndarray:
    """Filled projection of every triangle; (H, W) bool."""
    rotation = pose.object_to_world_rotation
    world = mesh.vertices.double() @ rotation.mT + torch.tensor(pose.location, dtype=torch.float64)
    pixels, _ = camera.to(torch.float64).project(world)
    picture = np.zeros(camera.size, dtype=np.uint8)
    for face in mesh.faces.tolist():
        corners = np.rint(pixels[face].numpy() - 0.5).astype(np.int32)
        cv2.fillConvexPoly(picture, corners, 1)
    return picture.astype(bool)


def make_object(
    name: str, pose: Pose, camera: Camera, body: tuple[float, float, float], **changes: Any
) -> ReconstructedObject:
    mesh = car_mesh(pose.size, body)
    silhouette = silhouette_of(mesh, pose, camera)
    history = [
        {
            "silhouette": 0.6 * math.exp(-i / 20) + 0.05,
            "depth": 0.4 * math.exp(-i / 35) + 0.02,
            "size_prior": 0.01 + 0.0002 * i,
        }
        for i in range(60)
    ]
    history = [terms | {"total": sum(terms.values())} for terms in history]
    fields: dict[str, Any] = {
        "instance": Instance(silhouette, box_of_mask(silhouette), "Car", 0.9, name),
        "pose": pose,
        "mesh": mesh,
        "latent": (0.5, -1.25, 0.0),
        "confidence": 0.8125,
        "stop_reason": "converged",
        "losses": dict(history[-1]),
        "history": history,
        "silhouette": silhouette,
        "seconds": 0.25,
    }
    return ReconstructedObject(**(fields | changes))


def small_camera() -> Camera:
    """A 320 x 120 camera with an off-centre principal point and KITTI's small shift."""
    intrinsics = torch.tensor([[190.0, 0, 155], [0, 190, 50], [0, 0, 1]], dtype=torch.float64)
    return Camera.from_intrinsics(
        intrinsics,
        (120, 320),
        pixel_centres="half",
        translation=torch.tensor([0.06, 0.0, 0.003], dtype=torch.float64),
    )


def make_scene(names: tuple[str, str] = ("car 1", "car 2"), frame: str = "000114") -> Scene:
    """Two textured cars on a flat road, a depth map and one rejected instance."""
    camera = small_camera()
    height, width = camera.size
    poses = [
        Pose((-2.0, 1.65, 9.0), (3.9, 1.6, 1.5), -1.2),
        Pose((3.0, 1.65, 14.0), (4.2, 1.7, 1.6), 2.6, 0.03, -0.02),
    ]
    bodies = [(0.75, 0.15, 0.1), (0.15, 0.35, 0.75)]
    objects = [
        make_object(name, pose, camera, body)
        for name, pose, body in zip(names, poses, bodies, strict=True)
    ]
    rows = np.arange(height)[:, None] + 0.5
    with np.errstate(divide="ignore"):
        road = np.where(rows > 56, 190 * 1.65 / (rows - 50), 0)
    depth = np.broadcast_to(road, (height, width)).astype(np.float32).copy()
    image = np.zeros((height, width, 3), dtype=np.uint8)
    image[:50] = (150, 180, 220)
    image[50:] = (110, 110, 105)
    for item, body in zip(objects, bodies, strict=True):
        image[item.silhouette] = np.array(body) * 255
        depth[item.silhouette] = item.pose.location[2] - 1
    return Scene(
        name=frame,
        image=image,
        camera=camera,
        objects=objects,
        rejected=[Rejected("car 3", "Car", "the mask has 4 pixels, expected at least 40")],
        depth=depth,
        depth_source="lidar",
        settings={"iterations": 60, "lr": 0.02},
        timings={"load": 0.1, "optimize": 1.5},
        versions={"diffrender": "0.1.0"},
        seed=7,
    )
