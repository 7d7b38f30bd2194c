"""The index with a thumbnail a technique, and the comparison with filters and sorting."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

from diffrender.catalogue.card import FAMILIES, PARAMETERS, Card, Parameter
from diffrender.catalogue.evaluate import Measured, bias_of, levels_of
from diffrender.catalogue.gallery.shell import asset, page

__all__ = ["comparison_page", "index_page"]

_MARKS = {"exact": "●", "own": "◐", "biased": "○"}
_ROWS = 64  # of the picture at which costs are compared

Results = Mapping[str, Measured]


def index_page(cards: Sequence[Card], results: Results) -> str:
    """Techniques by family, each with the picture that it draws."""
    held = sum(
        claim.holds for measured in results.values() for claim in measured.claims or ()
    )  # fmt: skip
    examined = sum(len(measured.claims or ()) for measured in results.values())
    body = (
        "<h1>The catalogue of differentiable rendering</h1>"
        "<p>“Differentiable Rendering: A Survey” (Kato et al., 2020) as running modules, brought "
        "up to date: one file a technique, one scene, one camera. A card says what a technique is "
        "differentiable to, and finite differences of a supersampled picture say whether it is."
        f"</p><p>{len(cards)} techniques; {held} of {examined} examined claims hold.</p>"
    )
    for family in FAMILIES:
        members = [card for card in cards if card.family == family]
        if members:
            tiles = "".join(_tile(card, results.get(card.name)) for card in members)
            body += f'<h2>{escape(family.capitalize())}</h2><div class="tiles">{tiles}</div>'
    return page("Catalogue of differentiable rendering", body)


def comparison_page(cards: Sequence[Card], results: Results) -> str:
    """One row a technique; the script filters and sorts, and without it all are there."""
    families = "".join(
        f'<option value="{escape(f)}">{escape(f)}</option>'
        for f in FAMILIES
        if any(card.family == f for card in cards)
    )
    boxes = "".join(
        f'<label><input type="checkbox" name="claim" value="{p}">{p}</label>' for p in PARAMETERS
    )
    head = [("technique", False), ("family", False), ("year", True)]
    head += [(parameter, True) for parameter in PARAMETERS]
    head += [("turn, %", True), ("shift, %", True), ("bias, °", True), ("ms", True), ("MiB", True)]
    headers = "".join(
        f'<th scope="col"{" class=number" if numeric else ""}><button type="button">{name}'
        "</button></th>"
        for name, numeric in head
    )
    rows = "".join(_row(card, results.get(card.name)) for card in cards)
    body = (
        "<h1>Comparison</h1>"
        "<p>● derivative of the scene’s picture, ◐ exact for its own picture, ○ biased; beside it "
        "the lowest cosine similarity with finite differences. Turn and shift: poses recovered, "
        "mean over starts of 5° to 60° and of 5 to 50 % of the length. Bias: degrees between "
        "the truth and where a descent from it ends on a sharp picture. Time is forward and "
        f"backward, memory the peak of tensors, at {_ROWS} rows on the standard scene.</p>"
        '<div class="filters">'
        f'<label>Family<select id="family"><option value="">all</option>{families}</select></label>'
        '<label>Words<input type="search" id="words"></label>'
        f"<fieldset><legend>Differentiable to</legend>{boxes}</fieldset>"
        '<span class="note" id="count"></span></div>'
        f'<div class="scroll"><table id="techniques"><thead><tr>{headers}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>"
    )
    return page("Comparison · catalogue", body, script=asset("compare.js"), wide=True)


def _tile(card: Card, measured: Measured | None) -> str:
    if measured is None or measured.picture is None:
        shown = '<div class="blank">not drawn yet</div>'
    else:
        shown = f'<img src="data:image/png;base64,{_thumbnail(measured.picture)}" alt="">'
    return (
        f'<a class="tile" href="{escape(card.name)}.html">{shown}<b>{escape(card.title)}</b>'
        f'<span class="note">{card.year}</span></a>'
    )


def _thumbnail(picture: str) -> str:
    """128 pixels wide: the index stays small however large the pictures are."""
    from PIL import Image

    with Image.open(io.BytesIO(base64.b64decode(picture)), formats=["PNG"]) as whole:
        small = whole.convert("RGB")
        small.thumbnail((128, 128))
    file = io.BytesIO()
    small.save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")


def _row(card: Card, measured: Measured | None) -> str:
    claims = " ".join(claim.parameter for claim in card.claims)
    cells = [
        f'<td class="name"><a href="{escape(card.name)}.html">{escape(card.title)}</a></td>',
        f"<td>{escape(card.family)}</td>",
        f'<td class="number">{card.year}</td>',
        *(_mark(card, measured, parameter) for parameter in PARAMETERS),
        *(_number(value) for value in (*_rates(measured), _bias(measured), *_cost(measured))),
    ]
    return (
        f'<tr data-family="{escape(card.family)}" data-claims="{escape(claims)}">'
        f"{''.join(cells)}</tr>"
    )


def _mark(card: Card, measured: Measured | None, parameter: Parameter) -> str:
    claim = card.claim(parameter)
    if claim is None:
        return '<td class="mark" data-value=""></td>'
    found = [r for r in (measured.claims or () if measured else ()) if r.parameter == parameter]
    words = f"{claim.exactness}, {claim.where}"
    if not found:
        return f'<td class="mark" data-value="" title="{words}">{_MARKS[claim.exactness]}</td>'
    row = found[0]
    kind = "good" if row.holds else "bad"
    words += f": cosine {row.cosine:.3f}, sign {row.sign:.0%}" + ("" if row.holds else ", fails")
    return (
        f'<td class="mark" data-value="{row.cosine:.4f}" title="{words}">'
        f'<span class="{kind}">{_MARKS[claim.exactness]}</span> {row.cosine:.2f}</td>'
    )


def _rates(measured: Measured | None) -> tuple[float | None, float | None]:
    levels = levels_of(list(measured.trials or ())) if measured else []
    found = []
    for kind in ("yaw", "shift"):
        rates = [level.rate for level in levels if level.kind == kind]
        found.append(100 * sum(rates) / len(rates) if rates else None)
    return found[0], found[1]


def _bias(measured: Measured | None) -> float | None:
    found = bias_of(list(measured.trials or ())) if measured else None
    return None if found is None else found.degrees


def _cost(measured: Measured | None) -> tuple[float | None, float | None]:
    for cell in measured.cells or () if measured else ():
        if cell.against == "height" and cell.value == _ROWS:
            return 1e3 * (cell.forward + cell.backward), cell.memory / 2**20
    return None, None


def _number(value: float | None) -> str:
    if value is None:
        return '<td class="number" data-value=""></td>'
    shown = f"{value:.0f}" if value >= 10 else f"{value:.2g}"
    return f'<td class="number" data-value="{value:.4g}">{shown}</td>'
