"""`diffrender prior`: learn a shape prior from meshes, or look at one."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import typer

from diffrender._files import readable, writable_folder
from diffrender.errors import InputError
from diffrender.tools.console import guarded, note, out
from diffrender.tools.given import path_of

if TYPE_CHECKING:
    from diffrender.shape_priors import ShapePrior, TrainingReport

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
    out_file: Annotated[
        Path,
        typer.Option(
            "--out", metavar="FILE", parser=path_of("--out"), help="The prior, .safetensors."
        ),
    ],
    meshes: Annotated[
        list[Path] | None,
        typer.Argument(
            parser=path_of("MESHES"),
            help="Meshes of one topology, .obj or .ply; none with --family.",
        ),
    ] = None,
    kind: Annotated[
        Literal["pca", "autoencoder"],
        typer.Option(help="Principal components, or a network that decodes shapes."),
    ] = "pca",
    family: Annotated[
        Literal["car"] | None,
        typer.Option(help="Learn from procedural cars instead of meshes (autoencoder only)."),
    ] = None,
    latents: Annotated[int, typer.Option(help="Number of shape latents.")] = 8,
    name: Annotated[str, typer.Option(help="Name written into the file.")] = "learned",
    licence: Annotated[
        str | None,
        typer.Option(
            help="Licence written into the file; left out: that of the meshes, of a family "
            "Apache-2.0."
        ),
    ] = None,
    forward: Annotated[
        str | None,
        typer.Option(metavar="AXIS", help="Where the vehicles point, such as +z; else found."),
    ] = None,
    up: Annotated[
        str | None, typer.Option(metavar="AXIS", help="Their up, such as -y; else found.")
    ] = None,
    scale: Annotated[float, typer.Option(help="Metres per unit of the files.")] = 1.0,
    width: Annotated[
        int | None, typer.Option(help="Features of the decoder's hidden layers (autoencoder).")
    ] = None,
    density: Annotated[
        float | None,
        typer.Option(help="Share of the blocks that the decoder's layers keep; left out: dense."),
    ] = None,
    steps: Annotated[
        int | None, typer.Option(help="Of the decoder's training (autoencoder).")
    ] = None,
    encoder_steps: Annotated[
        int | None, typer.Option(help="Of the training of the encoder over points (autoencoder).")
    ] = None,
    seed: Annotated[
        int | None, typer.Option(help="Of every draw (autoencoder); left out, 0.")
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--checkpoint"),
            help="Go on from here, and keep the training here.",
        ),
    ] = None,
) -> None:
    """Learn a prior from same-topology meshes or procedural cars, for --prior FILE."""
    from diffrender.shape_priors import learn_prior, save_prior

    if out_file.is_dir():
        raise InputError(f"--out {out_file} is a folder, expected a file such as mine.safetensors")
    if out_file.suffix != ".safetensors":
        raise InputError(f"--out {out_file}: expected a name that ends in .safetensors")
    writable_folder(out_file.parent)  # before the learning, which may take hours
    if checkpoint is not None:
        if checkpoint.is_dir() or os.path.realpath(checkpoint) == os.path.realpath(out_file):
            raise InputError(
                f"--checkpoint {checkpoint} is a folder or --out, expected another file"
            )
        writable_folder(checkpoint.parent)
    if kind == "pca":
        training: dict[str, object] = {"--width": width, "--density": density, "--steps": steps}
        training |= {"--encoder-steps": encoder_steps, "--checkpoint": checkpoint, "--seed": seed}
        _refuse_given(training, "--kind autoencoder, not with principal components")
    if family is not None:
        axes = {"--forward": forward, "--up": up, "--scale": None if scale == 1 else scale}
        _refuse_given(axes, "meshes, not with --family, whose cars are in metres")
    _check_files(meshes or [])
    if licence is None:
        licence = "that of the meshes it was learned from" if family is None else "Apache-2.0"
    learned: ShapePrior
    if kind == "autoencoder":
        network = _Network(width, density, (steps, encoder_steps), seed or 0, checkpoint)
        learned = _autoencoder(
            meshes or [], family, (latents, name, licence), (forward, up), scale, network
        )
    else:
        if family is not None:
            raise InputError("--family goes with --kind autoencoder; --prior car is its PCA")
        learned = learn_prior(
            meshes or [],
            latent_size=latents,
            name=name,
            licence=licence,
            forward_axis=forward,
            up_axis=up,
            scale=scale,
        )
    _print(learned)
    written = readable(str(save_prior(learned, out_file)))
    out().print(f"wrote {written}", markup=False, soft_wrap=True)


def _refuse_given(options: Mapping[str, object], belongs: str) -> None:
    """Options that were given (are not None) though they would do nothing."""
    for option, value in options.items():
        if value is not None:
            raise InputError(f"{option} goes with {belongs}")


def _check_files(meshes: list[Path]) -> None:
    """A folder or a name that is not there is said as such, not as too few meshes."""
    for path in meshes:
        if path.is_dir():
            raise InputError(f"{path} is a folder, expected the meshes in it, such as {path}/*.obj")
        if not path.exists():
            raise InputError(f"{path} does not exist, expected an .obj or .ply mesh")


class _Network(NamedTuple):
    """What the command line says about an auto-encoder's training."""

    width: int | None
    density: float | None
    steps: tuple[int | None, int | None]
    seed: int
    checkpoint: Path | None


