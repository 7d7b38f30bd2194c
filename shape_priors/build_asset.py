"""Make a shipped linear prior: `python -m diffrender.shape_priors.build_asset [--name NAME]`.

Draws procedural cars, pedestrians or cyclists with a fixed seed and keeps their principal
components. Nothing measured on real ones enters: body styles, proportions and sizes are general
knowledge (see car_params, pedestrian_family, cyclist_family).
"""

from __future__ import annotations

import argparse

import torch
from torch import Tensor

from diffrender._commands import run_module
from diffrender.shape_priors.car_family import family_atlas, sample_car
from diffrender.shape_priors.car_lattice import PART_NAMES, lattice
from diffrender.shape_priors.families import cyclist_prior, pedestrian_prior
from diffrender.shape_priors.files import prior_path, save_prior
from diffrender.shape_priors.pca import principal_components
from diffrender.shape_priors.prior import ShapePrior

__all__ = ["build_car_prior", "draw_fleet"]

SAMPLES, SEED, LATENT_SIZE = 1500, 20240, 8
# Shares of the body styles among the samples.
_MIX = {
    "saloon": 0.24,
    "hatchback": 0.26,
    "estate": 0.16,
    "suv": 0.16,
    "van": 0.09,
    "coupe": 0.07,
    "pickup": 0.02,
}
# Metres: length, width, height of the average car on European roads, and how much cars differ
# there (small cars of 3.5 m to large ones of 4.9 m within two deviations or so).
SIZE_MEAN = (3.88, 1.63, 1.53)
SIZE_SIGMA = (0.40, 0.10, 0.13)


def draw_fleet(samples: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Procedural cars of all styles, by their shares.

    Returns:
        (N, V, 3) vertices in the unit box; (N, 3) length, width, height in metres. N differs from
        `samples` by the rounding of shares.
    """
    cars = [
        sample_car(kind, generator)
        for kind, share in _MIX.items()
        for _ in range(round(share * samples))
    ]
    return torch.stack([car.mesh.vertices for car in cars]), torch.stack([c.size for c in cars])


def build_car_prior(samples: int = SAMPLES, latent_size: int = LATENT_SIZE) -> ShapePrior:
    """Sample the car family and reduce it to `latent_size` latents (deterministic)."""
    shapes, _ = draw_fleet(samples, torch.Generator().manual_seed(SEED))
    size_mean = torch.tensor(SIZE_MEAN)
    metric = size_mean[[0, 2, 1]]
    mean, basis, explained = principal_components(shapes, latent_size, metric)
    skin = lattice()
    uv, face_uv = family_atlas()
    return ShapePrior(
        mean=mean.float(),
        basis=basis.float(),
        faces=torch.tensor(skin.faces),
        face_parts=torch.tensor(skin.face_parts),
        size_mean=size_mean,
        size_sigma=torch.tensor(SIZE_SIGMA),
        part_names=PART_NAMES,
        name="car",
        licence="Apache-2.0",
        uv=torch.tensor(uv).float(),
        face_uv=torch.tensor(face_uv),
        explained=tuple(explained.tolist()),
    )


_MAKERS = {
    "car": build_car_prior,
    "cyclist": cyclist_prior,
    "pedestrian": pedestrian_prior,
}


def main(arguments: list[str] | None = None) -> None:
    """Command line: write the asset and print what it explains."""
    parser = argparse.ArgumentParser(prog="python -m diffrender.shape_priors.build_asset")
    parser.add_argument("file", nargs="?")
    parser.add_argument("--name", choices=sorted(_MAKERS), default="car")
    options = parser.parse_args(arguments)
    prior = _MAKERS[options.name]()
    path = save_prior(prior, options.file or prior_path(options.name))
    shares = ", ".join(f"{100 * share:.1f}" for share in prior.explained)
    print(f"{path}: {len(prior.mean)} vertices, {len(prior.faces)} faces")
    print(f"variance explained (%): {shares}; together {100 * sum(prior.explained):.1f}")


if __name__ == "__main__":
    run_module(main)
