"""Principal components of shapes that share one topology."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

__all__ = ["principal_components"]

_SAME = 1e-12  # spread over size that is rounding


def principal_components(
    shapes: Tensor,  # (N, V, 3)
    latent_size: int,
    axis_weights: Tensor,  # (3,)
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean, basis and explained variance of a set of shapes.

    Args:
        shapes: (N, V, 3) in the unit box.
        latent_size: number D of components to keep.
        axis_weights: (3,) metres per unit along x, y, z, so that an error counts alike in
            every direction.

    Returns:
        mean (V, 3); basis (D, V, 3), each component times its standard deviation, so that the
        latents of the set have unit variance; share of the variance explained by each (D,).

    Raises:
        InputError: not enough shapes for that many components, or shapes that are all the same.
    """
    check_shape("shapes", shapes, None, None, 3)
    if not 1 <= latent_size < len(shapes):
        raise InputError(
            f"{len(shapes)} shapes cannot give {latent_size} components: "
            f"expected 1 <= latent_size < number of shapes"
        )
    points = shapes.double() * axis_weights.double()
    mean = points.mean(0)
    centred = (points - mean).flatten(1)
    _, singular, directions = torch.linalg.svd(centred, full_matrices=False)
    if not float(singular[0]) > _SAME * float(points.norm()):
        raise InputError(
            f"the {len(shapes)} shapes are all the same in the unit box, expected shapes that "
            "differ: a prior learns how"
        )
    deviation = singular / (len(shapes) - 1) ** 0.5
    basis = (directions * deviation[:, None])[:latent_size].reshape(latent_size, -1, 3)
    # A component's sign is arbitrary: make its largest move along x or y positive. (Along z a
    # symmetric shape moves both ways by the same amount.)
    plane = basis[..., :2].flatten(1)
    largest = plane.gather(1, plane.abs().argmax(1, keepdim=True))
    basis = basis * torch.where(largest < 0, -1.0, 1.0)[..., None]
    variance = deviation.square()
    explained = variance[:latent_size] / variance.sum()
    return mean / axis_weights.double(), basis / axis_weights.double(), explained
