"""A plain texture for a prior: each part in its usual colour, wheels with rims."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import Mesh, face_normals
from diffrender.raster import rasterize
from diffrender.shape_priors.prior import ShapePrior

__all__ = ["default_texture", "part_colours", "spread_texels", "texel_surface"]

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
_SEAM = 3  # texels painted beyond a chart's edge


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
    face, _ = texel_surface(prior.uv, prior.face_uv, resolution)
    face = spread_texels(face, face >= 0)
    texture = part_colours(prior, paint)[prior.face_parts.cpu()][face.clamp(min=0)]
    texture[face < 0] = torch.tensor(paint)
    if "wheel" in prior.part_names:
        _paint_rims(prior, corners, texture)
    return texture.to(prior.mean.device)


def texel_surface(
    uv: Tensor,  # (T, 2)
    face_uv: Tensor,  # (F, 3)
    resolution: int,
) -> tuple[Tensor, Tensor]:
    """Which point of the surface each texel shows.

    The atlas is drawn by the rasterizer itself: u and v are pixels of a camera with K = I at z = 1.

    Returns:
        face (resolution, resolution) int64, -1 outside the charts, and bary (..., 3) float32.
    """
    corners = uv.detach().cpu().double() * resolution
    flat = torch.cat([corners, torch.ones_like(corners[:, :1])], dim=-1)
    camera = Camera.from_intrinsics(
        torch.eye(3, dtype=torch.float64), (resolution, resolution), pixel_centres="half"
    )
    fragments = rasterize(Mesh(flat, face_uv.cpu()), camera)
    return fragments.face[..., 0], fragments.bary[..., 0, :].float()


def spread_texels(values: Tensor, known: Tensor, rounds: int = _SEAM) -> Tensor:
    """Carry known texels outwards a few steps, so that bilinear look-ups find no seam.

    Shapes: (S, S, ...), (S, S) bool -> (S, S, ...).
    """
    values, known = values.clone(), known.clone()
    for _ in range(rounds):
        for step, axis in ((1, 0), (-1, 0), (1, 1), (-1, 1)):
            fresh = torch.roll(known, step, axis) & ~known
            values[fresh] = torch.roll(values, step, axis)[fresh]
            known |= fresh
    return values


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
