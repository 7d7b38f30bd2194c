"""The page of one technique: what it draws, what it claims and how that came out, its card."""

from __future__ import annotations

from html import escape

from diffrender.catalogue.card import Card
from diffrender.catalogue.evaluate import ClaimRow, Measured, MovePictures, bias_of, levels_of
from diffrender.catalogue.gallery.plots import basin_plots, cost_plots
from diffrender.catalogue.gallery.shell import page, picture

__all__ = ["technique_page"]

_MEANING = {
    "exact": "the derivative of the scene’s anti-aliased picture",
    "own": "the exact derivative of the picture that it draws",
    "biased": "a rule that is neither the scene’s derivative nor its own picture’s",
}
_REFERENCE = {
    "triangles": "differences of the supersampled triangles",
    "own": "differences of its own picture",
}
_SHAPING = ("vertices", "pose", "intrinsics", "density")  # what moves silhouettes
_NOT_YET = '<p class="note">Not measured yet: <code>diffrender bench catalogue</code>.</p>'


def technique_page(card: Card, measured: Measured | None) -> str:
    """HTML of the whole page. Without measurements the card alone."""
    where = f"{escape(card.venue)} {card.year}" if card.venue else f"{card.year}"
    arxiv = f", arXiv {escape(card.arxiv)}" if card.arxiv else ""
    idea = "".join(f"<p>{escape(sentence)}</p>" for sentence in card.idea)
    equations = escape("\n".join(card.equations))
    body = (
        f"<h1>{escape(card.title)}</h1>"
        f'<p class="by">{escape(_authors(card.authors))}. <i>{escape(card.paper)}</i>. {where}'
        f"{arxiv}. Family: {escape(card.family)}.</p>"
        f"{_drawn(measured)}"
        f'<div class="two"><div><h2>Idea</h2>{idea}<h2>Equations</h2><pre>{equations}</pre></div>'
        f"<div><h2>Card</h2>{_card(card)}</div></div>"
        f"<h2>Claims, and what finite differences say</h2>{_claims(card, measured)}"
        f"<h2>Basin of attraction</h2>{_basin(card, measured)}"
        f"<h2>Cost</h2>{_cost(measured)}"
        f"<h2>Citation</h2><pre>{escape(card.bibtex())}</pre>"
    )
    return page(f"{card.title} · catalogue", body)


def _authors(authors: str) -> str:
    """ "Family, I. and Family, I." as "I. Family, I. Family"."""
    names = [name.split(", ") for name in authors.split(" and ")]
    return ", ".join(" ".join(reversed(name)) for name in names)


def _drawn(measured: Measured | None) -> str:
    if measured is None or measured.picture is None:
        return _NOT_YET
    shown = picture(measured.picture, "The standard scene: a car and a sphere on a plane.")
    if measured.silhouette is not None:
        shown += picture(measured.silhouette, "Its silhouette map.")
    if measured.depth is not None:
        shown += picture(measured.depth, "Its depth, near is bright.")
    return f'<div class="pictures">{shown}</div>'


def _card(card: Card) -> str:
    rows = {
        "name": card.name,
        "follows": card.sections,
        "memory": card.memory,
        "time": card.time,
        "limits": card.limits,
        "use it when": card.use_when,
    }
    cells = "".join(f"<dt>{key}</dt><dd>{escape(value)}</dd>" for key, value in rows.items())
    return f"<dl>{cells}</dl>"


def _claims(card: Card, measured: Measured | None) -> str:
    if not card.claims:
        return "<p>It claims no gradient: it only draws.</p>"
    if measured is None or measured.claims is None:
        listed = "".join(
            f"<li>{c.parameter}, {c.where}: {c.exactness}, {_MEANING[c.exactness]}</li>"
            for c in card.claims
        )
        return f"<ul>{listed}</ul>{_NOT_YET}"
    note = (
        '<p class="note">Grey is no change, brighter is more, darker is less, each picture to its '
        "own scale. Left to right: the image’s derivative by backward and by differences, then the "
        "silhouette map’s.</p>"
    )
    return note + "".join(_claim(row) for row in measured.claims)


def _claim(row: ClaimRow) -> str:
    verdict = ("good", "holds") if row.holds else ("bad", "does not hold")
    coarse = (
        f" Asked at every {row.stride}th pixel of each row and column." if row.stride > 1 else ""
    )
    return (
        f'<section class="claim"><h3>{escape(row.parameter)}, {escape(row.where)}: '
        f'{escape(row.exactness)} <span class="{verdict[0]}">{verdict[1]}</span></h3>'
        f'<p class="note">Claimed is {_MEANING.get(row.exactness, "")}. Lowest cosine similarity '
        f"{row.cosine:.3f}, signs agree in {row.sign:.0%}.{coarse}</p>"
        f"{''.join(_move(move, row.parameter) for move in row.moves)}</section>"
    )


def _move(move: MovePictures, parameter: str) -> str:
    regions = {"interior": "interior pixels", "silhouette": "silhouette pixels"}
    drawn = picture(move.gradient, "backward, image")
    drawn += picture(move.reference, "differences, image")
    if parameter in _SHAPING:
        regions["coverage"] = "silhouette map"
        drawn += picture(move.gradient_coverage, "backward, silhouette map")
        drawn += picture(move.reference_coverage, "differences, silhouette map")
    scores = "; ".join(
        f"{words} cosine {move.cosines[region]:.3f}, sign {move.signs[region]:.0%}"
        for region, words in regions.items()
    )
    return (
        f'<p class="note"><b>{escape(move.move)}</b>, against '
        f"{_REFERENCE.get(move.kind, escape(move.kind))}: {scores}. Backward is "
        f"{move.length:.2g} times as large.</p>"
        f'<div class="pictures pixels">{drawn}</div>'
    )


def _basin(card: Card, measured: Measured | None) -> str:
    if card.claim("pose") is None:
        return "<p>It claims no gradient to the pose, so none is descended.</p>"
    if measured is None or measured.trials is None:
        return _NOT_YET
    trials = list(measured.trials)
    bias, words = bias_of(trials), ""
    if bias is not None:
        words = (
            " From the truth on a sharp supersampled picture instead, the descent ends "
            f"{bias.degrees:.1f}° and {bias.shift:.1%} of the length away: its bias."
        )
    return (
        '<p class="note">A car’s pose from a start that is turned, or shifted in a random '
        "direction; 60 steps of Adam with one schedule for all techniques, on the image and the "
        "silhouette of the technique’s own picture at the true pose. Recovered: within 2° and 2 % "
        f"of the length.{words}</p>"
        f'<div class="plots">{basin_plots(levels_of(trials))}</div>'
    )


def _cost(measured: Measured | None) -> str:
    if measured is None or measured.cells is None:
        return _NOT_YET
    if not measured.cells:
        return "<p>Not one size ended in time.</p>"
    machine = ", ".join(f"{k} {v}" for k, v in measured.machine.items() if v is not None)
    prepare = measured.cells[0].prepare
    return (
        f'<p class="note">Medians on {escape(machine)}. Preparing the standard scene takes '
        f"{prepare:.2g} s, once. Rows at 4 : 3 on the standard scene; balls of so many faces at "
        f'96 × 128.</p><div class="plots">{cost_plots(measured.cells)}</div>'
    )
