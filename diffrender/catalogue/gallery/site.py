"""Building the site: a folder of pages that need no network and no server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from diffrender._files import write_text_atomic
from diffrender.catalogue.card import Card
from diffrender.catalogue.evaluate import Measured, load_measured
from diffrender.catalogue.gallery.libraries import libraries_page
from diffrender.catalogue.gallery.overview import comparison_page, index_page
from diffrender.catalogue.gallery.technique_page import technique_page
from diffrender.catalogue.registry import find_technique, list_techniques
from diffrender.errors import InputError

__all__ = ["build_site", "read_results", "write_site"]


def build_site(
    folder: Path, results: Path | None = None, say: Callable[[str], None] = lambda _: None
) -> list[Path]:
    """Write index.html, compare.html, libraries.html and one page for every technique.

    Args:
        folder: is made where it is not there; pages of the same names are replaced.
        results: folder of `diffrender bench catalogue --work`; without it pages hold cards alone.
        say: told of files in there that no page can hold, since there is no such technique.

    Raises:
        InputError: `results` is no folder, or a file in it is not of that form.
    """
    cards = [find_technique(name).card for name in list_techniques()]
    measured = {} if results is None else read_results(results)
    for name in sorted(measured.keys() - {card.name for card in cards}):
        say(f"{name}.json in {results} is left out: no technique has this name")
    return write_site(folder, cards, measured)


def read_results(folder: Path) -> dict[str, Measured]:
    """Every NAME.json of a folder, by the technique's name."""
    if not folder.is_dir():
        raise InputError(
            f"{folder} is no folder; expected the one given to `bench catalogue --work`"
        )
    found = {}
    for path in sorted(folder.glob("*.json")):
        measured = load_measured(path)
        if measured.technique != path.stem:
            raise InputError(f"{path.name} holds results of {measured.technique!r}")
        found[path.stem] = measured
    return found


def write_site(folder: Path, cards: Sequence[Card], results: dict[str, Measured]) -> list[Path]:
    """The same for given cards and results."""
    folder.mkdir(parents=True, exist_ok=True)
    pages = {
        "index": index_page(cards, results),
        "compare": comparison_page(cards, results),
        "libraries": libraries_page(list(cards)),
    }
    for card in cards:
        if card.name in pages or "/" in card.name or card.name.startswith("."):
            raise InputError(f"{card.name!r} cannot be the name of a page")
        pages[card.name] = technique_page(card, results.get(card.name))
    return [write_text_atomic(folder / f"{name}.html", text) for name, text in pages.items()]
