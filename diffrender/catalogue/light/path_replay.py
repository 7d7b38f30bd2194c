"""A small path tracer with path-replay backpropagation (Vicini et al. 2021)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.light._materials import Lamp, Lit, TracedScene, reflected
from diffrender.catalogue.light._paths import Geometry, Step, walk
from diffrender.catalogue.light._replay import radiance, replayed_radiance
from diffrender.catalogue.scene import (
    Rendering,
    Scene,
    Triangles,
    as_triangles,
    check_view,
    with_a_face,
)
from diffrender.errors import InputError

__all__ = ["TECHNIQUE", "PathReplay"]

_DISTANCE = 20.0  # of the lamp, in extents of the scene


@dataclass(frozen=True)
class PathReplay:
    """Diffuse and glossy surfaces under an area light and an environment, several bounces.

    Attributes:
        per_axis: paths along each side of a pixel.
        bounces: surfaces that a path meets at most; 1 is direct light alone.
        lamp_angle: half the angle under which the lamp is seen, radians.
        lobe: roughness of the lobe from which every second direction is drawn; fixed, so that
            choices do not depend on what is differentiated.
        reflectance: along the normal, for triangles that bring colours only.
        roughness: likewise.
        replay: the constant-memory backward pass; False keeps the paths for automatic
            differentiation, with the same result.
        seed: of the paths.
    """

    per_axis: int = 2
    bounces: int = 3
    lamp_angle: float = math.radians(4)
    lobe: float = 0.4
    reflectance: float = 0.04
    roughness: float = 0.4
    replay: bool = True
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="path-replay",
        title="Path tracing with path-replay backpropagation (PRB)",
        authors="Vicini, D. and Speierer, S. and Jakob, W.",
        year=2021,
        paper="Path Replay Backpropagation: Differentiating Light Paths using Constant Memory and "
        "Linear Time",
        venue="ACM Transactions on Graphics 40(4)",
        arxiv="",
        sections="the paper's detached variant for surfaces; after the survey's section on global "
        "illumination",
        equations=(
            "L = Σ_k β_k (E_k + f_k V_k E_lamp), β_{k+1} = β_k f_k cos θ_k / p_k",
            "∂L/∂Φ = Σ_k β_k ∂D_k/∂Φ + L_{k+1} ∂f_k/∂Φ / f_k, D_k what step k adds itself",
            "L_{k+1} = L_k - β_k D_k: known again by walking the same path once more",
        ),
        family="global illumination",
        idea=(
            "Trace paths from the camera, adding the light that reaches each surface directly and "
            "going on in a random direction.",
            "A path's radiance depends on a material at each of its bounces; differentiating it "
            "plainly would keep all bounces of all paths in memory.",
            "Instead walk the same random paths again with the final radiance at hand: taking off "
            "what each step added tells what is still to come, which is all its derivative needs.",
        ),
        claims=(
            Claim("attributes", "both", "own"),
            Claim("light", "both", "own"),
        ),
        memory="O(S P) for S paths in each of P pixels, whatever the number of bounces",
        time="O(S P B log N) for B bounces among N faces, backward about twice forward",
        limits="Geometry and camera are not differentiated: that needs the boundary terms of "
        "edge sampling or a warp; shadows' borders are missing from the light's direction. Noise. "
        "The lamp is not seen by camera or mirrors. A factor of exactly 0 (black, without any "
        "reflectance) hides what lies behind it.",
        use_when="To find materials and light where interreflection and soft shadows count.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """Materials for the triangles, under a sky of one radiance.

        Albedo is the vertices' colour. Differentiable to the colours.
        """
        if isinstance(scene.content, TracedScene):
            return scene
        scene = with_a_face(scene)
        mesh: Triangles = as_triangles(scene)
        if mesh.texture is not None:
            raise InputError(
                "the path tracer has colours at vertices and no texture; give Triangles without one"
            )
        gloss = mesh.colours.new_tensor([self.reflectance, self.roughness])
        materials = torch.cat([mesh.colours, gloss.expand(len(mesh.colours), 2)], dim=1)
        content = TracedScene(mesh.vertices, mesh.faces, materials, mesh.colours.new_ones(1, 1, 3))
        return Scene(content, scene.light, scene.background)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Mean radiance of the paths through each pixel; the background where nothing is hit.

        Differentiable to materials, light and environment; not to vertices and camera.
        """
        check_view(scene, camera)
        scene = self.prepare(scene)
        content = scene.content
        assert isinstance(content, TracedScene)
        lit = Lit(content.materials, content.environment, scene.parameters()["light"])
        paths = _Paths(self, content, scene.background, camera, lit.light.detach())
        found = replayed_radiance(paths, lit) if self.replay else radiance(paths, lit)
        height, width = camera.size
        maps = torch.cat([found, paths.covered[:, None], paths.depth[:, None]], dim=1)
        maps = maps.view(height, self.per_axis, width, self.per_axis, 5).mean((1, 3))
        return Rendering(maps[..., :3], maps[..., 3], maps[..., 4])


