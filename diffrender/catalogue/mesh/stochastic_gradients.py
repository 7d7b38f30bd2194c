"""Stochastic gradient estimation (Deliot, Heitz and Belcour 2024) for a hard rasterizer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.scene import Rendering, Scene, as_triangles, check_view, with_a_face
from diffrender.errors import InputError
from diffrender.raster import interpolate, rasterize

__all__ = ["TECHNIQUE", "StochasticGradients"]


@dataclass(frozen=True)
class StochasticGradients:
    """A rasterizer without gradients, rendered twice with everything moved a little at random.

    Attributes:
        step: pixels by which each vertex moves, up or down, left or right.
        colour_step: by which each channel of each vertex changes.
        samples: pairs of pictures in each backward pass, for places and for colours.
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
        venue="Proceedings of the ACM on Computer Graphics and Interactive Techniques 7(1), I3D",
        arxiv="2404.09758",
        sections="paper's sections on per-pixel stochastic gradients; after the survey",
        equations=(
            "I± = R(θ ± ε s), every s_i = ±1 at random",
            "∂L/∂θ_i ≈ Σ_{p sees i in I+ or I-} <∂L/∂I(p), I+(p) - I-(p)> / (2 ε s_i)",
        ),
        family="mesh, approximate gradient",
        idea=(
            "Perturb all places at once by random signs and draw two pictures, with plus and with "
            "minus; and so for all colours.",
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
        time="O(S (P + N)) for S pairs of pictures of P pixels and N parameters",
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
        check_view(scene, camera)
        scene = with_a_face(scene)
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
        places, colours = torch.zeros_like(pixels), torch.zeros_like(values)
        for _ in range(settings.samples):
            # In turns, since the steps of the one would be noise to the other.
            signs = _signs(pixels.shape, made).to(pixels)
            move = settings.step * signs
            more, less = ((pixels + move, values), (pixels - move, values))
            change, faces_seen = _difference(more, less, grad, depth, faces, ctx.size)
            whole = change.sum(-1, keepdim=True)  # a place changes all channels
            places = places + _gather(whole, faces_seen, faces, len(pixels)) * signs

            signs = _signs(values.shape, made).to(values)
            signs[:, 3] = 0  # depth stays
            move = settings.colour_step * signs
            more, less = ((pixels, values + move), (pixels, values - move))
            change, faces_seen = _difference(more, less, grad, depth, faces, ctx.size)
            each = change[:, :4]  # a colour changes its own channel
            colours = colours + _gather(each, faces_seen, faces, len(pixels)) * signs
        places = places / (2 * settings.samples * settings.step)
        colours = colours / (2 * settings.samples * settings.colour_step)
        return places, colours, None, None, None, None


def _signs(shape: torch.Size, generator: torch.Generator) -> Tensor:
    return torch.randint(0, 2, shape, generator=generator, device=generator.device) * 2 - 1


def _difference(
    more: tuple[Tensor, Tensor],
    less: tuple[Tensor, Tensor],
    grad: Tensor,  # (H, W, C)
    depth: Tensor,
    faces: Tensor,
    size: tuple[int, int],
) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """What the loss gains from less to more by each channel (P, C), and the faces seen in both."""
    with torch.no_grad():
        (above, first), (below, second) = (_draw(*e, depth, faces, size) for e in (more, less))
    change = grad * (above - below)
    return change.view(-1, grad.shape[-1]), (first.reshape(-1), second.reshape(-1))


def _gather(change: Tensor, seen: tuple[Tensor, Tensor], faces: Tensor, count: int) -> Tensor:
    """Sums for each of `count` vertices of the changes at the pixels that see it, once each.

    (P, C), two of (P,), (F, 3) -> (count, C).
    """
    one, two = seen
    ours, theirs = faces[one.clamp(min=0)], faces[two.clamp(min=0)]  # (P, 3)
    covered = (one >= 0)[:, None].expand(-1, 3)
    twice = covered & (theirs[:, :, None] == ours[:, None]).any(-1)
    fresh = (two >= 0)[:, None] & ~twice
    total = change.new_zeros(count, change.shape[1])
    for corners, counted in ((ours, covered), (theirs, fresh)):
        pixel, corner = counted.nonzero(as_tuple=True)
        total = total.index_add(0, corners[pixel, corner], change[pixel])
    return total


TECHNIQUE = StochasticGradients()
