"""The pictures of docs/visibility.md, drawn with the operations that they explain.

python docs/pictures/visibility.py              # into docs/images/
python docs/pictures/visibility.py DIR quick    # small and fast, as the tests run it
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import antialias, interpolate, rasterize, soft_silhouette
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import load_prior

matplotlib.use("Agg")
from matplotlib import pyplot as plt

HERE = Path(__file__).resolve().parents[1] / "images"
COLOURS = {"hard": "#888888", "antialias": "#0072b2", "soft": "#d55e00", "exact": "#000000"}


def camera_of(size: int) -> Camera:
    """Looks ahead with focal length 1.1 x the size."""
    k = torch.tensor([[1.1 * size, 0, size / 2], [0, 1.1 * size, size / 2], [0, 0, 1]])
    return Camera(k.double(), torch.eye(3).double(), torch.zeros(3).double(), (size, size))


def hard(mesh: Mesh, camera: Camera) -> Tensor:
    """Coverage at pixel centres, through `interpolate`: (H, W)."""
    ones = torch.ones(len(mesh.vertices), 1, dtype=mesh.vertices.dtype)
    return interpolate(ones, rasterize(mesh, camera))[..., 0]


def smooth(mesh: Mesh, camera: Camera) -> Tensor:
    """The same with its outline blended: (H, W)."""
    fragments = rasterize(mesh, camera)
    mask = fragments.mask().unsqueeze(-1)
    return antialias(mask, fragments, mesh, camera)[..., 0]


def soft(sigma: float) -> Callable[[Mesh, Camera], Tensor]:
    """Soft silhouettes of one sigma, as a function like the other two."""
    return lambda mesh, camera: soft_silhouette(mesh, camera, sigma=sigma)


def area(mesh: Mesh, size: int, samples: int) -> Tensor:
    """Share of each pixel that is covered, from samples^2 points in it: (H, W)."""
    fine = rasterize(mesh, camera_of(size * samples)).mask()
    return fine.view(size, samples, size, samples).mean(dim=(1, 3))


def car() -> Mesh:
    """The mean car, seen at a slant, 6 m ahead."""
    prior = load_prior("car")
    pose = yaw_to_matrix(torch.tensor([0.6])), torch.tensor([[0.0, 0.8, 6.0]])
    placed = prior.place(torch.zeros(1, prior.latent_size), prior.size_mean.expand(1, 3), *pose)
    return Mesh(placed[0].double(), prior.faces)


def moved(mesh: Mesh, shift: Tensor | float) -> Mesh:
    """The mesh moved to the right by `shift` metres."""
    step = torch.stack([torch.as_tensor(shift).double(), *torch.zeros(2).double()])
    return Mesh(mesh.vertices + step, mesh.faces)


def slope(render: Callable[[Mesh, Camera], Tensor], mesh: Mesh, camera: Camera) -> Tensor:
    """dI/dx of every pixel, x the shift to the right in metres: (H, W).

    A backward pass gives one weighted sum over pixels, so each pixel takes a pass of its own:
    slow, and enough for small pictures.
    """
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    image = render(moved(mesh, shift), camera)
    flat = image.reshape(-1)
    out = torch.zeros_like(flat)
    if not flat.requires_grad:
        return out.view(image.shape)
    for index in range(len(flat)):
        (out[index],) = torch.autograd.grad(flat[index], shift, retain_graph=True)
    return out.view(image.shape)


def truth(mesh: Mesh, size: int, samples: int) -> Tensor:
    """dI/dx of the area-averaged image by central differences of half a pixel each way."""
    step = 0.5 * 6.0 / (1.1 * size)  # metres that half a pixel is at 6 m
    ahead, behind = (area(moved(mesh, s), size, samples) for s in (step, -step))
    return (ahead - behind) / (2 * step)


def edge(folder: Path, points: int) -> None:
    """One pixel of 16 while a square's edge passes over it."""
    size, middle = 16, 8
    camera = camera_of(size)
    shifts = np.linspace(-2, 2, points)  # of the edge from the pixel's centre, in pixels
    flat = torch.tensor([[-9.0, -9, 1], [0, -9, 1], [0, 9, 1], [-9, 9, 1]]).double()
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    ways = {"hard": hard, "antialias": smooth, "soft": soft(1e-3)}
    figure, axes = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    for name, render in ways.items():
        values, slopes = [], []
        for shift in shifts:
            x = torch.tensor(float(shift) + 0.5, dtype=torch.float64, requires_grad=True)
            mesh = moved(Mesh(flat, faces), x / (1.1 * size))
            value = render(mesh, camera)[middle, middle]
            values.append(float(value.detach()))
            known = value.requires_grad
            slopes.append(float(torch.autograd.grad(value, x)[0]) if known else 0.0)
        style = {"color": COLOURS[name], "label": name, "linewidth": 1.6}
        axes[0].plot(shifts, values, **style)
        axes[1].plot(shifts, slopes, **style)
    exact = np.clip(shifts + 0.5, 0, 1)
    axes[0].plot(shifts, exact, "k--", label="exact area", linewidth=1)
    axes[1].plot(shifts, (np.abs(shifts) < 0.5) * 1.0, "k--", label="exact area", linewidth=1)
    axes[0].set_title("value of the pixel", fontsize=10)
    axes[1].set_title("derivative that comes back", fontsize=10)
    for one in axes:
        one.set_xlabel("edge, in pixels right of the pixel's centre", fontsize=9)
        one.grid(alpha=0.3)
    axes[0].legend(fontsize=8)
    _save(figure, folder / "visibility_edge.png")


