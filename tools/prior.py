"""`diffrender prior`: learn a shape prior from meshes, or look at one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffrender.tools.console import guarded, out

if TYPE_CHECKING:
    from diffrender.shape_priors import ShapePrior

__all__ = ["prior"]

prior = typer.Typer(
    help="Shape priors: learn one from meshes, or look at one.", no_args_is_help=True
)


@prior.callback()
def _group() -> None:
    """Shape priors: learn one from meshes, or look at one."""


@prior.command()
@guarded
def learn(
    meshes: Annotated[list[Path], typer.Argument(help="Meshes of one topology, .obj or .ply.")],
    out_file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="The prior, .safetensors.")
    ],
    latents: Annotated[int, typer.Option(help="Number of shape latents.")] = 8,
    name: Annotated[str, typer.Option(help="Name written into the file.")] = "learned",
    licence: Annotated[
        str, typer.Option(help="Licence written into the file.")
    ] = "that of the meshes it was learned from",
    forward: Annotated[
        str | None,
        typer.Option(metavar="AXIS", help="Where the vehicles point, such as +z; else found."),
    ] = None,
    up: Annotated[
        str | None, typer.Option(metavar="AXIS", help="Their up, such as -y; else found.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Metres per unit of the files.")] = 1.0,
) -> None:
    """Learn a prior from same-topology meshes, for --prior FILE."""
    from diffrender.shape_priors import learn_prior, save_prior

    learned = learn_prior(
        meshes,
        latent_size=latents,
        name=name,
        licence=licence,
        forward_axis=forward,
        up_axis=up,
        scale=scale,
    )
    _print(learned)
    out().print(f"wrote {save_prior(learned, out_file)}", markup=False, soft_wrap=True)


@prior.command()
@guarded
def info(
    name: Annotated[str, typer.Argument(metavar="NAME_OR_FILE", help="Such as car.")] = "car",
) -> None:
    """What a prior holds: sizes, latents, parts, licence."""
    from diffrender.shape_priors import load_prior

    _print(load_prior(name))


def _print(loaded: ShapePrior) -> None:
    mean, sigma = loaded.size_mean.tolist(), loaded.size_sigma.tolist()
    sizes = ", ".join(
        f"{side} {m:.2f} ± {s:.2f}"
        for side, m, s in zip(("length", "width", "height"), mean, sigma, strict=True)
    )
    lines = [
        f"name      {loaded.name}",
        f"licence   {loaded.licence}",
        f"mesh      {len(loaded.mean)} vertices, {len(loaded.faces)} faces",
        f"size, m   {sizes}",
        f"latents   {loaded.latent_size}",
        f"parts     {', '.join(loaded.part_names)}",
        f"texture   {'with coordinates' if loaded.uv is not None else 'none'}",
    ]
    if loaded.explained:
        shares = ", ".join(f"{share:.1%}" for share in loaded.explained)
        lines.append(f"explains  {sum(loaded.explained):.1%} of the variance: {shares}")
    out().print("\n".join(lines), markup=False, soft_wrap=True)
