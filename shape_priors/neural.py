"""A prior whose shapes a network decodes: a ShapePrior to everything that takes one."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.meshes import Mesh
from diffrender.shape_priors.decoder import ShapeDecoder
from diffrender.shape_priors.point_encoder import PointEncoder, surface_points
from diffrender.shape_priors.prior import ShapePrior, unit_box
from diffrender.shape_priors.texture_decoder import TextureDecoder

__all__ = ["NeuralPrior", "linearised"]

_STEP = 1e-3  # of a latent's deviation, for central differences
_POINTS = 2048


@dataclass(frozen=True, eq=False)
class NeuralPrior(ShapePrior):
    """A mesh auto-encoder as a shape prior; symmetric exactly.

    `mean` is the shape of latent zero and `basis` the derivative there (see `linearised`): what
    the prior is to first order. `decode`, `place` and `mesh` go through the decoder.

    Attributes:
        mirror: (V,) int64, the vertex on the other side of each.
        decoder: latents to vertices.
        encoder: points of a surface to latents, or None.
        texture: a small latent to the atlas's picture, or None.
    """

    mirror: Tensor | None = None
    decoder: ShapeDecoder | None = None
    encoder: PointEncoder | None = None
    texture: TextureDecoder | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_shape("NeuralPrior.mirror", self.mirror, len(self.mean))
        if self.decoder is None or self.decoder.latent_size != self.latent_size:
            raise InputError(
                f"NeuralPrior.decoder is {type(self.decoder).__name__}, expected a ShapeDecoder "
                f"of {self.latent_size} latents, as many as the basis has"
            )
        if self.encoder is not None and self.encoder.latent_size != self.latent_size:
            raise InputError(
                f"NeuralPrior.encoder gives {self.encoder.latent_size} latents, the decoder takes "
                f"{self.latent_size}"
            )

    def decode(self, latent: Tensor) -> Tensor:  # (..., D)
        """Vertices in the unit box. Shapes: (..., D) -> (..., V, 3); differentiable.

        Raises:
            InputError: the last dimension of `latent` is not D.
        """
        assert self.decoder is not None
        return self.decoder(latent)

    @torch.no_grad()
    def decode_jacobian(self, latent: Tensor) -> Tensor:  # (D,)
        """Derivative (V, 3, D) of `decode` to one latent, by central differences."""
        check_shape("latent", latent, self.latent_size)
        return _differences(self.decode, latent).permute(1, 2, 0)

    @torch.no_grad()
    def expand(self, latent: Tensor) -> tuple[Tensor, Tensor]:  # (N, D)
        """Vertices (N, V, 3) of `decode` and their derivatives (N, D, V, 3), as the base class."""
        return self.decode(latent), _differences(self.decode, latent)

    @torch.no_grad()
    def encode(self, mesh: Mesh, generator: torch.Generator) -> Tensor:
        """Latent (D,) of a mesh of any topology that stands in the object frame.

        Args:
            mesh: x forward, y down; any scale, since it is fitted to the unit box.
            generator: of the points drawn on its surface.

        Raises:
            InputError: the prior has no encoder.
        """
        if self.encoder is None:
            raise InputError(f"the prior '{self.name}' has no encoder: fit it with fit_prior")
        metric = self.size_mean[[0, 2, 1]]
        vertices = unit_box(mesh.vertices.to(self.mean))
        faces = mesh.faces.to(self.faces.device)
        return self.encoder(surface_points(vertices, faces, _POINTS, generator, metric))

    def to(self, *args: torch.device | torch.dtype | str) -> NeuralPrior:
        """The prior on another device, or with its floating tensors in another dtype."""
        there = self.mean
        for target in args:
            there = there.to(target)
        if there.device == self.mean.device and there.dtype == self.mean.dtype:
            return self  # networks are copied to be moved: not for nothing
        moved = ShapePrior.to(self, *args)
        assert isinstance(moved, NeuralPrior)
        return moved


@torch.no_grad()
def linearised(decoder: ShapeDecoder) -> tuple[Tensor, Tensor]:
    """Shape of latent zero (V, 3) and the derivative there (D, V, 3), float32."""
    zero = torch.zeros(decoder.latent_size)
    return decoder(zero), _differences(decoder, zero)


def _differences(decode: Callable[[Tensor], Tensor], latent: Tensor) -> Tensor:
    """Central differences, (..., D) -> (..., D, V, 3)."""
    step = _STEP * torch.eye(latent.shape[-1], dtype=latent.dtype, device=latent.device)
    if latent.dtype == torch.float32:
        step = 10 * step  # single precision wants a longer one
    latent = latent[..., None, :]
    high, low = decode(torch.cat([latent + step, latent - step], dim=-2)).chunk(2, dim=-3)
    return (high - low) / (2 * step.amax())
