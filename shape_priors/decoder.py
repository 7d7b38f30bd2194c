"""A neural shape decoder: latents to the vertices of one template, through heavy hidden layers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffrender.blocksparse import SparsityConfig, linear
from diffrender.errors import InputError, check_shape

__all__ = ["DecoderSettings", "ShapeDecoder", "Symmetry"]

_ASYMMETRIC = 1e-4  # of the unit box: how far a template may be from its mirror image


@dataclass(frozen=True)
class DecoderSettings:
    """Sizes of a decoder.

    Attributes:
        width: features of every hidden layer.
        hidden: number of hidden layers, at least one.
        sparsity: of the layers that read a hidden layer, or None for dense ones. The first layer
            reads D numbers and stays dense.

    Raises:
        InputError: a size is not positive, or the block size does not divide the width.
    """

    width: int = 1024
    hidden: int = 3
    sparsity: SparsityConfig | None = None

    def __post_init__(self) -> None:
        for name in ("width", "hidden"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")
        if self.sparsity is not None and any(self.width % b for b in self.sparsity.block_shape):
            raise InputError(
                f"width is {self.width}, expected a multiple of the block size "
                f"{self.sparsity.block_shape}"
            )


class Symmetry(nn.Module):
    """Left and right of a template: which vertices are free, and where their mirror images go.

    Of two vertices that mirror each other across z = 0 one is free; a vertex that mirrors itself
    is free within the plane.
    """

    free: Tensor  # (H,) int64, numbers of the free vertices
    source: Tensor  # (V,) int64 into `free`
    sign: Tensor  # (V, 3) 1, but -1 for the z of an image
    across: Tensor  # (H, 3) 1, but 0 for the z of a vertex within the plane

    def __init__(self, mirror: Tensor) -> None:  # (V,)
        """Take the vertex on the other side of each vertex, as `car_lattice.lattice().mirror`.

        Raises:
            InputError: `mirror` does not lead back to every vertex.
        """
        super().__init__()
        check_shape("mirror", mirror, None)
        every = torch.arange(len(mirror))
        mirror = mirror.cpu().long()
        fits = bool(((mirror >= 0) & (mirror < len(mirror))).all())
        if not fits or not torch.equal(mirror[mirror], every):
            raise InputError("mirror is no mirror: expected mirror[mirror[v]] == v for every v")
        free = every[every <= mirror]
        sign, across = torch.ones(len(mirror), 3), torch.ones(len(free), 3)
        sign[mirror < every, 2] = -1
        across[mirror[free] == free, 2] = 0
        source = torch.searchsorted(free, torch.minimum(every, mirror))
        for name, value in {"free": free, "source": source, "sign": sign, "across": across}.items():
            self.register_buffer(name, value, persistent=False)

    def free_vertices(self, vertices: Tensor) -> Tensor:  # (..., V, 3)
        """The free vertices, (..., H, 3), those of the plane put exactly there."""
        return vertices[..., self.free, :] * self.across

    def whole(self, half: Tensor) -> Tensor:  # (..., H, 3)
        """All vertices, (..., V, 3), symmetric exactly."""
        return half.index_select(-2, self.source) * self.sign

    def fitted(self, vertices: Tensor) -> Tensor:  # (..., V, 3)
        """Symmetric shapes fitted to the unit box, (..., V, 3)."""
        return self.whole(self.unit_box(self.free_vertices(vertices)))

    def unit_box(self, half: Tensor) -> Tensor:  # (..., H, 3)
        """Free vertices such that the whole shape fills the unit box; see `prior.unit_box`."""
        low, high = half.amin(-2, keepdim=True), half.amax(-2, keepdim=True)
        reach = torch.maximum(high[..., 2:], -low[..., 2:])
        low = torch.cat([low[..., :2], -reach], -1)
        high = torch.cat([high[..., :2], reach], -1)
        stretch = (high - low).reciprocal()
        corner = half.new_tensor([0.5, 1.0, 0.5])
        return torch.addcmul(-low * stretch - corner, half, stretch)


class ShapeDecoder(nn.Module):
    """Latents to symmetric meshes in the unit box: a linear prior, corrected by a network.

    free vertices = mean + spread (A z + a + network(z)), then fitted to the box and mirrored. At
    first A z is the prior's basis and the network's last layer zero: training starts where the
    prior stands. With `SparsityConfig(mode="dynamic")` the masks may be trained as well.

    Attributes:
        settings: sizes of the network.
        symmetry: which vertices are free.
        linear: from latents to free vertices; starts as the basis.
        network: from latents to free vertices; what it gives over is cut off.
    """

    mean: Tensor  # (H, 3) free vertices of the mean shape
    spread: Tensor  # () root mean square distance of coordinates from the mean

    def __init__(
        self,
        mean: Tensor,  # (V, 3)
        basis: Tensor,  # (D, V, 3)
        mirror: Tensor,  # (V,)
        settings: DecoderSettings | None = None,
    ) -> None:
        """Random weights, from torch's global generator as those of nn.Linear.

        Args:
            mean, basis: (V, 3) and (D, V, 3) symmetric, in the unit box, as a `ShapePrior` has
                them; latents of unit variance.
            mirror: (V,) the vertex on the other side of each.

        Raises:
            InputError: mean or basis are not symmetric, or `mirror` is no mirror.
        """
        super().__init__()
        self.settings = settings = settings or DecoderSettings()
        check_shape("mean", mean, None, 3)
        check_shape("basis", basis, None, len(mean), 3)
        check_shape("mirror", mirror, len(mean))
        self.symmetry = Symmetry(mirror)
        half = _symmetric_half("mean", mean, self.symmetry)
        directions = _symmetric_half("basis", basis, self.symmetry)
        spread = basis.detach().double().square().sum(0).mean().sqrt().float()
        if not bool(spread > 0):
            raise InputError("basis is zero everywhere, expected directions that move vertices")
        self.register_buffer("mean", half)
        self.register_buffer("spread", spread.cpu())
        self.linear = nn.Linear(len(basis), half.numel())
        self.network = _network(len(basis), half.numel(), settings)
        with torch.no_grad():
            self.linear.weight.copy_(directions.flatten(1).mT / self.spread)
            self.linear.bias.zero_()
            for parameter in self.network[-1].parameters():
                parameter.zero_()

    @property
    def latent_size(self) -> int:
        """Number D of shape latents."""
        return self.linear.in_features

    def forward(self, latent: Tensor) -> Tensor:  # (..., D)
        """Vertices in the unit box, (..., V, 3); each shape fills it exactly. Differentiable.

        Raises:
            InputError: the last dimension of `latent` is not D.
        """
        check_shape("latent", latent, "...", self.latent_size)
        moved = self.linear(latent) + self.network(latent)[..., : self.mean.numel()]
        scale = self.spread * self.symmetry.across
        half = torch.addcmul(self.mean, moved.unflatten(-1, self.mean.shape), scale)
        return self.symmetry.whole(self.symmetry.unit_box(half))


def _network(latents: int, outputs: int, settings: DecoderSettings) -> nn.Sequential:
    width, sparsity = settings.width, settings.sparsity
    layers: list[nn.Module] = [nn.Linear(latents, width), nn.SiLU()]
    for _ in range(settings.hidden - 1):
        layers += [linear(width, width, sparsity), nn.SiLU()]
    high = 1 if sparsity is None else sparsity.block_shape[0]
    layers.append(linear(width, -(-outputs // high) * high, sparsity))  # whole blocks
    return nn.Sequential(*layers)


def _symmetric_half(name: str, shapes: Tensor, symmetry: Symmetry) -> Tensor:  # (..., V, 3)
    shapes = shapes.detach().cpu().float()
    half = symmetry.free_vertices(shapes)
    off = float((symmetry.whole(half) - shapes).abs().max())
    if off > _ASYMMETRIC:
        raise InputError(f"{name} is {off:.2g} from its mirror image, expected a symmetric one")
    return half
