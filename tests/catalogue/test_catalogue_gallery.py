"""The gallery: pages that hold what was measured, escape every name, and work in a browser."""

from __future__ import annotations

import dataclasses
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from html_pages import Page

from diffrender.catalogue import Card, find_technique, list_techniques
from diffrender.catalogue.evaluate import Cell, ClaimRow, Measured, MovePictures, Trial
from diffrender.catalogue.gallery import (
    LIBRARIES,
    build_site,
    library_table,
    read_results,
    write_site,
)
from diffrender.errors import InputError

# One grey pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGOor68HAAL+AX6E2KOJAAAAAElFTkSuQmCC"
HOSTILE = '<script>alert("1")</script>&\'"'


def measured(name: str, cosine: float = 0.95) -> Measured:
    regions = {"all": cosine, "interior": cosine, "silhouette": cosine, "coverage": cosine}
    move = MovePictures("pose, shifted along x", "triangles", regions, regions, 1.5, *[PNG] * 4)
    row = ClaimRow("pose", "both", "exact", cosine > 0.9, cosine, 0.9, 1, (move,))
    trials = tuple(Trial("yaw", e, 0, 0.1, 0.0, e < 30, 1.0) for e in (5, 10, 30)) + tuple(
        Trial("shift", e, 0, 0.1, 0.0, e < 0.3, 1.0) for e in (0.1, 0.3)
    )
    cells = tuple(Cell("height", h, 0.0, h * 1e-4, h * 2e-4, 0.0, h**2 * 100) for h in (32, 64))
    cells += tuple(Cell("faces", f, 0.0, f * 1e-5, f * 2e-5, 0.0, f * 100) for f in (320, 1280))
    return Measured(name, {"cpu": "a cpu", "gpu": None}, PNG, PNG, PNG, (row,), trials, cells)


@pytest.fixture(scope="module")
def cards() -> list[Card]:
    card = find_technique("pixel-pair-antialiasing").card
    strange = dataclasses.replace(
        card, name="hostile", title=HOSTILE, paper=HOSTILE, limits=HOSTILE, equations=(HOSTILE,),
        idea=(HOSTILE,) * 3, authors=HOSTILE, family="points", year=1999,
    )  # fmt: skip
    bare = dataclasses.replace(card, name="bare", title="Bare", claims=(), year=2031)
    return [card, strange, bare]


@pytest.fixture(scope="module")
def site(cards: list[Card], tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    results = {c.name: measured(c.name, x) for c, x in zip(cards[:2], (0.95, 0.3), strict=True)}
    write_site(folder, cards, results)
    return folder


def test_every_technique_has_its_page(tmp_path: Path) -> None:
    pages = build_site(tmp_path / "new")
    assert {p.stem for p in pages} == {"index", "compare", "libraries", *list_techniques()}
    assert all(0 < p.stat().st_size < 2**20 for p in pages)
    assert "Not measured yet" in (tmp_path / "new" / "pixel-pair-antialiasing.html").read_text()


def test_pages_are_whole_and_stay_at_home(site: Path) -> None:
    for path in site.glob("*.html"):
        page = Page(path.read_text(encoding="utf-8"))
        for link in page.of("a"):
            assert (site / str(link["href"])).is_file()
        for image in page.of("img"):
            assert str(image["src"]).startswith("data:image/png;base64,")
        (policy,) = [m["content"] for m in page.of("meta") if "http-equiv" in m]
        assert str(policy).startswith("default-src 'none'")
        assert not page.of("link") and not page.of("iframe")


def test_names_are_escaped(site: Path) -> None:
    for path in site.glob("*.html"):
        text = path.read_text(encoding="utf-8")
        assert "<script>alert" not in text and 'alert("1")' not in text
        scripts = 1 if path.stem == "compare" else 0
        assert len(Page(text).of("script")) == scripts
    assert "&lt;script&gt;alert" in (site / "hostile.html").read_text()


def test_a_page_holds_what_was_measured(site: Path) -> None:
    text = (site / "pixel-pair-antialiasing.html").read_text(encoding="utf-8")
    assert "holds" in text and "0.950" in text and "against differences" in text
    assert len(Page(text).of("svg")) == 6  # two basins, time and memory by rows and by faces
    assert "does not hold" in (site / "hostile.html").read_text(encoding="utf-8")
    assert "claims no gradient" in (site / "bare.html").read_text(encoding="utf-8")


def test_the_comparison_has_a_row_a_technique(site: Path, cards: list[Card]) -> None:
    rows = [r for r in Page((site / "compare.html").read_text()).of("tr") if "data-family" in r]
    assert [r["data-family"] for r in rows] == [card.family for card in cards]
    assert str(rows[0]["data-claims"]).split() == [c.parameter for c in cards[0].claims]


def test_libraries_have_a_cell_each() -> None:
    table = library_table(35)
    assert all(len(cells) == len(LIBRARIES) == 5 for cells in table.values())
    assert len(table) == 14  # the survey's rows
    assert "35 techniques" in table["differentiable rendering"][-1]


def test_results_of_another_name_are_refused(tmp_path: Path) -> None:
    measured("a").write(tmp_path)
    assert set(read_results(tmp_path)) == {"a"}
    (tmp_path / "a.json").rename(tmp_path / "b.json")
    with pytest.raises(InputError, match=r"b.json holds results of 'a'"):
        read_results(tmp_path)
    with pytest.raises(InputError, match="is no folder"):
        read_results(tmp_path / "absent")


def test_a_name_cannot_leave_the_folder(cards: list[Card], tmp_path: Path) -> None:
    for name in ("../up", "index", ".hidden"):
        with pytest.raises(InputError, match="cannot be the name of a page"):
            write_site(tmp_path, [dataclasses.replace(cards[0], name=name)], {})


# In a browser.

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = [
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-sync", "--disable-background-networking", "--disable-component-update",
    "--hide-scrollbars", "--disable-dev-shm-usage", "--window-size=1200,900",
    "--virtual-time-budget=3000", "--enable-logging=stderr", "--dump-dom",
]  # fmt: skip


@pytest.mark.parametrize(
    ("address", "years"),
    [
        ("", ["2020", "1999", "2031"]),
        ("#sort=2", ["1999", "2020", "2031"]),
        ("#family=points", ["1999"]),
        ("#claim=pose&claim=light", ["2020", "1999"]),
        ("#claim=density", []),
        ("#sort=6", ["1999", "2020", "2031"]),  # by cosine of the pose; one without goes last
    ],
)
def test_the_comparison_filters_and_sorts(
    site: Path, tmp_path: Path, address: str, years: list[str]
) -> None:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip(f"no browser found, looked for {', '.join(BROWSERS)}")
    page = (site / "compare.html").as_uri() + address
    done = subprocess.run(
        [browser, *FLAGS, f"--user-data-dir={tmp_path}", page],
        check=True, capture_output=True, timeout=120, encoding="utf-8",
    )  # fmt: skip
    for complaint in ("Uncaught", "Refused to", "violates the following"):
        assert complaint not in done.stderr
    assert 'data-ready="yes"' in done.stdout
    rows = re.findall(r"<tr data-family=[^>]*>.*?</tr>", done.stdout, re.S)
    shown = [row for row in rows if "hidden" not in row.partition(">")[0]]
    assert [re.search(r'number">(\d{4})<', row)[1] for row in shown] == years  # type: ignore[index]
    assert f"{len(years)} of 3" in done.stdout
