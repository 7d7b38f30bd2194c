"""Edge sampling with shadows (Li et al. 2018): a second visibility, towards the light."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.mesh._edge_samples import EdgeSamples, add_jumps, sample_edges, stratify
from diffrender.catalogue.mesh._outlines import facing_camera, find_outlines
from diffrender.catalogue.mesh._rays import RayCaster, intersect_planes
from diffrender.catalogue.mesh._view import View, rendering_of
from diffrender.catalogue.scene import Rendering, Scene, check_view
from diffrender.meshes import face_normals
from diffrender.raster.fragments import NEAR

__all__ = ["TECHNIQUE", "EdgeSamplingShadows"]


@dataclass(frozen=True)
class EdgeSamplingShadows:
    """Edge sampling of what the camera sees and of what the directional light sees.

    Attributes:
        per_axis: samples of the picture along each side of a pixel, each with a ray to the light.
        edge_samples: samples for a pixel's length of outline.
        shadow_samples: samples for a metre of outline as the light sees it.
        offset: how far from a jump its two sides are looked at, pixels.
        lift: how far above a surface its rays to the light start, metres.
        seed: of the samples.
    """

    per_axis: int = 3
    edge_samples: float = 4.0  # a pixel
    shadow_samples: float = 60.0  # a metre
    offset: float = 0.02  # pixels
    lift: float = 1e-3  # metres
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="edge-sampling-shadows",
        title="Edge sampling (redner), primary visibility and shadows",
        authors="Li, T.-M. and Aittala, M. and Durand, F. and Lehtinen, J.",
        year=2018,
        paper="Differentiable Monte Carlo Ray Tracing through Edge Sampling",
        venue="ACM Transactions on Graphics 37(6)",
        arxiv="",
        sections="the paper's parts on primary and secondary visibility, the latter for one "
        "direction of light; the survey's section on global illumination",
        equations=(
            "f(x) = albedo (ambient + V(q(x)) max(0, n · ω) colour), V = 1 where the light is seen",
            "q(s) = e(s) - t(s) ω: where the outline e, as the light ω sees it, throws its shadow",
            "∂/∂Φ ∫ f dx = ∫ ∂f/∂Φ dx + Σ_curves ∫ (f⁻ - f⁺) n · ∂x/∂Φ dl, "
            "x = the images of outlines and of q",
        ),
        family="mesh, analytic",
        idea=(
            "A shadow's border is a jump of the picture like a silhouette, made by an edge that "
            "the light, and not the camera, sees as an outline.",
            "Sample that edge, follow the light from it to the surface behind, and project the "
            "point: it moves with the edge, with the surface that receives it and with the light.",
            "The jump there times that motion is the shadow's part of the derivative, added to "
            "the two of plain edge sampling.",
        ),
        # Of the picture with shadows, which `supersampled` draws for the comparison.
        claims=(
            Claim("vertices", "both", "exact"),
            Claim("attributes", "both", "exact"),
            Claim("texture", "both", "exact"),
            Claim("pose", "both", "exact"),
            Claim("intrinsics", "both", "exact"),
            Claim("light", "both", "exact"),
        ),
        memory="O(S P + E) for S samples in each of P pixels and E samples of edges",
        time="O((S P + E) log N) for N faces: every sample casts a ray or three",
        limits="Its picture has hard shadows, which the other techniques of triangles do not "
        "draw: its derivative is compared with differences of such a picture. One directional "
        "light; a soft one would need samples of its area. Curves along which faces cut each "
        "other are not sampled.",
        use_when="When light or shape is to be found from a shadow, also of what lies outside "
        "the picture or behind.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """The box-filtered picture of hard visibility and hard shadows."""
        check_view(scene, camera)
        view = View.of(scene, camera)
        lamp = _Lamp(view, self.lift)
        n, (height, width) = self.per_axis, camera.size
        face, points = view.faces_at_centres(n).view(-1), view.centres(n).view(-1, 2)
        lit = lamp.reaches(face, points)
        maps = view.look(face, points, lit).view(height, n, width, n, 5).mean((1, 3))

        caster = view.caster()

        def colour_at(points: Tensor) -> Tensor:  # (S, 2)
            face = view.faces_at(caster, points)
            return view.look(face, points, lamp.reaches(face, points))

        generator = torch.Generator().manual_seed(self.seed)
        front = facing_camera(view.homogeneous.detach(), view.mesh.faces)
        # An outline of the light's is a jump where it lies, too: the face beyond is dark.
        outlines = find_outlines(view.mesh.vertices, view.mesh.faces, front, lamp.facing)
        edges = sample_edges(view.homogeneous, outlines, camera.size, self.edge_samples, generator)
        maps = add_jumps(maps, edges, colour_at, self.offset)
        borders = lamp.shadow_borders(self.shadow_samples, generator)
        return rendering_of(add_jumps(maps, borders, colour_at, self.offset))

    def supersampled(self, scene: Scene, camera: Camera, samples: int) -> Tensor:
        """(H, W, 4) image and coverage from samples x samples a pixel, to take differences of."""
        drawn = dataclasses.replace(self, per_axis=samples).render(scene, camera)
        return torch.cat([drawn.image, drawn.silhouette[..., None]], dim=-1).detach()


class _Lamp:
    """The directional light of a view, as something that sees."""

    def __init__(self, view: View, lift: float) -> None:
        mesh = view.mesh
        self.view, self.lift = view, lift
        self.towards = torch.nn.functional.normalize(view.scene.light.direction, dim=0)
        self.caster = RayCaster(mesh.vertices[mesh.faces])
        self.normals = face_normals(mesh.vertices.detach(), mesh.faces)
        self.facing = self.normals @ self.towards.detach() > 0

    @torch.no_grad()
    def reaches(self, face: Tensor, points: Tensor) -> Tensor:  # (S,), (S, 2)
        """(S,) 1 where light falls on the points of the image on these faces, else 0."""
        lit = torch.zeros_like(points[:, 0])
        asks = ((face >= 0) & self.facing[face]).nonzero().squeeze(1)
        on = face[asks]
        mesh = self.view.mesh
        bary = self.view.barycentrics(on, points[asks])[..., None]
        origins = (bary * mesh.vertices[mesh.faces[on]]).sum(1) + self.lift * self.normals[on]
        hit, _ = self.caster.first_hit(origins, self.towards.expand_as(origins))
        return lit.index_copy(0, asks, (hit < 0).to(lit))

    def shadow_borders(self, per_metre: float, generator: torch.Generator) -> EdgeSamples:
        """Samples of the shadows' borders in the image, as `sample_edges` gives them.

        Differentiable to the vertices of edge and receiver, the camera and the light's direction.
        """
        mesh, camera = self.view.mesh, self.view.camera
        outlines = find_outlines(mesh.vertices, mesh.faces, self.facing)
        start, end = mesh.vertices[outlines.start], mesh.vertices[outlines.end]
        length = torch.linalg.vector_norm((end - start).detach(), dim=1)
        edge, u = stratify(length, per_metre, generator)
        edge_points = torch.lerp(start[edge], end[edge], u[:, None])
        rays = -self.towards.expand_as(edge_points)
        hit, _ = self.caster.first_hit(edge_points, rays, near=2 * self.lift)
        edge, edge_points, rays, hit = (x[hit >= 0] for x in (edge, edge_points, rays, hit))
        _, t = intersect_planes(mesh.vertices[mesh.faces[hit]], edge_points, rays)
        cast = edge_points + t[:, None] * rays
        points, depth = camera.project(cast)
        with torch.no_grad():
            # The shadow of one step along the edge, within the receiver's plane, in the image.
            along = (end - start)[edge] / length[edge, None]
            normal = self.normals[hit]
            slide = (along * normal).sum(1) / (rays * normal).sum(1)
            nudge = self.lift
            shifted, _ = camera.project(cast + nudge * (along - slide[:, None] * rays))
            tangent = (shifted - points) / nudge  # pixels a metre
            speed = torch.linalg.vector_norm(tangent, dim=1)
            across = torch.stack([-tangent[:, 1], tangent[:, 0]], dim=1) / speed[:, None]
            step = length.sum() / max(int(length.sum() * per_metre), 1)
            weight = outlines.share[edge] * speed * step
            limit = points.new_tensor([camera.size[1], camera.size[0]])
            inside = (depth > NEAR) & ((points > 0) & (points < limit)).all(1) & (speed > 0)
        return EdgeSamples(points[inside], across[inside], weight[inside])


TECHNIQUE = EdgeSamplingShadows()
