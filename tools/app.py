"""The `diffrender` command."""

from __future__ import annotations

import importlib.metadata
from typing import Annotated

import typer

from diffrender.tools.ablate import ablate
from diffrender.tools.bench import bench
from diffrender.tools.catalogue import catalogue
from diffrender.tools.demo import demo
from diffrender.tools.depth import depth
from diffrender.tools.doctor import doctor
from diffrender.tools.evaluate import evaluate
from diffrender.tools.predict import predict
from diffrender.tools.prior import prior
from diffrender.tools.reconstruct import reconstruct
from diffrender.tools.synthetic import synthetic
from diffrender.tools.train import train

__all__ = ["app", "main"]

# Plain help and tracebacks: a bad input is one line (see console.guarded), and what reaches a
# traceback is a bug, to be pasted into a report as it is.
app = typer.Typer(
    name="diffrender",
    help="Differentiable rendering: one driving image in, posed textured meshes out.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command(short_help="Image, masks and depth to posed, textured meshes.")(reconstruct)
app.command(short_help="The same on the shipped sample, compared with its truth.")(demo)
app.command(short_help="Predict a depth map of one image.")(depth)
app.add_typer(evaluate, name="evaluate", short_help="Score detections and depth; check a zip.")
app.add_typer(prior, name="prior", short_help="Learn a shape prior from meshes, or look at one.")
app.add_typer(synthetic, name="synthetic", short_help="Write synthetic streets or molecules.")
app.add_typer(predict, name="predict", short_help="What trained networks say of molecules.")
app.add_typer(train, name="train", short_help="Learn networks of this package.")
app.add_typer(catalogue, name="catalogue", short_help="Differentiable rendering by technique.")
app.command(short_help="What each part of the method is worth.")(ablate)
app.add_typer(bench, name="bench", short_help="Measure, and compare with goals that were set.")
app.command(short_help="What is here, what is not and why, and how to get it.")(doctor)


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"diffrender {importlib.metadata.version('diffrender')}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool,
        typer.Option("--version", help="Print the version.", callback=_version, is_eager=True),
    ] = False,
) -> None:
    """Differentiable rendering: one driving image in, posed textured meshes out."""


def main() -> None:
    """Entry point of the `diffrender` command."""
    app()
