"""Priors of people: principal components of the procedural pedestrians and cyclists."""

from __future__ import annotations

import numpy as np
import torch

from diffrender.shape_priors.cyclist_family import cyclist_body, draw_cyclist
from diffrender.shape_priors.learn import face_atlas
from diffrender.shape_priors.pca import principal_components
from diffrender.shape_priors.pedestrian_family import draw_pedestrian, pedestrian_body
from diffrender.shape_priors.prior import ShapePrior, unit_box
from diffrender.shape_priors.solids import Body

__all__ = ["cyclist_prior", "family_prior", "pedestrian_prior"]

_SAMPLES, _SEED, _LATENTS = 300, 4711, 8


def pedestrian_prior() -> ShapePrior:
    """Walking and standing figures, adults and some children; parts head, torso, leg, foot, arm."""
    generator = torch.Generator().manual_seed(_SEED)
    bodies = [pedestrian_body(draw_pedestrian(generator)) for _ in range(_SAMPLES)]
    return family_prior("pedestrian", bodies)


def cyclist_prior() -> ShapePrior:
    """Riders on bicycles; parts cycle_wheel, frame, torso, head, leg, foot, arm."""
    generator = torch.Generator().manual_seed(_SEED)
    bodies = [cyclist_body(draw_cyclist(generator)) for _ in range(_SAMPLES)]
    return family_prior("cyclist", bodies)


def family_prior(name: str, bodies: list[Body], latent_size: int = _LATENTS) -> ShapePrior:
    """Principal components of procedural bodies of one topology, with their sizes' statistics."""
    metric = torch.from_numpy(np.stack([body.vertices for body in bodies]))
    sizes = (metric.amax(1) - metric.amin(1))[:, [0, 2, 1]]
    mean, basis, explained = principal_components(
        unit_box(metric), latent_size, sizes.mean(0)[[0, 2, 1]]
    )
    first = bodies[0]
    uv, face_uv = face_atlas(len(first.faces))
    return ShapePrior(
        mean=mean.float(),
        basis=basis.float(),
        faces=torch.from_numpy(first.faces),
        face_parts=torch.from_numpy(first.face_parts),
        size_mean=sizes.mean(0).float(),
        size_sigma=sizes.std(0).float(),
        part_names=first.part_names,
        name=name,
        licence="Apache-2.0",
        uv=uv,
        face_uv=face_uv,
        explained=tuple(explained.tolist()),
    )
