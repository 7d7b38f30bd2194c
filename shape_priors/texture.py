"""A plain texture for a prior: each part in its usual colour, wheels with rims."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.meshes import face_normals
from diffrender.shape_priors.prior import ShapePrior

__all__ = ["default_texture", "part_colours"]

PAINT = (0.62, 0.07, 0.08)
_COLOURS = {
    "glass": (0.10, 0.13, 0.16),
    "wheel": (0.05, 0.05, 0.05),
    "head_light": (0.92, 0.92, 0.86),
    "tail_light": (0.75, 0.04, 0.04),
    "grille": (0.07, 0.07, 0.08),
    "bumper": (0.16, 0.16, 0.17),
    "underside": (0.06, 0.06, 0.06),
}
_RIM = (0.62, 0.63, 0.65)
_SEAM = 3.0  # texels painted beyond a chart's edge, so that bilinear lookups never see the gap


def part_colours(prior: ShapePrior, paint: tuple[float, float, float] = PAINT) -> Tensor:
    """sRGB colour of each part in `prior.part_names`; parts without a usual colour are painted.

    Shape (P, 3).
    """
    return torch.tensor([_COLOURS.get(name, paint) for name in prior.part_names])


def default_texture(
    prior: ShapePrior,
    paint: tuple[float, float, float] = PAINT,
    resolution: int = 512,
) -> Tensor:
    """Texture with paint, dark glass, black tyres with rims, and lights.

    Args:
        prior: with texture coordinates.
        paint: sRGB colour of the body in [0, 1].
        resolution: edge of the square texture in texels.

    Returns:
        (resolution, resolution, 3) sRGB in [0, 1].

    Raises:
        InputError: the prior has no texture coordinates, or the resolution is out of range.
    """
    if prior.uv is None or prior.face_uv is None:
        raise InputError(f"the prior '{prior.name}' has no texture coordinates")
    if not 16 <= resolution <= 8192:
        raise InputError(f"resolution {resolution}, expected 16 to 8192 texels")
    corners = prior.uv.detach().cpu().double()[prior.face_uv.cpu()] * resolution  # (F, 3, 2)
    face = _face_map(corners, resolution)
    texture = part_colours(prior, paint)[prior.face_parts.cpu()][face.clamp(min=0)]
    texture[face < 0] = torch.tensor(paint)
    if "wheel" in prior.part_names:
        _paint_rims(prior, corners, texture)
    return texture.to(prior.mean.device)


def _face_map(corners: Tensor, resolution: int) -> Tensor:  # (F, 3, 2)
    """Face under each texel, the nearest one within the seam, else -1."""
    nearest = torch.full((resolution, resolution), -_SEAM, dtype=torch.float64)
    face = torch.full((resolution, resolution), -1)
    low = (corners.amin(1) - _SEAM).floor().long().clamp(min=0)
    high = (corners.amax(1) + _SEAM).ceil().long().clamp(max=resolution)
    for index, triangle in enumerate(corners):
        (x0, y0), (x1, y1) = low[index].tolist(), high[index].tolist()
        if x1 <= x0 or y1 <= y0:
            continue
        x = torch.arange(x0, x1, dtype=torch.float64) + 0.5
        y = torch.arange(y0, y1, dtype=torch.float64)[:, None] + 0.5
        edges = triangle.roll(-1, 0) - triangle
        turn = edges[0, 0] * edges[1, 1] - edges[0, 1] * edges[1, 0]
        inside = torch.full((y1 - y0, x1 - x0), float("inf"), dtype=torch.float64)
        for (ax, ay), (ex, ey) in zip(triangle.tolist(), edges.tolist(), strict=True):
            length = max((ex * ex + ey * ey) ** 0.5, 1e-9)
            side = (ex * (y - ay) - ey * (x - ax)) / length
            inside = torch.minimum(inside, side if turn > 0 else -side)
        window = (slice(y0, y1), slice(x0, x1))
        better = inside > nearest[window]
        nearest[window] = torch.where(better, inside, nearest[window])
        face[window] = torch.where(better, torch.tensor(index), face[window])
    return face


def _paint_rims(prior: ShapePrior, corners: Tensor, texture: Tensor) -> None:
    """Bright discs in the middle of the four outward-facing wheel sides."""
    mean = prior.mean.detach().cpu().double()
    faces = prior.faces.cpu()
    normals = face_normals(mean * prior.size_mean.cpu()[[0, 2, 1]], faces)
    middle = mean[faces].mean(1)
    outward = normals[:, 2] * middle[:, 2].sign() > 0.8
    wheel = (prior.face_parts.cpu() == prior.part_names.index("wheel")) & outward
    grid = torch.arange(len(texture), dtype=torch.float64) + 0.5
    for ahead in (True, False):
        for far in (True, False):
            chosen = wheel & ((middle[:, 0] > 0) == ahead) & ((middle[:, 2] < 0) == far)
            points = corners[chosen].reshape(-1, 2)
            if not len(points):
                continue
            low, high = points.amin(0), points.amax(0)
            (cx, cy), (rx, ry) = ((low + high) / 2).tolist(), ((high - low) / 2).tolist()
            distance = ((grid - cx) / rx) ** 2 + ((grid[:, None] - cy) / ry) ** 2
            texture[distance < 0.62**2] = torch.tensor(_RIM)
            texture[distance < 0.12**2] = torch.tensor(_COLOURS["wheel"])
