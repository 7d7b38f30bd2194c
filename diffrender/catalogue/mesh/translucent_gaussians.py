"""Translucent Gaussians (Rhodin et al. 2015): a smooth density, so visibility is smooth."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view
from diffrender.errors import InputError, check_shape

__all__ = ["TECHNIQUE", "GaussianDensity", "TranslucentGaussians", "visibility"]

# Where visibility is sampled around a Gaussian's centre along the ray, in standard deviations.
_PLACES = (-2.0, -1.0, 0.0, 1.0, 2.0)
_LEAST = 0.1  # optical depth that is taken off each, so that far tails end without a jump


@dataclass(frozen=True)
class GaussianDensity:
    """A density that is a sum of round Gaussians, each of one colour.

    Attributes:
        centres: (N, 3) world, metres.
        colours: (N, 3) linear RGB.
        density: (N,) at the centre, per metre.
        radius: (N,) standard deviation, metres.
    """

    centres: Tensor  # (N, 3)
    colours: Tensor  # (N, 3)
    density: Tensor  # (N,)
    radius: Tensor  # (N,)

    def __post_init__(self) -> None:
        count = len(self.centres)
        check_shape("GaussianDensity.centres", self.centres, None, 3)
        check_shape("GaussianDensity.colours", self.colours, count, 3)
        check_shape("GaussianDensity.density", self.density, count)
        check_shape("GaussianDensity.radius", self.radius, count)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices (centres), attributes (colours) and density."""
        return {"vertices": self.centres, "attributes": self.colours, "density": self.density}

    def replaced(self, name: str, value: Tensor) -> GaussianDensity:
        """The same with one parameter exchanged."""
        fields = {"vertices": "centres", "attributes": "colours", "density": "density"}
        if name not in fields:
            raise InputError(f"no parameter {name!r} here, expected one of {', '.join(fields)}")
        return dataclasses.replace(self, **{fields[name]: value})