class _Paths:
    """The paths of one picture, and what they gain at each step."""

    def __init__(
        self,
        settings: PathReplay,
        content: TracedScene,
        background: Tensor,
        camera: Camera,
        light: Tensor,
    ) -> None:
        self.settings, self.background, self.light = settings, background, light
        self.geometry = Geometry.of(content.vertices, content.faces)
        low, high = content.vertices.detach().amin(0), content.vertices.detach().amax(0)
        self.centre = (low + high) / 2
        self.distance = _DISTANCE * (high - low).max().item()
        self.rays = _camera_rays(camera, settings.per_axis, settings.seed)
        face, t = self.geometry.caster.first_hit(*self.rays)
        self.covered = (face >= 0).to(background)
        ahead = (self.rays[1] @ camera.rotation.detach()[2]) * t  # along the camera's z
        self.depth = torch.where(face >= 0, ahead, 0)

    @property
    def count(self) -> int:
        return len(self.rays[0])

    def _lamp(self, light: Tensor) -> Lamp:
        return Lamp.of(light, self.centre, self.distance, self.settings.lamp_angle)

    def steps(self) -> Iterator[Step]:
        s = self.settings
        return walk(self.geometry, self.rays, self._lamp(self.light), s.lobe, s.bounces, s.seed + 1)

    def gained(self, step: Step, lit: Lit) -> tuple[Tensor, Tensor]:
        back = -step.directions[step.hit]
        materials = (step.bary[..., None] * lit.materials[step.corner]).sum(1)
        towards, arriving = self._lamp(lit.light).arriving(step.square, step.start, lit.light)
        lamp = reflected(materials, step.normal, back, towards) * arriving
        outside = self.background.expand(len(step.missed), 3)
        if not step.first:
            outside = lit.sky(step.directions[step.missed])
        direct = lamp.new_zeros(len(step.path), 3)
        direct = direct.index_copy(0, step.hit, lamp * step.lamp_seen[:, None])
        direct = direct.index_copy(0, step.missed, outside)
        g = step.going
        factor = reflected(materials[g], step.normal[g], back[g], step.onward[g])
        return direct, factor / step.density[g, None]


@torch.no_grad()
def _camera_rays(camera: Camera, n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Origins and unit directions (H n W n, 3) through random points of n x n cells a pixel."""
    height, width = camera.size
    generator = torch.Generator().manual_seed(seed)
    jitter = torch.rand(height * n, width * n, 2, generator=generator, dtype=torch.float64)
    row, column = torch.arange(height * n), torch.arange(width * n)
    cell = torch.stack(torch.meshgrid(column, row, indexing="xy"), dim=-1)
    pixels = ((cell + jitter) / n).view(-1, 2).to(camera.intrinsics)
    ahead = camera.unproject(pixels, torch.ones_like(pixels[:, 0])) - camera.centre
    return camera.centre.expand_as(ahead), torch.nn.functional.normalize(ahead, dim=-1)


TECHNIQUE = PathReplay()
