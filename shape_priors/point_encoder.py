"""An encoder over points of a surface, whatever their order and the mesh they were drawn from."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from diffrender.errors import InputError, check_shape

__all__ = ["PointEncoder", "surface_points"]


class PointEncoder(nn.Module):
    """Points of a surface in the unit box to a latent: one small network a point, then pooling.

    The largest and the mean feature over the points are kept, so neither order nor number of the
    points matters.

    Attributes:
        width: features of a point before pooling.

    Source: Qi et al., PointNet, CVPR 2017, section 4.2, without the spatial transformers.
    """

    def __init__(self, latent_size: int, width: int = 256) -> None:
        """Random weights, from torch's global generator.

        Raises:
            InputError: a size is not positive, or the width is not a multiple of 4.
        """
        super().__init__()
        if latent_size < 1 or width < 4 or width % 4:
            raise InputError(
                f"latent_size {latent_size} and width {width}, expected at least 1 and a positive "
                "multiple of 4"
            )
        self.latent_size, self.width = latent_size, width
        self.point = nn.Sequential(
            nn.Linear(3, width // 4), nn.SiLU(),
            nn.Linear(width // 4, width // 2), nn.SiLU(),
            nn.Linear(width // 2, width),
        )  # fmt: skip
        self.head = nn.Sequential(
            nn.Linear(2 * width, width), nn.SiLU(), nn.Linear(width, latent_size)
        )

    def forward(self, points: Tensor) -> Tensor:  # (..., N, 3)
        """Latents (..., D) of surfaces in the unit box. Differentiable.

        Raises:
            InputError: not points of three coordinates.
        """
        check_shape("points", points, "...", None, 3)
        # The unit box's corners are not about zero: y lies in [-1, 0].
        features = self.point(2 * points + points.new_tensor([0.0, 1.0, 0.0]))
        return self.head(torch.cat([features.amax(-2), features.mean(-2)], -1))


def surface_points(
    vertices: Tensor,  # (..., V, 3)
    faces: Tensor,  # (F, 3)
    count: int,
    generator: torch.Generator,
    axis_weights: Tensor | None = None,  # (3,)
) -> Tensor:
    """Points drawn evenly over surfaces of one topology, (..., count, 3). Differentiable.

    Args:
        vertices: (..., V, 3).
        faces: (F, 3) int64.
        count: points a surface.
        generator: of the draw, on the CPU.
        axis_weights: (3,) metres per unit along x, y, z: even is meant in metres. None: in units.

    Raises:
        InputError: no points asked for.
    """
    if count < 1:
        raise InputError(f"{count} points, expected at least 1")
    corners = vertices[..., faces, :]  # (..., F, 3, 3)
    metric = corners.detach() if axis_weights is None else corners.detach() * axis_weights
    sides = metric[..., 1:, :] - metric[..., :1, :]
    area = torch.linalg.cross(sides[..., 0, :], sides[..., 1, :]).norm(dim=-1)
    flat = area.reshape(-1, area.shape[-1]).cpu()
    face = torch.multinomial(flat, count, replacement=True, generator=generator)
    face = face.reshape(*area.shape[:-1], count).to(vertices.device)
    u, v = torch.rand(2, *face.shape, generator=generator).to(vertices)
    root = u.sqrt()
    weights = torch.stack([1 - root, root * (1 - v), root * v], -1)
    index = face[..., None, None].expand(*face.shape, 3, 3)
    return (weights[..., None] * corners.gather(-3, index)).sum(-2)
