"""A scene of triangles as one camera sees it: what is at a point of the image.

The techniques of this folder share it: colours, coverage and depth at points of given faces, in
plain torch, so that derivatives of derivatives exist too.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.mesh._rays import RayCaster
from diffrender.catalogue.scene import Rendering, Scene, Triangles, as_triangles, with_a_face
from diffrender.raster import rasterize, sample_texture
from diffrender.raster.fragments import NEAR

__all__ = ["View", "rendering_of"]


@dataclass(frozen=True, eq=False)
class View:
    """Attributes:
    scene: what is seen.
    mesh: its triangles.
    camera: who sees it.
    homogeneous: (V, 3) vertices as z (x, y, 1), x and y in pixels, z in metres.
    radiance: (V, 3) leaving the vertices.
    """

    scene: Scene
    mesh: Triangles
    camera: Camera
    homogeneous: Tensor  # (V, 3)
    radiance: Tensor  # (V, 3)

    @classmethod
    def of(cls, scene: Scene, camera: Camera) -> View:
        """Project and shade the vertices. Differentiable to scene and camera."""
        scene = with_a_face(scene)
        mesh = as_triangles(scene)
        pixels, depth = camera.project(mesh.vertices)
        homogeneous = torch.cat([pixels * depth[:, None], depth[:, None]], dim=1)
        return cls(scene, mesh, camera, homogeneous, scene.vertex_radiance())

    @property
    def pixels(self) -> Tensor:
        """(V, 2) vertices in the image. Meaningless behind the camera."""
        return self.homogeneous[:, :2] / self.homogeneous[:, 2:]

    def centres(self, per_axis: int = 1) -> Tensor:
        """(H n, W n, 2) centres of n x n cells in every pixel, in pixels."""
        height, width = self.camera.size
        y = (torch.arange(height * per_axis).to(self.homogeneous) + 0.5) / per_axis
        x = (torch.arange(width * per_axis).to(self.homogeneous) + 0.5) / per_axis
        return torch.stack([x.expand(len(y), -1), y[:, None].expand(-1, len(x))], dim=-1)

    @torch.no_grad()
    def faces_at_centres(self, per_axis: int = 1) -> Tensor:
        """(H n, W n) int64: the face seen at `centres(n)`, -1 for none."""
        height, width = self.camera.size
        camera = self.camera.resize((height * per_axis, width * per_axis))
        return rasterize((self.mesh.vertices, self.mesh.faces), camera).face[..., 0]

    def caster(self) -> RayCaster:
        """For `faces_at`: homogeneous pixels are a space with the camera at its origin.

        Counted from the middle of the image, they make boxes that rays pass as they would in the
        world.
        """
        middle = self._middle()
        centred = self.homogeneous.detach() - self.homogeneous.detach()[:, 2:] * middle
        return RayCaster(centred[self.mesh.faces])

    @torch.no_grad()
    def faces_at(self, caster: RayCaster, points: Tensor) -> Tensor:  # (S, 2)
        """(S,) int64: the face seen at any point of the image, in pixels, -1 for none."""
        rays = torch.cat([points, torch.ones_like(points[:, :1])], dim=1) - self._middle()
        return caster.first_hit(torch.zeros_like(rays), rays, near=NEAR)[0]

    def _middle(self) -> Tensor:
        height, width = self.camera.size
        return self.homogeneous.new_tensor([width / 2, height / 2, 0])

    def barycentrics(self, face: Tensor, points: Tensor) -> Tensor:  # (S,), (S, 2)
        """(S, 3) perspective-correct barycentrics of points of the image on faces (not -1).

        With u_i = z_i (x_i - p), the weights are the cross products of the other two corners
        (Olano and Greer 1997). Differentiable to vertices, camera and points.
        """
        corners = self.homogeneous[self.mesh.faces[face]]  # (S, 3, 3)
        u = corners[..., :2] - corners[..., 2:] * points[:, None]
        a, b = u[:, [1, 2, 0]], u[:, [2, 0, 1]]
        weights = a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]
        return weights / weights.sum(-1, keepdim=True)

    def motion(self, face: Tensor, points: Tensor) -> Tensor:  # (S,), (S, 2)
        """(S, 2) how the surfaces seen at points of the image move there, pixels: zero.

        It is the point that is seen now, projected, less its value; 0 for face -1. Differentiable
        to vertices and camera.
        """
        seen = (face >= 0).nonzero().squeeze(1)
        bary = self.barycentrics(face[seen], points[seen]).detach()
        moved = (bary[..., None] * self.homogeneous[self.mesh.faces[face[seen]]]).sum(1)
        moved = moved[:, :2] / moved[:, 2:]
        return torch.zeros_like(points).index_copy(0, seen, moved - moved.detach())

    def look(
        self, face: Tensor, points: Tensor, lit: Tensor | None = None, *, frozen: bool = False
    ) -> Tensor:
        """Colour, coverage and depth of points of the image on the faces seen there.

        Shapes: (S,) int64, (S, 2) pixels -> (S, 5); the background's colour, 0, 0 for face -1.
        `lit`, (S,), scales the directional light alone: 0 in its shadow. Differentiable to
        vertices, camera, light, colours, texture and points; `frozen` keeps the barycentrics as
        they are, so that vertices count by their normals and depths only.
        """
        seen = (face >= 0).nonzero().squeeze(1)
        on = face[seen]
        corner = self.mesh.faces[on]
        bary = self.barycentrics(on, points[seen])[..., None]  # (S', 3, 1)
        bary = bary.detach() if frozen else bary
        if lit is None:
            colour = (bary * self.radiance[corner]).sum(1)
        else:
            dim = self.mesh.colours * self.scene.light.ambient
            direct = (bary * (self.radiance - dim)[corner]).sum(1)
            colour = (bary * dim[corner]).sum(1) + lit[seen, None] * direct
        if self.mesh.uv is not None and self.mesh.texture is not None:
            uv = (bary * self.mesh.uv[corner]).sum(1)
            colour = colour * sample_texture(self.mesh.texture, uv, backend="torch")
        depth = (bary * self.homogeneous[corner, 2:]).sum(1)
        found = torch.cat([colour, torch.ones_like(depth), depth], dim=1)
        nothing = torch.cat([self.scene.background, self.scene.background.new_zeros(2)])
        return nothing.expand(len(face), 5).index_copy(0, seen, found)


def rendering_of(maps: Tensor) -> Rendering:  # (H, W, 5)
    """The rendering of colour, coverage and depth."""
    return Rendering(maps[..., :3], maps[..., 3], maps[..., 4])
