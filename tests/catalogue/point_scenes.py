"""Small scenes of points, and a camera that looks at their middle."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import Light, Scene
from diffrender.catalogue.points._splats import Splats
from diffrender.catalogue.points._surface_points import SurfacePoints

__all__ = ["BACKGROUND", "SIZE", "camera", "from_middle", "points", "scene_of", "splats"]

SIZE = (9, 11)
BACKGROUND = [0.1, 0.2, 0.3]


def camera(dtype: torch.dtype = torch.float64) -> Camera:
    """At the origin, looking along z; the axis meets the middle of the middle pixel."""
    k = torch.tensor([[20.0, 0, 5.5], [0, 20, 4.5], [0, 0, 1]], dtype=dtype)
    return Camera(k, torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), SIZE)


def from_middle() -> Tensor:
    """(H, W, 2) offsets of pixel centres from the middle, pixels."""
    y, x = torch.meshgrid(torch.arange(9) - 4.0, torch.arange(11) - 5.0, indexing="ij")
    return torch.stack([x, y], dim=-1).double()


def scene_of(content: Splats | SurfacePoints) -> Scene:
    one = content.centres.new_ones(3)
    return Scene(content, Light(one, one, one), content.centres.new_tensor(BACKGROUND))


def splats(centres: list[list[float]], opacity: float = 0.6, tilt: float = 0.0) -> Scene:
    """Discs of deviations 0.2 and 0.1, the wide one along x, tilted about the vertical."""
    count = len(centres)
    wide, high = 0.2, 0.1
    rows = [[wide * math.cos(tilt), 0.0], [0.0, high], [wide * math.sin(tilt), 0.0]]
    axes = torch.tensor(rows, dtype=torch.float64)
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
    return scene_of(
        Splats(
            torch.tensor(centres, dtype=torch.float64),
            axes.expand(count, 3, 2),
            colours[:count],
            torch.full((count,), opacity, dtype=torch.float64),
        )
    )


def points(centres: list[list[float]], radius: float = 0.3, opacity: float = 1.0) -> Scene:
    count = len(centres)
    colours = torch.tensor([[1.0, 0, 0], [0, 1, 0], [0, 0, 1]]).double()
    return scene_of(
        SurfacePoints(
            torch.tensor(centres, dtype=torch.float64),
            torch.full((count,), radius, dtype=torch.float64),
            colours[:count],
            torch.full((count,), opacity, dtype=torch.float64),
        )
    )
