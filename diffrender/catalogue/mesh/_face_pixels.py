"""Pairs of a face and a pixel near it: what every soft rasterizer sums over.

A dense table of faces and pixels would be mostly zeros. Only the pairs within reach are listed,
flat, and sums over the faces of a pixel are scattered additions.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.scene import Triangles
from diffrender.raster.fragments import NEAR

__all__ = ["FacePixels", "blend", "face_pixels", "sum_over_faces"]

_LEAST_AREA = 1e-6  # square pixels; smaller faces are seen edge-on and have no barycentrics


@dataclass(frozen=True)
class FacePixels:
    """N pairs of a face and a pixel. Differentiable to the vertices and the camera.

    Attributes:
        face: (N,) row of the mesh's faces.
        pixel: (N,) row-major index of the pixel.
        count: number of pixels, H W.
        squared: (N,) squared distance of the pixel's centre to the face's outline, square pixels.
        inside: (N,) whether the centre lies inside the face.
        barycentrics: (N, 3) perspective-correct, of the centre, clipped into the face.
        depth: (N,) metres, at these barycentrics.
    """

    face: Tensor  # (N,)
    pixel: Tensor  # (N,)
    count: int
    squared: Tensor  # (N,)
    inside: Tensor  # (N,)
    barycentrics: Tensor  # (N, 3)
    depth: Tensor  # (N,)

    def signed_squared(self) -> Tensor:
        """Squared distance to the outline, positive inside. (N,) square pixels."""
        return torch.where(self.inside, self.squared, -self.squared)

    def signed_distance(self) -> Tensor:
        """Distance to the outline, positive inside. (N,) pixels."""
        # The square root has no slope at 0: a centre that lies on an outline has none either.
        distance = self.squared.clamp(min=1e-12).sqrt()
        return torch.where(self.inside, distance, -distance)

    def interpolate(self, attributes: Tensor, faces: Tensor) -> Tensor:  # (V, C), (F, 3)
        """Attributes of vertices at the pairs. (N, C)."""
        corners = attributes[faces[self.face]]  # (N, 3, C)
        return (self.barycentrics[..., None] * corners).sum(1)


def face_pixels(mesh: Triangles, camera: Camera, reach: float) -> FacePixels:
    """All pairs whose pixel centre is inside the face or within `reach` pixels of its outline.

    Faces with a corner nearer than 0.01 m, and faces seen edge-on, are left out.
    """
    pixels, depth = camera.project(mesh.vertices)
    corners, z = pixels[mesh.faces], depth[mesh.faces]  # (F, 3, 2), (F, 3)
    with torch.no_grad():
        face, pixel = _boxes(corners, z, camera.size, reach)
        centre = _centres(pixel, camera.size, corners)
        squared, edges = _outline(corners[face], centre)
        near = _inside(edges) | (squared < reach**2)
        face, pixel, centre = face[near], pixel[near], centre[near]
    squared, edges = _outline(corners[face], centre)
    share = edges / z[face]
    total = share.sum(-1, keepdim=True)
    # On the face's vanishing line they are infinite: there they are taken as seen in the image.
    lost = total.abs() < 1e-6 * share.abs().sum(-1, keepdim=True)
    share = torch.where(lost, edges / edges.sum(-1, keepdim=True), share)
    share = (share / torch.where(lost, 1.0, total)).clamp(0, 1)
    share = share / share.sum(-1, keepdim=True)
    return FacePixels(
        face,
        pixel,
        camera.size[0] * camera.size[1],
        squared,
        _inside(edges),
        share,
        (share * z[face]).sum(-1),
    )


def sum_over_faces(values: Tensor, pairs: FacePixels) -> Tensor:  # (N, ...)
    """Sum of the values of all pairs of a pixel. (N, ...) -> (H W, ...)."""
    return values.new_zeros(pairs.count, *values.shape[1:]).index_add(0, pairs.pixel, values)


def blend(log_weight: Tensor, values: Tensor, pairs: FacePixels) -> Tensor:  # (N,), (N, C)
    """Softmax over the faces of each pixel: values weighted by exp(log_weight), normalised.

    (N,), (N, C) -> (H W, C); 0 where a pixel has no face.
    """
    # Weights are shared out, so taking the largest off changes nothing but the range of exp.
    largest = log_weight.new_full((pairs.count,), -torch.inf).scatter_reduce(
        0, pairs.pixel, log_weight.detach(), "amax"
    )
    weight = (log_weight - largest[pairs.pixel]).exp()[:, None]
    total = sum_over_faces(torch.cat([weight * values, weight], dim=1), pairs)
    return total[:, :-1] / total[:, -1:].clamp(min=1e-12)


def _boxes(
    corners: Tensor,  # (F, 3, 2)
    z: Tensor,  # (F, 3)
    size: tuple[int, int],
    reach: float,
) -> tuple[Tensor, Tensor]:
    """Faces and pixels of all boxes around faces, grown by `reach`."""
    limit = torch.tensor([size[1], size[0]], device=z.device)
    first = (corners.amin(1) - reach - 0.5).ceil().clamp(min=0).minimum(limit).long()
    last = (corners.amax(1) + reach - 0.5).floor().clamp(min=-1).minimum(limit - 1).long()
    a, b = corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]
    area = (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]).abs()
    drawn = (z > NEAR).all(1) & (area > _LEAST_AREA)
    sides = (last - first + 1).clamp(min=0) * drawn[:, None]  # (F, 2): width, height
    counts = sides.prod(1)
    face = torch.repeat_interleave(torch.arange(len(z), device=z.device), counts)
    place = torch.arange(len(face), device=z.device) - (counts.cumsum(0) - counts)[face]
    x = first[face, 0] + place % sides[face, 0]
    y = first[face, 1] + place // sides[face, 0]
    return face, y * size[1] + x


def _centres(pixel: Tensor, size: tuple[int, int], like: Tensor) -> Tensor:
    return torch.stack([pixel % size[1], pixel // size[1]], dim=-1).to(like.dtype) + 0.5


def _outline(corners: Tensor, centre: Tensor) -> tuple[Tensor, Tensor]:  # (N, 3, 2), (N, 2)
    """Squared distance to the outline (N,), and the edge function opposite each corner (N, 3)."""
    start, end = corners.roll(-1, 1), corners.roll(-2, 1)  # the side opposite corner i
    along, to = end - start, centre[:, None] - start
    length = (along * along).sum(-1)
    share = ((to * along).sum(-1) / length.clamp(min=1e-12)).clamp(0, 1)
    away = to - share[..., None] * along
    squared = (away * away).sum(-1).amin(-1)
    return squared, along[..., 0] * to[..., 1] - along[..., 1] * to[..., 0]


def _inside(edges: Tensor) -> Tensor:  # (N, 3)
    return (edges > 0).all(-1) | (edges < 0).all(-1)
