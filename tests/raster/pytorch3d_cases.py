"""A pair of cameras, and PyTorch3D's projection by the formulas of its notes."""

from __future__ import annotations

import torch
from raster_scenes import DOUBLE, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.raster import pytorch3d as bridge
from diffrender.rotations import yaw_to_matrix


def posed(batch: int = 2) -> Camera:
    k = torch.tensor([[70.0, 0, 33.5], [0, 80.0, 19.25], [0, 0, 1]], dtype=DOUBLE)
    angles = torch.linspace(-0.3, 0.4, batch, dtype=DOUBLE)
    shifts = weights(torch.Size((batch, 3))) + torch.tensor([0.0, 0.0, 3.0], dtype=DOUBLE)
    return Camera(k, yaw_to_matrix(angles), shifts, (40, 72))


def their_ndc(numbers: bridge.Perspective, points: Tensor) -> Tensor:
    """Projection to NDC as PyTorch3D's camera notes state it: x left, y up. Shape (B, N, 2)."""
    view = points @ numbers.R + numbers.T[:, None]
    height, width = numbers.image_size[0].tolist()
    focal, principal = numbers.focal_length, numbers.principal_point
    if not numbers.ndc:
        half = min(height, width) / 2
        focal = focal / half
        principal = -(principal - torch.tensor([width / 2, height / 2]).double()) / half
    return focal[:, None] * view[..., :2] / view[..., 2:] + principal[:, None]
