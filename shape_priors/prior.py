"""The shape prior: a linear family of meshes in the unit box, times a metric size.

Every kind of prior is a ShapePrior: a kind that is not linear overrides `decode` and its
derivative, and keeps in `mean` and `basis` what it is to first order (see `neural.NeuralPrior`).
"""

from __future__ import annotations

import copy
import dataclasses
import hashlib
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from diffrender.errors import InputError, check_shape
from diffrender.meshes import Mesh

__all__ = ["ShapePrior", "unit_box"]


def unit_box(vertices: Tensor) -> Tensor:  # (..., V, 3)
    """Scale and shift each shape so that its bounding box is the unit box exactly.

    The unit box is x in [-.5, .5], y in [-1, 0], z in [-.5, .5]. Differentiable; the extreme
    vertices carry the gradient of the normalisation.
    """
    low, high = vertices.amin(-2, keepdim=True), vertices.amax(-2, keepdim=True)
    corner = vertices.new_tensor([0.5, 1.0, 0.5])
    return (vertices - low) / (high - low) - corner


@dataclass(frozen=True, eq=False)
class ShapePrior:
    """Meshes of one topology whose shape is a latent vector and whose size is separate.

    Attributes:
        mean: (V, 3) in the unit box.
        basis: (D, V, 3), scaled so that the latents of the training set have unit variance.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        face_parts: (F,) int64 into `part_names`.
        size_mean: (3,) length, width, height in metres.
        size_sigma: (3,) standard deviations of the sizes in metres.
        part_names: what the part labels mean.
        name: of the prior.
        licence: under which the prior may be used.
        uv: (T, 2) texture coordinates, origin at the top-left corner, or None.
        face_uv: (F, 3) int64 into `uv`, or None.
        explained: share of the training set's variance that each latent explains.
    """

    mean: Tensor  # (V, 3)
    basis: Tensor  # (D, V, 3)
    faces: Tensor  # (F, 3)
    face_parts: Tensor  # (F,)
    size_mean: Tensor  # (3,)
    size_sigma: Tensor  # (3,)
    part_names: tuple[str, ...]
    name: str
    licence: str
    uv: Tensor | None = None  # (T, 2)
    face_uv: Tensor | None = None  # (F, 3)
    explained: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        check_shape("ShapePrior.mean", self.mean, None, 3)
        check_shape("ShapePrior.basis", self.basis, None, len(self.mean), 3)
        check_shape("ShapePrior.faces", self.faces, None, 3)
        check_shape("ShapePrior.face_parts", self.face_parts, len(self.faces))
        check_shape("ShapePrior.size_mean", self.size_mean, 3)
        check_shape("ShapePrior.size_sigma", self.size_sigma, 3)
        if (self.uv is None) != (self.face_uv is None):
            raise InputError("ShapePrior.uv and .face_uv come together: give both or neither")
        if self.uv is not None:
            check_shape("ShapePrior.uv", self.uv, None, 2)
            check_shape("ShapePrior.face_uv", self.face_uv, len(self.faces), 3)
        _check_index("faces", self.faces, len(self.mean))
        _check_index("face_parts", self.face_parts, len(self.part_names))
        if self.face_uv is not None and self.uv is not None:
            _check_index("face_uv", self.face_uv, len(self.uv))

    @property
    def latent_size(self) -> int:
        """Number D of shape latents."""
        return len(self.basis)

    def digest(self) -> str:
        """16 hexadecimal digits of the shapes that latents stand for, to first order.

        Of `mean`, `basis` and `faces`: the same wherever and how often a prior is loaded.
        """
        total = hashlib.sha256()
        for part in (self.mean.float(), self.basis.float(), self.faces):
            total.update(part.detach().cpu().contiguous().numpy().tobytes())
        return total.hexdigest()[:16]

    def decode(self, latent: Tensor) -> Tensor:  # (..., D)
        """Vertices in the unit box. Shapes: (..., D) -> (..., V, 3); differentiable.

        Each shape fills the unit box exactly, so that size and shape stay apart.

        Raises:
            InputError: the last dimension of `latent` is not D.
        """
        check_shape("latent", latent, "...", self.latent_size)
        return unit_box(self._unfilled(latent))

    def decode_jacobian(self, latent: Tensor) -> Tensor:  # (D,)
        """Derivative (V, 3, D) of the vertices of `decode` to one latent, without a graph.

        Raises:
            InputError: `latent` is not (D,).
        """
        check_shape("latent", latent, self.latent_size)
        raw = self.mean + torch.einsum("d,dvk->vk", latent, self.basis)
        (low, first), (high, last) = raw.min(0), raw.max(0)
        inside = (raw - low) / (high - low)
        moves = self.basis.permute(1, 2, 0)  # (V, 3, D)
        axis = torch.arange(3, device=raw.device)
        at_low, at_high = moves[first, axis], moves[last, axis]  # (3, D)
        change = moves - at_low - inside[..., None] * (at_high - at_low)
        return (change / (high - low)[:, None]).detach()

    def expand(self, latent: Tensor) -> tuple[Tensor, Tensor]:  # (N, D)
        """The shapes of latents to first order, before they fill the unit box.

        Returns:
            Vertices (N, V, 3), whose `unit_box` is what `decode` gives, and their derivatives to
            the latents, (N, D, V, 3), or (1, D, V, 3) where those of all shapes are the same.
            Without a graph.
        """
        return self._unfilled(latent).detach(), self.basis[None].detach()

    def _unfilled(self, latent: Tensor) -> Tensor:  # (..., D)
        """(..., V, 3) before the shapes fill the unit box."""
        moved = latent @ self.basis.flatten(1)
        return self.mean + moved.unflatten(-1, (len(self.mean), 3))

    def place(
        self,
        latent: Tensor,  # (..., D)
        size: Tensor,  # (..., 3)
        rotation: Tensor,  # (..., 3, 3)
        location: Tensor,  # (..., 3)
    ) -> Tensor:
        """Vertices in the camera's world, metres. Shape (..., V, 3); differentiable in all four.

        Args:
            latent: (..., D) shape.
            size: (..., 3) length, width, height in metres.
            rotation: (..., 3, 3) object_to_world.
            location: (..., 3) centre of the bottom face in the world, metres.
        """
        check_shape("size", size, "...", 3)
        check_shape("rotation", rotation, "...", 3, 3)
        check_shape("location", location, "...", 3)
        scale = torch.stack([size[..., 0], size[..., 2], size[..., 1]], -1)
        metric = self.decode(latent) * scale[..., None, :]
        return metric @ rotation.mT + location[..., None, :]

    def mesh(
        self,
        latent: Tensor | None = None,  # (D,)
        size: Tensor | None = None,  # (3,)
        texture: Tensor | None = None,  # (H, W, 3)
    ) -> Mesh:
        """One metric mesh in the object frame, with the prior's parts and texture coordinates.

        Args:
            latent: (D,), zeros if left out.
            size: (3,) length, width, height in metres, the mean size if left out.
            texture: (H, W, 3) sRGB, for example `default_texture(prior)`.

        Raises:
            InputError: a texture for a prior without texture coordinates.
        """
        if texture is not None and self.uv is None:
            raise InputError(f"the prior '{self.name}' has no texture coordinates for a texture")
        latent = self.mean.new_zeros(self.latent_size) if latent is None else latent
        check_shape("latent", latent, self.latent_size)
        size = self.size_mean if size is None else size
        check_shape("size", size, 3)
        vertices = self.decode(latent) * size[[0, 2, 1]]
        return Mesh(
            vertices,
            self.faces,
            uv=self.uv,
            face_uv=self.face_uv,
            texture=texture,
            face_parts=self.face_parts,
        )

    def to(self, *args: torch.device | torch.dtype | str) -> ShapePrior:
        """The prior on another device, or with its floating tensors in another dtype."""
        dtypes = [a for a in args if isinstance(a, torch.dtype)]
        devices = [a for a in args if not isinstance(a, torch.dtype)]
        moved: dict[str, Tensor | nn.Module] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, nn.Module):  # which would move in place
                module = copy.deepcopy(value)
                for target in args:
                    module.to(target)
                moved[field.name] = module
            if isinstance(value, Tensor):
                for target in devices + (dtypes if value.is_floating_point() else []):
                    value = value.to(target)
                moved[field.name] = value
        return dataclasses.replace(self, **moved)  # type: ignore[arg-type]


def _check_index(name: str, index: Tensor, count: int) -> None:
    if index.dtype != torch.int64:
        raise InputError(f"ShapePrior.{name} has dtype {index.dtype}, expected torch.int64")
    if index.numel() and not (0 <= int(index.min()) and int(index.max()) < count):
        raise InputError(
            f"ShapePrior.{name} has values from {int(index.min())} to {int(index.max())}, "
            f"expected 0 to {count - 1}"
        )
