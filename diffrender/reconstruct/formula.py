"""The objective of a reconstruction, as a formula of named terms."""

from __future__ import annotations

from collections.abc import Callable

from diffrender.losses import (
    Box,
    GroundContact,
    LatentPrior,
    Loss,
    Photometric,
    Silhouette,
    SizePrior,
    Structure,
)
from diffrender.reconstruct.agreement import depth_term
from diffrender.reconstruct.observations import DepthNoise
from diffrender.reconstruct.palette import part_colour
from diffrender.reconstruct.settings import ReconstructSettings
from diffrender.road import Road

__all__ = ["objective"]


def objective(
    settings: ReconstructSettings,
    noise: DepthNoise,
    part_names: tuple[str, ...],
    road: Road | None,
    common: float | None = None,
) -> Callable[[bool], Loss]:
    """The loss of a stage, without or with the photometric term. `repr` prints its formula.

    `road` is what objects stand on, None if that is not known. `common` is the log factor of the
    depth map on which the image's objects agree, once they do.
    """
    w = settings.weights
    loss = (
        w.silhouette * Silhouette()
        + w.box * Box()
        + w.depth * depth_term(noise, common)
        + w.size * SizePrior()
        + w.latent * LatentPrior()
    )
    if road is not None:
        loss = loss + w.ground * GroundContact(road)
    colours = [part_colour(name) for name in part_names]
    palette, spread = tuple(c.mean for c in colours), tuple(c.spread for c in colours)
    photometric = Photometric(
        palette, spread, space=settings.colour_space, bend=settings.colour_bend
    )
    with_parts = loss + w.photometric * photometric
    if w.structure:
        with_parts = with_parts + w.structure * Structure(palette, spread)
    return lambda parts: with_parts if parts else loss
