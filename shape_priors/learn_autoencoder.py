"""Learn an auto-encoder prior from meshes of one topology, or from the procedural cars."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.shape_priors.autoencoder import train_point_autoencoder
from diffrender.shape_priors.autoencoder_settings import AutoencoderSettings, TrainingReport
from diffrender.shape_priors.build_asset import SIZE_MEAN, SIZE_SIGMA, draw_fleet
from diffrender.shape_priors.car_family import family_atlas
from diffrender.shape_priors.car_lattice import PART_NAMES, lattice
from diffrender.shape_priors.car_textures import sample_textures
from diffrender.shape_priors.decoder import DecoderSettings
from diffrender.shape_priors.learn import MeshSet, face_atlas, read_mesh_set
from diffrender.shape_priors.neural import NeuralPrior, linearised
from diffrender.shape_priors.prior import unit_box
from diffrender.shape_priors.symmetric_template import symmetric_template
from diffrender.shape_priors.texture_decoder import TextureSettings, mirrored_texels
from diffrender.shape_priors.texture_training import TextureTraining, train_texture_decoder

__all__ = ["CAR_SETTINGS", "Labels", "Watch", "autoencoder_of_cars", "learn_autoencoder"]


@dataclass(frozen=True)
class Labels:
    """Name and licence that are written into the file."""

    name: str = "learned"
    licence: str = "that of the meshes it was learned from"


@dataclass(frozen=True)
class Watch:
    """A training's checkpoint file (None keeps none) and what is told after every step."""

    checkpoint: Path | None = None
    progress: Callable[[TrainingReport], None] | None = None


def learn_autoencoder(
    meshes: Sequence[str | Path | Mesh] | MeshSet,
    settings: AutoencoderSettings | None = None,
    generator: torch.Generator | None = None,
    labels: Labels = Labels(),
    watch: Watch = Watch(),
    axes: tuple[str | None, str | None] = (None, None),
    scale: float = 1.0,
) -> NeuralPrior:
    """An auto-encoder of meshes that share one topology, symmetric exactly.

    The template is the meshes' own topology where its vertices mirror each other, else the left
    half of it and its image (see `symmetric_template`).

    Args:
        meshes: OBJ or PLY files, Mesh objects, or a set that `read_mesh_set` read; at least
            latent_size + 1.
        settings: sizes and steps; the defaults suit some dozens of meshes.
        generator: of every draw; seeded with 0 if left out.
        labels: name and licence.
        watch: checkpoint and progress.
        axes: forward and up axis of the files, such as ("+z", "-y"); None: found.
        scale: metres per unit of the files.

    Returns:
        A prior whose sizes have the mean and the spread of the meshes, with one part, an atlas in
        which every face has a place of its own, and no texture decoder.

    Raises:
        InputError: as `learn_prior`, or the meshes are not symmetric enough to be halved.
    """
    settings = settings or AutoencoderSettings()
    generator = generator or torch.Generator().manual_seed(0)
    least = settings.latent_size + 1
    read = meshes if isinstance(meshes, MeshSet) else read_mesh_set(meshes, *axes, scale)
    if len(read.vertices) < least:
        raise InputError(
            f"{len(read.vertices)} meshes cannot give {settings.latent_size} latents: "
            f"expected at least {least} meshes, or a smaller latent_size"
        )
    boxed = unit_box(read.vertices)
    template = symmetric_template(boxed.mean(0), read.faces)
    shapes = unit_box(template.carry(boxed)).float()
    size_mean = read.sizes.mean(0)
    topology = template.faces, template.mirror
    decoder, encoder = train_point_autoencoder(
        shapes, topology, size_mean[[0, 2, 1]], settings, generator, watch.checkpoint,
        watch.progress,
    )  # fmt: skip
    mean, basis = linearised(decoder)
    uv, face_uv = face_atlas(len(template.faces))
    return NeuralPrior(
        mean=mean,
        basis=basis,
        faces=template.faces,
        face_parts=torch.zeros(len(template.faces), dtype=torch.int64),
        size_mean=size_mean.float(),
        size_sigma=torch.maximum(read.sizes.std(0), 0.01 * size_mean).float(),
        part_names=("body",),
        name=labels.name,
        licence=labels.licence,
        uv=uv,
        face_uv=face_uv,
        mirror=template.mirror,
        decoder=decoder,
        encoder=encoder,
    )


CAR_SETTINGS = AutoencoderSettings(
    decoder=DecoderSettings(width=256, hidden=2),
    steps=1500,
    encoder_steps=3000,
    batch=64,
    learning_rate=1e-3,
    mix=0.0,
)
_TEXTURES = 300  # drawn for the texture decoder


def autoencoder_of_cars(
    settings: AutoencoderSettings | None = None,
    generator: torch.Generator | None = None,
    labels: Labels = Labels("car-autoencoder", "Apache-2.0"),
    watch: Watch = Watch(),
    cars: int = 1500,
) -> NeuralPrior:
    """An auto-encoder of the procedural cars, with their parts and atlas and a texture decoder.

    Args:
        settings: sizes and steps; CAR_SETTINGS if left out (the family is large: more steps, a
            wider decoder, and nothing is blended).
        generator: of every draw; seeded with 0 if left out.
        labels: name and licence.
        watch: checkpoint and progress.
        cars: how many are drawn.

    Raises:
        InputError: too few cars for the latents, or the checkpoint is another run's.
    """
    settings = settings or CAR_SETTINGS
    generator = generator or torch.Generator().manual_seed(0)
    shapes, _ = draw_fleet(cars, generator)
    skin = lattice()
    faces, mirror = torch.tensor(skin.faces), torch.tensor(skin.mirror)  # not what is kept
    size_mean = torch.tensor(SIZE_MEAN)
    textures_from = torch.Generator().manual_seed(
        int(torch.randint(2**31, (1,), generator=generator))
    )
    decoder, encoder = train_point_autoencoder(
        shapes, (faces, mirror), size_mean[[0, 2, 1]], settings, generator, watch.checkpoint,
        watch.progress,
    )  # fmt: skip
    mean, basis = linearised(decoder)
    uv, face_uv = family_atlas()
    prior = NeuralPrior(
        mean=mean,
        basis=basis,
        faces=faces,
        face_parts=torch.tensor(skin.face_parts),
        size_mean=size_mean,
        size_sigma=torch.tensor(SIZE_SIGMA),
        part_names=PART_NAMES,
        name=labels.name,
        licence=labels.licence,
        uv=torch.tensor(uv).float(),
        face_uv=torch.tensor(face_uv),
        mirror=mirror,
        decoder=decoder,
        encoder=encoder,
    )
    texture_settings = TextureSettings(sparsity=settings.decoder.sparsity)
    side = texture_settings.resolution
    textures = sample_textures(prior, _TEXTURES, side, textures_from)
    texture, _ = train_texture_decoder(
        textures, mirrored_texels(prior, mirror, side), texture_settings, TextureTraining(),
        textures_from,
    )  # fmt: skip
    return dataclasses.replace(prior, texture=texture)
