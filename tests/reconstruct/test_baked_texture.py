"""The photograph carried back onto a car."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import interpolate, rasterize, sample_texture
from diffrender.reconstruct.texture import bake_texture
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import default_texture, load_prior, texel_surface

SIDE = 64
CAMERA = Camera.from_intrinsics(
    torch.tensor([[300.0, 0, 128], [0, 300.0, 96], [0, 0, 1]]), (192, 256), pixel_centres="half"
)
POSE = (yaw_to_matrix(torch.tensor(math.radians(60.0))), torch.tensor([0.0, 1.2, 7.0]))
PAINT = (0.2, 0.5, 0.8)


def car() -> tuple[Mesh, Tensor, Tensor, tuple[str, ...]]:
    """Mesh, what its texture is, the part of each texel (-1 between the charts), their names."""
    prior = load_prior("car")
    mesh = prior.mesh(torch.zeros(prior.latent_size))
    assert mesh.uv is not None and mesh.face_uv is not None and mesh.face_parts is not None
    face, _ = texel_surface(mesh.uv, mesh.face_uv, SIDE)
    part = torch.where(face >= 0, mesh.face_parts[face.clamp(min=0)], -1)
    return mesh, default_texture(prior, PAINT, SIDE), part, prior.part_names


def photograph(mesh: Mesh, texture: Tensor) -> tuple[np.ndarray, np.ndarray, Tensor]:
    """A textured car without light on grey: picture, mask and depth."""
    fragments = rasterize(mesh.transformed(*POSE), CAMERA)
    seen = fragments.face[..., 0] >= 0
    assert mesh.uv is not None and mesh.face_uv is not None
    colour = sample_texture(texture, interpolate(mesh.uv[mesh.face_uv], fragments))
    image = torch.where(seen[..., None], colour, 0.5)
    return (image * 255).round().byte().numpy(), seen.numpy(), fragments.depth[..., 0]


def test_a_side_that_is_seen_paints_the_other_and_parts_give_the_rest() -> None:
    mesh, truth, part, names = car()
    default = torch.full((SIDE, SIDE, 3), 0.9)
    baked = bake_texture(mesh, POSE, CAMERA, *photograph(mesh, truth), default)
    away = (baked - truth).abs().amax(-1)
    body = part == names.index("body")
    assert float((away[body] < 0.05).float().mean()) > 0.9
    unseen = part == names.index("underside")
    assert bool((baked[unseen] == 0.9).all())


def test_without_anything_seen_the_texture_is_the_default() -> None:
    mesh, truth, _, _ = car()
    image, mask, depth = photograph(mesh, truth)
    default = torch.full((SIDE, SIDE, 3), 0.25)
    baked = bake_texture(mesh, POSE, CAMERA, image, np.zeros_like(mask), depth, default)
    assert torch.equal(baked, default)
