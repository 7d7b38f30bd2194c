"""The road under a scene, for pictures: a plane through the camera's foot and the objects' feet."""

from __future__ import annotations

import statistics
from dataclasses import dataclass

import numpy as np

from diffrender.reconstruct.scene import Scene
from diffrender.reconstruct.surfaces import Y_UP, Surface
from diffrender.road import CAMERA_HEIGHT

__all__ = ["Ground", "ground_of", "ground_surface"]


@dataclass(frozen=True)
class Ground:
    """The plane y = height + slope z in the frame of the labels, and the part of it to draw.

    Attributes:
        height: of the camera above the plane at z = 0, metres (y points down).
        slope: metres of y per metre of z.
        extent: (x_min, x_max, z_min, z_max), metres.
    """

    height: float
    slope: float
    extent: tuple[float, float, float, float]

    def y(self, z: float) -> float:
        """Height of the plane (y down) at depth z."""
        return self.height + self.slope * z


def ground_of(scene: Scene) -> Ground:
    """Plane of a road whose slope is the median over the objects; flat without objects.

    The camera's height is that of the run's settings, where they are kept.
    """
    feet = [item.pose.location for item in scene.objects]
    height = float(scene.settings.get("camera_height", CAMERA_HEIGHT))
    slope = statistics.median([(y - height) / max(z, 1.0) for _, y, z in feet] or [0.0])
    xs, zs = [x for x, _, _ in feet], [z for _, _, z in feet]
    extent = (min([-6.0, *xs]) - 6, max([6.0, *xs]) + 6, 0.0, max([20.0, *zs]) + 10)
    return Ground(height, slope, extent)


def ground_surface(ground: Ground) -> Surface:
    """The drawn part of the plane as two triangles seen from above, y-up axes."""
    left, right, near, far = ground.extent
    corners = [(left, near), (right, near), (right, far), (left, far)]
    positions = np.array([(x, ground.y(z), z) for x, z in corners]) @ Y_UP.T
    up = np.array([0.0, 1.0, ground.slope]) / np.hypot(1.0, ground.slope)
    return Surface(
        positions=positions.astype(np.float32),
        normals=np.tile(up, (4, 1)).astype(np.float32),
        indices=np.array([[0, 1, 2], [0, 2, 3]], dtype=np.uint32),
    )