@dataclass(frozen=True)
class TranslucentGaussians:
    """Light that is absorbed and emitted by Gaussians, in closed form but for one short sum.

    Attributes:
        count: Gaussians that `prepare` puts on the scene's surface.
        opacity: of a ray through the centre of one of them alone.
        spread: standard deviation in units of the distance that `count` discs of equal area have.
        nearest: Gaussians that count on a ray: the first so many that it meets.
        seed: of the places on the surface.
    """

    count: int = 1600
    opacity: float = 0.97
    spread: float = 0.4
    nearest: int = 24
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="translucent-gaussians",
        title="Differentiable visibility of translucent Gaussians",
        authors="Rhodin, H. and Robertini, N. and Richardt, C. and Seidel, H.-P. and Theobalt, C.",
        year=2015,
        paper="A Versatile Scene Model with Differentiable Visibility Applied to Generative Pose "
        "Estimation",
        venue="IEEE International Conference on Computer Vision (ICCV)",
        arxiv="1602.03725",
        sections="paper's sections on the scene model and on its visibility; survey section 2.1.3",
        equations=(
            "σ(x) = Σ_q c_q e^(-|x - μ_q|² / 2 r_q²), the density of a scene",
            "T(s) = e^(-∫_{-∞}^s σ) = exp(-Σ_q m_q Φ((s - μ̄_q) / r_q)) along a ray,",
            "m_q = √(2π) r_q c̄_q for the maximum c̄_q at μ̄_q on it",
            "V_q = ∫ T(s) σ_q(s) ds ≈ r_q Σ_k σ_q(s_k) T(s_k), s_k = μ̄_q + k r_q, |k| <= 2",
            "I = Σ_q V_q colour_q + (1 - Σ_q V_q) C_b",
        ),
        family="mesh, approximate rendering",
        idea=(
            "Replace solid surfaces by a density that fades out smoothly, here a sum of Gaussians.",
            "Along a ray a Gaussian is a Gaussian again, so that the light which gets through to "
            "any depth has a closed form with error functions.",
            "How visible each one is then changes smoothly, even where it goes behind another: "
            "there is no order to be sorted by.",
        ),
        claims=(
            Claim("vertices", "both", "own"),
            Claim("attributes", "both", "own"),
            Claim("density", "both", "own"),
            Claim("pose", "both", "own"),
            Claim("intrinsics", "both", "own"),
        ),
        memory="O(P (N + K²)): all N Gaussians at P rays to find K, then pairs of these",
        time="O(P (N + K²))",
        limits="Blurred: details below a Gaussian's radius are lost. Behind the first few that a "
        "ray meets the others are left out. A sum of five samples stands for the last integral.",
        use_when="Poses of bodies made of few blobs, where smoothness matters more than detail.",
    )

    def __post_init__(self) -> None:
        if not (0 < self.opacity < 1 and self.spread > 0):
            raise InputError(
                f"opacity is {self.opacity} and spread {self.spread}, expected numbers in (0, 1) "
                "and above 0"
            )
        if self.count < 1 or self.nearest < 1:
            raise InputError(
                f"count is {self.count} and nearest {self.nearest}, expected at least 1"
            )

    def prepare(self, scene: Scene) -> Scene:
        """Gaussians at random places of the surface, evenly by area, with its radiance there.

        Differentiable to vertices, colours and light through fixed barycentrics. A scene of
        Gaussians is returned as it is.
        """
        if isinstance(scene.content, GaussianDensity):
            return scene
        mesh = as_triangles(scene)
        if not len(mesh.faces):
            raise InputError("the mesh has no faces to put Gaussians on")
        corners = mesh.vertices[mesh.faces]  # (F, 3, 3)
        made = torch.Generator().manual_seed(self.seed)
        with torch.no_grad():
            sides = corners[:, 1:] - corners[:, :1]
            area = torch.linalg.cross(sides[:, 0], sides[:, 1]).norm(dim=-1) / 2
            # One place in each of `count` equal shares of the area.
            share = (torch.arange(self.count) + torch.rand(self.count, generator=made)) / self.count
            ends = area.double().cumsum(0)
            face = torch.searchsorted(ends, share.double() * ends[-1]).clamp(max=len(area) - 1)
            u, v = torch.rand(2, self.count, generator=made).to(corners)
            u, v = torch.where(u + v > 1, 1 - u, u), torch.where(u + v > 1, 1 - v, v)
            bary = torch.stack([1 - u - v, u, v], dim=-1)[..., None]
            radius = self.spread * (area.sum() / self.count).sqrt()
        density = -math.log(1 - self.opacity) / (math.sqrt(2 * math.pi) * radius)
        content = GaussianDensity(
            (bary * corners[face]).sum(1),
            (bary * scene.radiance()[mesh.faces[face]]).sum(1),
            density.expand(self.count).clone(),
            radius.expand(self.count).clone(),
        )
        return dataclasses.replace(scene, content=content)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Colours weighted by visibility, over the background by what gets through."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        content = scene.content
        assert isinstance(content, GaussianDensity)
        height, width = camera.size
        row, column = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
        pixels = torch.stack([column, row], dim=-1).reshape(-1, 2).to(content.centres) + 0.5
        ahead = camera.unproject(pixels, torch.ones_like(pixels[:, 0])) - camera.centre
        ray = torch.nn.functional.normalize(ahead, dim=-1)  # (P, 3) world
        to = content.centres - camera.centre  # (N, 3)

        mass = math.sqrt(2 * math.pi) * content.density * content.radius  # through the centre
        with torch.no_grad():
            foot = ray @ to.T  # (P, N) metres along the ray to the point nearest to the centre
            away = (to.square().sum(-1) - foot.square()) / content.radius**2
            met = (foot > 0) & (mass * (-away / 2).exp() > _LEAST)
            hit = met.any(dim=-1)  # (P,) rays that meet any: the others are left out from here
            first = torch.where(met, foot, torch.inf)[hit]
            chosen = first.topk(min(self.nearest, len(to)), largest=False).indices  # (P', K)
        ray, ahead = ray[hit], ahead[hit]
        along = (to[chosen] * ray[:, None]).sum(-1)
        beside = (to[chosen] - along[..., None] * ray[:, None]) / content.radius[chosen][..., None]
        here = mass[chosen] * (-beside.square().sum(-1) / 2).exp()
        here = torch.where(along > 0, (here - _LEAST).clamp(min=0), 0.0)  # (P', K)
        visible = visibility(along, here, content.radius[chosen])  # (P', K)

        depth = (along / ahead.norm(dim=-1, keepdim=True))[..., None]
        values = [content.colours[chosen], depth, torch.ones_like(depth)]
        met_maps = (visible[..., None] * torch.cat(values, dim=-1)).sum(1)  # (P', 5)
        maps = met_maps.new_zeros(len(hit), 5).index_put((hit,), met_maps).view(height, width, 5)
        alpha = maps[..., 4].clamp(0, 1)
        image = maps[..., :3] + (1 - alpha[..., None]) * scene.background
        # Far tails are no surface to speak of a depth.
        seen = alpha > 1e-3
        return Rendering(image, alpha, torch.where(seen, maps[..., 3] / alpha.clamp(min=1e-3), 0.0))


def visibility(along: Tensor, mass: Tensor, radius: Tensor) -> Tensor:  # (P, K) each
    """The share of light that a ray gets from each of the Gaussians on it. (P, K).

    Args:
        along: where each one's maximum lies on the ray, metres.
        mass: optical depth of the whole Gaussian along the ray.
        radius: standard deviations, metres.

    Shares add up to 1 - exp(-Σ mass) but for the error of the five samples.
    """
    total = torch.zeros_like(along)
    for place in _PLACES:
        s = along + place * radius
        before = torch.special.ndtr((s[..., None] - along[:, None]) / radius[:, None])  # (P, K, K)
        through = (-(before * mass[:, None]).sum(-1)).exp()
        total = total + math.exp(-(place**2) / 2) * through
    # The weights of the five samples are made to add up to the whole of a Gaussian.
    return mass * total / sum(math.exp(-(place**2) / 2) for place in _PLACES)


TECHNIQUE = TranslucentGaussians()