def gradients(folder: Path, size: int, samples: int) -> None:
    """How every pixel's coverage changes as the car moves to the right."""
    mesh, camera = car(), camera_of(size)
    pictures = {"finite differences of areas": truth(mesh, size, samples)}
    ways = {"hard": hard, "antialias": smooth, "soft, sigma 1e-3": soft(1e-3)}
    pictures |= {name: slope(render, mesh, camera) for name, render in ways.items()}
    most = float(pictures["finite differences of areas"].abs().max())
    figure, axes = plt.subplots(1, 4, figsize=(10, 2.7), layout="constrained")
    for one, (name, picture) in zip(axes, pictures.items(), strict=True):
        drawn = one.imshow(picture, cmap="RdBu_r", vmin=-most, vmax=most, interpolation="nearest")
        one.set_title(name, fontsize=9)
        one.set_xticks([])
        one.set_yticks([])
    figure.colorbar(drawn, ax=axes, label="coverage per metre", shrink=0.8)
    _save(figure, folder / "visibility_gradients.png")


def errors(folder: Path, sizes: list[int], samples: int) -> dict[str, list[float]]:
    """Relative error of dI/dx over the image, against resolution and sigma."""
    mesh = car()
    found: dict[str, list[float]] = {"hard": [], "antialias": []}
    sigmas = [1e-4, 1e-3, 1e-2]
    found |= {f"soft, sigma {sigma:g}": [] for sigma in sigmas}
    ways = [hard, smooth, *(soft(sigma) for sigma in sigmas)]
    for size in sizes:
        wanted = truth(mesh, size, samples)
        for name, render in zip(found, ways, strict=True):
            apart = slope(render, mesh, camera_of(size)) - wanted
            found[name].append(float(apart.norm() / wanted.norm()))
    figure, axis = plt.subplots(figsize=(7, 3.2), layout="constrained")
    shades = ["#888888", "#0072b2", "#f4b183", "#d55e00", "#7f3300"]
    for (name, values), shade in zip(found.items(), shades, strict=True):
        axis.plot(sizes, values, "o-", label=name, color=shade, markersize=4)
    axis.set_xscale("log", base=2)
    axis.set_xticks(sizes, [str(size) for size in sizes])
    axis.set_xlabel("image size, pixels", fontsize=9)
    axis.set_ylabel("error over size of the true gradient", fontsize=9)
    axis.set_ylim(0, None)
    axis.grid(alpha=0.3)
    axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1.02, 0.5))
    _save(figure, folder / "visibility_errors.png")
    return found


def _save(figure: plt.Figure, path: Path) -> None:
    figure.savefig(path, dpi=100, metadata={"Software": None})
    plt.close(figure)
    print(f"wrote {path.name}")


def main(folder: Path, *, quick: bool) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    edge(folder, 9 if quick else 201)
    gradients(folder, 12 if quick else 48, 4 if quick else 16)
    found = errors(folder, [8, 12] if quick else [16, 24, 32, 48], 4 if quick else 16)
    for name, values in found.items():
        print(f"{name}: " + ", ".join(f"{value:.2f}" for value in values))


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE, quick="quick" in sys.argv[2:])
