"""`diffrender catalogue`: the cards, pictures of meshes by every technique, and the gallery."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from diffrender._files import atomic_path, readable, write_text_atomic
from diffrender.errors import InputError
from diffrender.tools.console import guarded, out, plain_table, warn
from diffrender.tools.given import keep_inputs, path_of

if TYPE_CHECKING:
    from diffrender.catalogue import Card

__all__ = ["catalogue"]

catalogue = typer.Typer(
    help="Differentiable rendering, technique by technique.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@catalogue.command("list", short_help="All techniques, by family.")
@guarded
def list_(
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", parser=path_of("--json"), help="Write the cards as JSON."
        ),
    ] = None,
) -> None:
    """Names, titles, years and what each technique is differentiable to."""
    cards = _cards()
    if json_file is not None:
        text = json.dumps([_plain(card) for card in cards], indent=2, ensure_ascii=False)
        write_text_atomic(json_file, text + "\n")
    table = plain_table("name", "family", "year", "differentiable to")
    for card in cards:
        claims = ", ".join(f"{c.parameter} ({c.exactness})" for c in card.claims)
        table.add_row(card.name, card.family, str(card.year), claims or "nothing")
    out().print(table)
    if json_file is not None:
        _print_written(str(json_file))


@catalogue.command(short_help="The card of one technique.")
@guarded
def show(name: Annotated[str, typer.Argument(help="Of the technique.")]) -> None:
    """Idea, equations, claims, limits and citation."""
    from diffrender.catalogue import find_technique

    card = find_technique(name).card
    claims = [f"  {c.parameter}, {c.where}: {c.exactness}" for c in card.claims]
    lines = [
        f"{card.title} ({card.name})",
        f"{card.authors}, {card.year}. {card.paper}. {card.venue}",
        f"family: {card.family}; follows {card.sections}",
        "",
        *card.idea,
        "",
        *(f"  {equation}" for equation in card.equations),
        "",
        "differentiable to:",
        *(claims or ["  nothing"]),
        f"memory: {card.memory}",
        f"time: {card.time}",
        f"limits: {card.limits}",
        f"use it when: {card.use_when}",
        "",
        card.bibtex(),
    ]
    typer.echo("\n".join(lines))


@catalogue.command(short_help="Cards side by side.")
@guarded
def compare(
    names: Annotated[list[str], typer.Argument(help="Of two techniques or more.")],
) -> None:
    """One column a technique."""
    from diffrender.catalogue import PARAMETERS, find_technique

    if len(names) < 2:
        raise InputError(f"compare needs two techniques or more, got {len(names)}")
    cards = [find_technique(name).card for name in names]
    table = plain_table("", *(card.name for card in cards))
    table.add_row("family", *(card.family for card in cards))
    table.add_row("year", *(str(card.year) for card in cards))
    for parameter in PARAMETERS:
        claims = [card.claim(parameter) for card in cards]
        if any(claims):
            table.add_row(parameter, *(f"{c.exactness}, {c.where}" if c else "" for c in claims))
    for field in ("memory", "time", "limits", "use_when"):
        table.add_row(field.replace("_", " "), *(getattr(card, field) for card in cards))
    out().print(table)


@catalogue.command(short_help="A mesh, drawn by a technique.")
@guarded
def render(
    name: Annotated[str, typer.Argument(help="Of the technique.")],
    mesh: Annotated[
        Path,
        typer.Argument(parser=path_of("MESH"), help="Triangles: .obj, .ply, .off, .stl or .glb."),
    ],
    png: Annotated[
        Path,
        typer.Option(
            "--out", metavar="PNG", parser=path_of("--out"), help="Where the picture goes."
        ),
    ] = Path("render.png"),
    height: Annotated[int, typer.Option(min=8, max=2048, help="Rows; 4 : 3.")] = 192,
) -> None:
    """Draw a mesh file, grey, from the standard scene's side, as large as the picture."""
    import torch

    from diffrender.catalogue import find_technique
    from diffrender.tools.catalogue_mesh import mesh_scene

    if png.suffix.lower() != ".png":
        raise InputError(f"--out {png}: pictures are written as PNG, expected a name.png")
    keep_inputs([png], [mesh, mesh.with_suffix(".png")])  # which an OBJ's texture is often called
    technique = find_technique(name)
    scene, camera = mesh_scene(mesh, (height, 4 * height // 3))
    with torch.no_grad():
        image = technique.render(scene, camera).image.clamp(0, 1)
    from PIL import Image

    curve = torch.where(
        image <= 0.0031308, 12.92 * image, 1.055 * image.clamp(min=1e-8) ** (1 / 2.4) - 0.055
    )
    with atomic_path(png) as place:
        Image.fromarray((255 * curve).round().byte().numpy()).save(place, format="PNG")
    _print_written(str(png))


@catalogue.command(short_help="The gallery, a static site.")
@guarded
def gallery(
    folder: Annotated[
        Path,
        typer.Option("--out", metavar="DIR", parser=path_of("--out"), help="Where the pages go."),
    ],
    results: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            parser=path_of("--results"),
            help="What `bench catalogue --work DIR` measured.",
        ),
    ] = None,
) -> None:
    """One page a technique, an index, a comparison and a table of libraries."""
    from diffrender.catalogue.gallery import build_site

    pages = build_site(folder, results, warn)
    _print_written(f"{len(pages)} pages, start at {folder / 'index.html'}")


def _print_written(what: str) -> None:
    # A folder may be called [x]: that is no markup.
    out().print(f"wrote {readable(what)}", markup=False, soft_wrap=True)


def _cards() -> list[Card]:
    from diffrender.catalogue import find_technique, list_techniques

    return [find_technique(name).card for name in list_techniques()]


def _plain(card: Card) -> dict[str, Any]:
    return {**dataclasses.asdict(card), "bibtex": card.bibtex()}
