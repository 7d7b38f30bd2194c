"""The pictures of docs/shape-spaces.md: `python docs/pictures/shape_spaces.py [FOLDER]`."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh, face_normals
from diffrender.raster import rasterize
from diffrender.reconstruct.surfaces import encode_png
from diffrender.rotations import euler_to_matrix
from diffrender.shape_priors import NeuralPrior, ShapePrior, load_prior

SIDE = 150
COLOURS = torch.tensor(
    [[0.33, 0.46, 0.70], [0.80, 0.47, 0.30], [0.42, 0.62, 0.45], [0.78, 0.67, 0.36],
     [0.55, 0.43, 0.66], [0.45, 0.60, 0.66], [0.70, 0.48, 0.55], [0.5, 0.5, 0.5]]
)  # fmt: skip


def shaded(prior: ShapePrior, latent: Tensor, yaw: float) -> Tensor:
    """One figure on white, its parts in flat colours, (SIDE, SIDE, 3)."""
    size = prior.size_mean
    rotation = euler_to_matrix(*torch.tensor([yaw, 0.12, 0.0]))
    away = 1.3 * float(size.max()) + 0.6
    place = torch.tensor([0.0, float(size[2]) / 2, away])
    vertices = prior.place(latent[None], size[None], rotation[None], place[None])[0]
    intrinsics = torch.tensor([[SIDE * 1.05, 0, SIDE / 2], [0, SIDE * 1.05, SIDE / 2], [0, 0, 1]])
    camera = Camera.from_intrinsics(intrinsics, (SIDE, SIDE), pixel_centres="half")
    face = rasterize(Mesh(vertices, prior.faces), camera).face[..., 0]
    light = torch.nn.functional.normalize(torch.tensor([0.3, -0.6, -0.8]), dim=0)
    bright = 0.35 + 0.65 * (face_normals(vertices, prior.faces) @ light).clamp(min=0)
    colours = bright[:, None] * COLOURS[prior.face_parts % len(COLOURS)]
    return torch.where((face >= 0)[..., None], colours[face.clamp(min=0)], torch.ones(3))


def people() -> Tensor:
    """A row a prior: the mean, and one and a half deviations of its first latents either way."""
    rows = []
    for name in ("pedestrian", "cyclist", "free"):
        prior = load_prior(name)
        figures = [shaded(prior, torch.zeros(prior.latent_size), -0.7)]
        for which in range(3):
            for sign in (-1.5, 1.5):
                latent = torch.zeros(prior.latent_size)
                latent[which] = sign
                figures.append(shaded(prior, latent, -0.7))
        rows.append(torch.cat(figures, 1))
    return torch.cat(rows)


def textures() -> Tensor:
    """Random textures of the shipped decoder, two rows of six, enlarged twice."""
    prior = load_prior("car-autoencoder")
    assert isinstance(prior, NeuralPrior) and prior.texture is not None
    latents = torch.randn(12, prior.texture.latent_size, generator=torch.Generator().manual_seed(4))
    drawn = prior.texture(latents).repeat_interleave(2, 1).repeat_interleave(2, 2)
    drawn = torch.nn.functional.pad(drawn, (0, 0, 2, 2, 2, 2), value=1.0)
    return torch.cat([torch.cat(list(row), 1) for row in drawn.split(6)])


def main(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name, picture in (("people", people()), ("textures", textures())):
        data = (picture.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        (folder / f"shape_spaces_{name}.png").write_bytes(encode_png(np.ascontiguousarray(data)))


if __name__ == "__main__":
    home = Path(__file__).resolve().parents[1] / "images"
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else home)
