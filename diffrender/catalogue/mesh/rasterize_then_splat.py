"""Rasterize, then splat (Cole et al. 2021): surface samples drawn as little Gaussians."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view, with_a_face
from diffrender.errors import InputError
from diffrender.raster import rasterize

__all__ = ["TECHNIQUE", "RasterizeThenSplat"]

_NOTHING = 1e9  # metres; the depth of a layer without a surface
_HIDDEN = 1e-3  # weight of hidden surfaces where the surface behind an outline is seen beside it


@dataclass(frozen=True)
class RasterizeThenSplat:
    """The surface at each pixel centre becomes a splat of 3 x 3 pixels that moves with it.

    Attributes:
        sigma: standard deviation of a splat, pixels.
        layers: depth layers; hidden ones fill what an outline that moves away uncovers.
    """

    sigma: float = 0.5
    layers: int = 4

    card: ClassVar[Card] = Card(
        name="rasterize-then-splat",
        title="Differentiable surface rendering by rasterize-then-splat",
        authors="Cole, F. and Genova, K. and Sud, A. and Vlasic, D. and Zhang, Z.",
        year=2021,
        paper="Differentiable Surface Rendering via Non-Differentiable Sampling",
        venue="IEEE/CVF International Conference on Computer Vision (ICCV)",
        arxiv="2108.04886",
        sections="paper's sections on splatting and on multi-layer splatting, simplified; "
        "after the survey",
        equations=(
            "x_p = project(Σ_i b_i v_i), barycentrics b of the sample at pixel p held fixed",
            "w_p(q) = e^(-|q - x_p|² / 2σ²) / Σ_{3 x 3} e^(-|o|² / 2σ²)",
            "I(q) = F + (1 - w_F) (S + (1 - w_S) B) of splats before q's surface, on it, behind it",
        ),
        family="mesh, approximate rendering",
        idea=(
            "Sample the surface at pixel centres by any means, without gradients: a material "
            "point with fixed barycentrics at each.",
            "Draw each sample as a small Gaussian splat at its projected place, which is the "
            "pixel's centre but moves with the vertices.",
            "Splats before, on and behind the surface that a pixel sees are added up apart, so "
            "that outlines become smooth and occlusion is kept.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "both", "own"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "both", "own"),
        ),
        memory="O(K P): K layers of P pixels, nine times",
        time="O(K P) after rasterization",
        limits="The picture is blurred by a pixel, and there is no pull from further away. Its "
        "derivative holds samples fixed on the surface, which the picture itself takes anew.",
        use_when="Any surface that can be sampled at pixels, meshes or not, at a cost that does "
        "not depend on how fine it is.",
    )

    def __post_init__(self) -> None:
        if not self.sigma > 0:
            raise InputError(f"sigma is {self.sigma}, expected a positive number of pixels")
        if self.layers < 2:
            raise InputError(f"layers is {self.layers}, expected at least 2")

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Splats of the samples of every pixel, composited in three groups by depth."""
        check_view(scene, camera)
        scene = with_a_face(scene)
        splats = self._sample(scene, camera)
        back = torch.cat([scene.background, scene.background.new_zeros(2)])
        middle = splats.at(0, 0)
        groups = [splats.values.new_zeros(*camera.size, 6) for _ in range(3)]
        for row in (-1, 0, 1):
            for column in (-1, 0, 1):
                for group, added in enumerate(self._spread(middle, splats.at(row, column), back)):
                    groups[group] = groups[group] + added
        front, same, behind = ((group[..., :5], group[..., 5:]) for group in groups)

        # Where a surface surrounds the pixel its splats are a mean: weights that drift apart as it
        # stretches uncover nothing.
        whole = same[1].detach() > 0.999
        share = torch.where(whole, 1.0, same[1])
        surface = torch.where(whole, same[0] / same[1].clamp(min=1e-6), same[0])
        filled = torch.where(behind[1] > 0, behind[0] / behind[1].clamp(min=1e-12), back)
        under = torch.where(middle.depth[..., :1] < _NOTHING, surface + (1 - share) * filled, back)
        maps = front[0] + (1 - front[1]) * under
        alpha = maps[..., 3].clamp(0, 1)
        return Rendering(maps[..., :3], alpha, maps[..., 4] / maps[..., 3].clamp(min=1e-6))

    def _sample(self, scene: Scene, camera: Camera) -> _Splats:
        """Material points at pixel centres, with colour, opacity 1 and depth."""
        mesh = as_triangles(scene)
        with torch.no_grad():
            found = rasterize((mesh.vertices, mesh.faces), camera, layers=self.layers)
        corners = mesh.faces[found.face.clamp(min=0)]  # (H, W, K, 3)
        drawn = torch.cat([mesh.vertices, scene.radiance()], dim=1)
        points = (found.bary[..., None] * drawn[corners]).sum(-2)  # (H, W, K, 6)
        pixels, depth = camera.project(points[..., :3].reshape(-1, 3))
        depth = depth.view(*found.face.shape, 1)
        values = torch.cat([points[..., 3:], torch.ones_like(depth), depth], dim=-1)
        held = torch.where(found.face >= 0, found.depth, _NOTHING)
        return _Splats(pixels.view(*found.face.shape, 2), values, held)

    def _spread(self, to: _Splats, of: _Splats, background: Tensor) -> tuple[Tensor, ...]:
        """What the splats of one neighbour add at each pixel: before, on and behind its surface.

        Three of (H, W, 6): weighted values, and the weight.
        """
        row, column = (torch.arange(n, device=of.depth.device) for n in of.depth.shape[:2])
        centre = torch.stack(torch.meshgrid(column, row, indexing="xy"), dim=-1)[:, :, None] + 0.5
        offsets = torch.tensor([-1.0, 0, 1]).to(of.values)
        total = (-(offsets**2) / (2 * self.sigma**2)).exp().sum() ** 2
        away = (of.position - centre).square().sum(-1)
        weight = (-away / (2 * self.sigma**2)).exp() / total  # (H, W, K)

        # The neighbour's layer that goes on the surface seen here is the one nearest in depth.
        seen_here, seen_there = to.depth[..., :1], of.depth[..., :1]
        same = (of.depth - seen_here).abs().argmin(-1, keepdim=True)
        beyond = (to.depth - seen_there).abs().argmin(-1, keepdim=True) > 0
        same = torch.where(seen_here < _NOTHING, same, self.layers)
        layer = torch.arange(self.layers, device=same.device)
        there, first = of.depth < _NOTHING, layer == 0
        hidden_here = first & (same == 0) & beyond
        front = there & first & (same > 0)
        on = there & (layer == same) & ~hidden_here
        behind = there & (hidden_here | (layer > same))
        behind_weight = torch.where(first, 1.0, _HIDDEN) * weight

        values = torch.cat([of.values, torch.ones_like(weight)[..., None]], dim=-1)
        added = [
            (values * (share * group)[..., None]).sum(2)
            for share, group in ((weight, front), (weight, on), (behind_weight, behind))
        ]
        # A neighbour that sees nothing shows the background, which lies behind every surface.
        empty = (seen_there == _NOTHING).to(values) / total
        added[2] = added[2] + empty * torch.cat([background, background.new_ones(1)])
        return tuple(added)


@dataclass(frozen=True)
class _Splats:
    position: Tensor  # (H, W, K, 2)
    values: Tensor  # (H, W, K, 5)
    depth: Tensor  # (H, W, K)

    def at(self, row: int, column: int) -> _Splats:
        """The splats of the neighbour at an offset; outermost pixels go on beyond the border."""
        height, width = self.depth.shape[:2]
        wanted = torch.meshgrid(
            torch.arange(height, device=self.depth.device) + row,
            torch.arange(width, device=self.depth.device) + column,
            indexing="ij",
        )
        index = wanted[0].clamp(0, height - 1), wanted[1].clamp(0, width - 1)
        beyond = torch.stack([wanted[1] - index[1], wanted[0] - index[0]], dim=-1)[:, :, None]
        return _Splats(self.position[index] + beyond, self.values[index], self.depth[index])


TECHNIQUE = RasterizeThenSplat()
