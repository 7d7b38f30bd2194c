"""Drawing hypotheses into their windows: from variables to the Rendering that losses compare."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from diffrender.cameras import Camera
from diffrender.losses import Rendering
from diffrender.meshes import MeshBatch
from diffrender.raster import Fragments, antialias, interpolate, rasterize
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.shape_priors import ShapePrior

__all__ = ["NEAREST", "draw", "place"]

NEAREST = 0.1  # metres ahead: vertices nearer, or behind, count as there for the projected box


def place(
    prior: ShapePrior, hypotheses: Hypotheses, camera: Camera, boxes: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """World vertices (N, V, 3), bottom-face centres (N, 3) and sizes (N, 3)."""
    rotation, location, size = hypotheses.pose(camera, boxes)
    return prior.place(hypotheses.latent, size, rotation, location), location, size


def draw(
    prior: ShapePrior,
    hypotheses: Hypotheses,
    camera: Camera,
    windows: Camera,  # batch (B,)
    boxes: Tensor,  # (B, 4)
    with_parts: bool,
) -> Rendering:
    """Draw every hypothesis in its owner's window, as one batch.

    Args:
        camera: of the whole image, which the hypotheses' pixels refer to.
        windows: the cameras of the objects' windows.
        boxes: the masks' boxes, pixels of the image.
        with_parts: also draw the parts (for the photometric term).
    """
    vertices, location, size = place(prior, hypotheses, camera, boxes)
    small = windows[hypotheses.owner]
    batch = MeshBatch.shared(vertices, prior.faces)
    fragments = rasterize(batch, small)
    face = fragments.face[..., 0]  # (N, H, W)
    hit = (face >= 0).to(vertices.dtype)
    local = face.remainder(len(prior.faces))
    if with_parts:
        parts = one_hot(prior.face_parts[local], len(prior.part_names)).to(hit) * hit[..., None]
        image = antialias(torch.cat([hit[..., None], parts], dim=-1), fragments, batch, small)
        coverage, drawn_parts = image[..., 0], image[..., 1:]
    else:
        coverage, drawn_parts = antialias(hit[..., None], fragments, batch, small)[..., 0], None
    homogeneous = fragments.homogeneous.reshape(*vertices.shape)
    ahead = homogeneous[..., 2:].clamp(min=NEAREST)
    pixels = homogeneous[..., :2] / ahead
    box = torch.cat([pixels.amin(-2), pixels.amax(-2)], dim=-1)
    return Rendering(
        coverage=coverage,
        depth=fragments.depth[..., 0],
        box=box,
        location=location,
        size=size,
        latent=hypotheses.latent,
        facing=_facing(vertices, prior.faces, fragments, small),
        parts=drawn_parts,
    )


@torch.no_grad()
def _facing(vertices: Tensor, faces: Tensor, fragments: Fragments, camera: Camera) -> Tensor:
    """Cosine between viewing ray and surface normal per pixel, (N, H, W), 0 where empty.

    A face lies in the plane n . (X - eye) = d, so the cosine is d over the distance of X.
    """
    a, b, c = vertices[:, faces.flatten()].unflatten(1, faces.shape).unbind(2)
    normals = normalize(torch.linalg.cross(b - a, c - a), dim=-1)
    offset = (normals * (a - camera.centre[:, None])).sum(-1).flatten()
    face = fragments.face[..., 0]
    away = _distances(vertices, fragments, camera)
    cosine = offset[face.clamp(min=0)].abs() / away.clamp(min=1e-6)
    return torch.where(face >= 0, cosine.clamp(max=1.0), torch.zeros_like(cosine))


def _distances(vertices: Tensor, fragments: Fragments, camera: Camera) -> Tensor:
    """From the eye to what each pixel sees, metres, (N, H, W)."""
    if camera.distortion is not None:  # a pixel's ray would have to be searched for
        seen = interpolate(vertices.flatten(0, 1), fragments)
        return (seen - camera.centre[:, None, None]).norm(dim=-1)
    height, width = camera.size
    k = camera.intrinsics
    x = torch.arange(width, dtype=k.dtype, device=k.device) + 0.5
    y = torch.arange(height, dtype=k.dtype, device=k.device) + 0.5
    ray_y = ((y - k[:, 1, 2, None]) / k[:, 1, 1, None])[..., None]  # (N, H, 1)
    across = (x - k[:, 0, 2, None])[:, None] - k[:, 0, 1, None, None] * ray_y
    ray_x = across / k[:, 0, 0, None, None]  # (N, H, W)
    return fragments.depth[..., 0] * torch.sqrt((1 + ray_x**2) + ray_y**2)
