"""Stochastic gradient estimation (Deliot, Heitz and Belcour 2024) for a hard rasterizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, as_triangles
from diffrender.errors import InputError
from diffrender.raster import interpolate, rasterize

__all__ = ["TECHNIQUE", "StochasticGradients"]


@dataclass(frozen=True)
class StochasticGradients:
    """A rasterizer without gradients, rendered twice with everything moved a little at random.

    Attributes:
        step: pixels by which each vertex moves, up or down, left or right.
        colour_step: by which each channel of each vertex changes.
        samples: pairs of pictures in each backward pass.
        seed: of the signs, which are the same at every call.
    """

    step: float = 0.5
    colour_step: float = 0.2
    samples: int = 16
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="stochastic-gradients",
        title="Stochastic gradients of a non-differentiable rasterizer",
        authors="Deliot, T. and Heitz, E. and Belcour, L.",
        year=2024,
        paper="Transforming a Non-Differentiable Rasterizer into a Differentiable One with "
        "Stochastic Gradient Estimation",
        venue="Proceedings of the ACM on Computer Graphics and Interactive Techniques 7 (I3D)",
        arxiv="2404.09758",
        sections="paper's sections on per-pixel stochastic gradients; after the survey",
        equations=(
            "I± = R(θ ± ε s), every s_i = ±1 at random",
            "∂L/∂θ_i ≈ Σ_{p sees i in I+ or I-} <∂L/∂I(p), I+(p) - I-(p)> / (2 ε s_i)",
        ),
        family="mesh, approximate gradient",
        idea=(
            "Perturb all parameters at once by random signs and draw two pictures, with plus and "
            "with minus.",
            "The difference of the two at a pixel, over the step, is an estimate for each of the "
            "parameters that the pixel depends on; those of others would be noise alone.",
            "The faces seen at a pixel in the two pictures say which these are, so that any engine "
            "that writes a face index can be differentiated.",
        ),
        claims=(
            Claim("vertices", "both", "biased"),
            Claim("attributes", "both", "biased"),
            Claim("pose", "both", "biased"),
            Claim("intrinsics", "both", "biased"),
            Claim("light", "both", "biased"),
        ),
        memory="O(P + N): two pictures of P pixels at a time, N parameters",
        time="O(S (P + N)) for S pairs of pictures",
        limits="Noisy: a pixel's nine parameters are told apart by averaging only. Depth has no "
        "gradient of its own. The picture keeps its jagged edges.",
        use_when="An engine that cannot be differentiated, with many steps of a stochastic descent "
        "to average over.",
    )

    def __post_init__(self) -> None:
        if not (self.step > 0 and self.colour_step > 0):
            raise InputError(
                f"step is {self.step} and colour_step {self.colour_step}, expected positive numbers"
            )
        if self.samples < 1:
            raise InputError(f"samples is {self.samples}, expected at least 1")

    def prepare(self, scene: Scene) -> Scene:
        """The scene itself: it draws triangles."""
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Hard rasterization; its parameters are pixel positions and colours of the vertices.

        Pose and intrinsics get their gradients from the positions, by the chain rule.
        """
        mesh = as_triangles(scene)
        pixels, depth = camera.project(mesh.vertices)
        drawn = torch.cat([scene.radiance(), depth[:, None]], dim=1)  # depth is not perturbed
        maps: Tensor = _Estimated.apply(
            pixels, drawn, depth.detach(), mesh.faces, camera.size, self
        )
        alpha = maps[..., 4]
        image = maps[..., :3] + (1 - alpha[..., None]) * scene.background
        return Rendering(image, alpha, maps[..., 3])


def _draw(
    pixels: Tensor,  # (V, 2)
    values: Tensor,  # (V, C)
    depth: Tensor,  # (V,)
    faces: Tensor,  # (F, 3)
    size: tuple[int, int],
) -> tuple[Tensor, Tensor]:
    """The engine: values and coverage (H, W, C + 1), and the face at each pixel (H, W)."""
    one = torch.eye(3).to(pixels)
    ahead = depth[:, None]
    placed = torch.cat([pixels * ahead, ahead], dim=1)  # what the camera K = 1 sees at `pixels`
    fragments = rasterize((placed, faces), Camera(one, one, torch.zeros(3).to(pixels), size))
    maps = torch.cat([interpolate(values, fragments), fragments.mask()[..., None]], dim=-1)
    return maps, fragments.face[..., 0]


class _Estimated(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        pixels: Tensor,
        values: Tensor,
        depth: Tensor,
        faces: Tensor,
        size: tuple[int, int],
        settings: StochasticGradients,
    ) -> Tensor:
        ctx.save_for_backward(pixels, values, depth, faces)
        ctx.size, ctx.settings = size, settings
        return _draw(pixels, values, depth, faces, size)[0]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:  # type: ignore[override]
        pixels, values, depth, faces = ctx.saved_tensors
        settings: StochasticGradients = ctx.settings
        made = torch.Generator(pixels.device).manual_seed(settings.seed)
        size = pixels.new_full((len(pixels), 6), settings.colour_step)  # x, y, RGB, depth
        size[:, :2] = settings.step
        rest = depth, faces, ctx.size
        total = torch.zeros_like(size)
        for _ in range(settings.samples):
            signs = torch.randint(0, 2, size.shape, generator=made, device=made.device) * 2 - 1
            signs[:, 5] = 0
            move = size * signs
            with torch.no_grad():
                (more, first), (less, second) = (
                    _draw(pixels + way * move[:, :2], values + way * move[:, 2:], *rest)
                    for way in (1, -1)
                )
            change = grad * (more - less)  # (H, W, 5)
            # A place changes all channels, a colour its own alone.
            whole = change.sum(-1, keepdim=True).expand(*change.shape[:2], 2)
            change = torch.cat([whole, change[..., :4]], dim=-1).view(-1, 6)
            total = total + _seen(first, second, faces, change, len(pixels)) * signs
        total = total / (2 * settings.samples * size)
        return total[:, :2], total[:, 2:], None, None, None, None


def _seen(first: Tensor, second: Tensor, faces: Tensor, change: Tensor, count: int) -> Tensor:
    """Sums for each of `count` vertices of the changes at the pixels that see it, once each.

    (H, W) faces of two pictures, (F, 3), (P, C) -> (count, C).
    """
    one, two = first.reshape(-1), second.reshape(-1)
    ours, theirs = faces[one.clamp(min=0)], faces[two.clamp(min=0)]  # (P, 3)
    seen = (one >= 0)[:, None].expand(-1, 3)
    twice = seen & (theirs[:, :, None] == ours[:, None]).any(-1)
    fresh = (two >= 0)[:, None] & ~twice
    total = change.new_zeros(count, change.shape[1])
    for corners, counted in ((ours, seen), (theirs, fresh)):
        pixel, corner = counted.nonzero(as_tuple=True)
        total = total.index_add(0, corners[pixel, corner], change[pixel])
    return total


TECHNIQUE = StochasticGradients()
