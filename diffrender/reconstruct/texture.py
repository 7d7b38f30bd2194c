"""Texture: the photograph carried back onto the fitted surface."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import grid_sample

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.shape_priors import spread_texels, texel_surface

__all__ = ["bake_texture"]

_MIRROR = (1.0, 1.0, -1.0)  # the object's plane of symmetry is z = 0


@torch.no_grad()
def bake_texture(
    mesh: Mesh,
    object_to_world: tuple[Tensor, Tensor],  # (3, 3), (3,)
    camera: Camera,
    image: np.ndarray,  # (H, W, 3)
    mask: np.ndarray,  # (H, W)
    depth: Tensor,  # (H, W)
    default: Tensor,  # (S, S, 3)
) -> Tensor:
    """Texture (S, S, 3) sRGB in [0, 1] of a fitted mesh.

    A texel takes the photograph's colour where its point is seen inside the mask; else that of
    its mirror image across the car; else the mean seen on its part; else `default`. The least
    squares optimum of the photometric loss over textures, for one view without blending.

    Args:
        mesh: in the object frame, with uv and face_parts.
        mask: where the photograph shows this object.
        depth: z of the posed mesh as drawn into the image, 0 where it is not.
    """
    assert mesh.uv is not None and mesh.face_uv is not None and mesh.face_parts is not None
    side = default.shape[0]
    face, bary = texel_surface(mesh.uv, mesh.face_uv, side)
    on = face >= 0
    corner = mesh.vertices[mesh.faces[face[on]]]  # (T, 3, 3)
    point = (corner * bary[on][..., None]).sum(-2)
    surface = torch.linalg.cross(corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0])
    normal = torch.nn.functional.normalize(surface, dim=-1)

    texture = default.clone()
    colours = default[on]
    done = torch.zeros(len(point), dtype=torch.bool)
    flip = point.new_tensor(_MIRROR)
    for sign in (point.new_ones(3), flip):
        seen, colour = _look_up(
            point * sign, normal * sign, object_to_world, camera, image, mask, depth
        )
        fresh = seen & ~done
        colours[fresh] = colour[fresh]
        done |= seen
    part = mesh.face_parts[face[on]]
    for label in part.unique().tolist():
        same = part == label
        if (same & done).any() and (same & ~done).any():
            colours[same & ~done] = colours[same & done].mean(0)
    texture[on] = colours
    return spread_texels(texture, on)


def _look_up(
    point: Tensor,  # (T, 3)
    normal: Tensor,  # (T, 3)
    object_to_world: tuple[Tensor, Tensor],
    camera: Camera,
    image: np.ndarray,
    mask: np.ndarray,
    depth: Tensor,  # (H, W)
) -> tuple[Tensor, Tensor]:
    rotation, location = object_to_world
    world = point @ rotation.mT + location
    pixel, z = camera.project(world)
    height, width = image.shape[:2]
    column, row = pixel[:, 0].floor().long(), pixel[:, 1].floor().long()
    inside = (z > 0.1) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    in_front = (depth[row, column] - z).abs() < 0.03 + 0.01 * z
    ray = torch.nn.functional.normalize(world - camera.centre, dim=-1)
    towards = ((normal @ rotation.mT) * ray).sum(-1) < -0.15
    own = torch.from_numpy(mask)[row, column]
    grid = pixel / pixel.new_tensor([width, height]) * 2 - 1
    picture = torch.from_numpy(np.ascontiguousarray(image)).float().permute(2, 0, 1)[None] / 255
    colour = grid_sample(picture, grid[None, :, None].float(), align_corners=False)
    return inside & in_front & towards & own, colour[0, :, :, 0].mT