def _autoencoder(
    meshes: list[Path],
    family: str | None,
    names: tuple[int, str, str],
    axes: tuple[str | None, str | None],
    scale: float,
    network: _Network,
) -> ShapePrior:
    import dataclasses

    import torch

    from diffrender._seeds import check_seed
    from diffrender.blocksparse import SparsityConfig
    from diffrender.shape_priors import (
        AutoencoderSettings,
        autoencoder_of_cars,
        learn_autoencoder,
    )
    from diffrender.shape_priors.learn_autoencoder import CAR_SETTINGS, Labels, Watch

    if bool(meshes) == (family is not None):
        raise InputError("give either meshes of one topology or --family car, not both")
    check_seed(network.seed)
    latents, name, licence = names
    settings = AutoencoderSettings() if family is None else CAR_SETTINGS
    decoder = settings.decoder
    if network.width is not None:
        decoder = dataclasses.replace(decoder, width=network.width)
    if network.density is not None:
        sparsity = SparsityConfig(network.density, 16, "dynamic")
        decoder = dataclasses.replace(decoder, sparsity=sparsity)
    settings = dataclasses.replace(settings, latent_size=latents, decoder=decoder)
    steps, encoder_steps = network.steps
    if steps is not None:
        settings = dataclasses.replace(settings, steps=steps)
    if encoder_steps is not None:
        settings = dataclasses.replace(settings, encoder_steps=encoder_steps)
    generator = torch.Generator().manual_seed(network.seed)
    with _progress() as progress:
        watch = Watch(network.checkpoint, progress)
        if family is None:
            labels = Labels(name, licence)
            return learn_autoencoder(meshes, settings, generator, labels, watch, axes, scale)
        named = Labels("car-autoencoder" if name == "learned" else name, licence)
        return autoencoder_of_cars(settings, generator, named, watch)


@contextmanager
def _progress() -> Iterator[Callable[[TrainingReport], None]]:
    """A bar with rate and time left on a terminal, else a line every 500 steps; standard error."""
    console = note()
    if console.is_terminal:
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
        with Progress(*columns, console=console, transient=True) as bar:
            task = bar.add_task("")

            def draw(now: TrainingReport) -> None:
                bar.update(task, total=now.steps, completed=now.step, description=_line(now))

            yield draw
        return

    def write(now: TrainingReport) -> None:
        if now.step % 500 == 0 or now.step == now.steps:
            console.print(f"step {now.step} of {now.steps}, {_line(now)}", markup=False)

    yield write


def _line(now: TrainingReport) -> str:
    error = 1e3 * now.loss**0.5
    return f"{error:.1f} mm, {now.rate:.1f} steps/s, {now.seconds_left:.0f} s left"


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
