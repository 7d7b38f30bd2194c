"""`diffrender catalogue` and `diffrender bench catalogue`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffrender.catalogue import find_technique, list_techniques
from diffrender.catalogue.evaluate import Measured
from diffrender.errors import InputError
from diffrender.tools import bench_catalogue
from diffrender.tools.app import app
from diffrender.tools.bench import TechniqueChoice, run

PIXEL_PAIRS = "pixel-pair-antialiasing"
RUN = CliRunner()


def test_list_writes_the_cards(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["catalogue", "list", "--json", str(tmp_path / "cards.json")])
    assert done.exit_code == 0 and PIXEL_PAIRS in done.output
    cards = json.loads((tmp_path / "cards.json").read_text(encoding="utf-8"))
    assert [card["name"] for card in cards] == list_techniques()
    assert all(card["bibtex"].startswith("@") and card["claims"] is not None for card in cards)


def test_show_holds_the_card() -> None:
    done = RUN.invoke(app, ["catalogue", "show", PIXEL_PAIRS])
    card = find_technique(PIXEL_PAIRS).card
    assert done.exit_code == 0
    assert card.idea[0] in done.output and card.equations[0] in done.output
    assert card.bibtex() in done.output


def test_compare_has_a_column_each() -> None:
    done = RUN.invoke(app, ["catalogue", "compare", PIXEL_PAIRS, PIXEL_PAIRS])
    assert done.exit_code == 0 and "biased" in done.output
    assert RUN.invoke(app, ["catalogue", "compare", PIXEL_PAIRS]).exit_code == 2


def test_a_wrong_name_is_one_line() -> None:
    done = RUN.invoke(app, ["catalogue", "show", "pixel-pairs"])
    assert done.exit_code == 2
    assert "no technique named 'pixel-pairs', did you mean" in done.output


def test_render_draws_a_mesh(tmp_path: Path) -> None:
    from PIL import Image

    mesh = tmp_path / "tetrahedron.obj"
    mesh.write_text(
        "v 0 0 0\nv 1 0 0\nv 0 1 0\nv 0 0 1\nf 1 3 2\nf 1 2 4\nf 1 4 3\nf 2 3 4\n", encoding="ascii"
    )
    png = tmp_path / "drawn.png"
    arguments = ["catalogue", "render", PIXEL_PAIRS, str(mesh), "--out", str(png), "--height", "24"]
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 0, done.output
    with Image.open(png) as picture:
        assert picture.size == (32, 24)
        colours = picture.convert("RGB").getcolors()
    assert colours is not None and len(colours) > 3  # sky, and faces of several shades


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        ("a.txt", "", "expected a mesh file"),
        ("a.obj", "v 0 0 0\n", "a.obj"),
        ("a.obj", "v 0 0 nan\nv 1 0 0\nv 0 1 0\nf 1 2 3\n", "not finite"),
        ("a.glb", "hello", "a.glb: cannot be read"),
    ],
)
def test_meshes_that_cannot_be_drawn(tmp_path: Path, name: str, text: str, complaint: str) -> None:
    (tmp_path / name).write_text(text, encoding="ascii")
    done = RUN.invoke(app, ["catalogue", "render", PIXEL_PAIRS, str(tmp_path / name)])
    assert done.exit_code == 2 and complaint in done.output


def test_pictures_are_png_by_name_too(tmp_path: Path) -> None:
    for name, complaint in (("drawn.jpg", "expected a name.png"), ("drawn", "expected a name")):
        out = str(tmp_path / name)
        done = RUN.invoke(app, ["catalogue", "render", PIXEL_PAIRS, "absent.obj", "--out", out])
        assert done.exit_code == 2 and complaint in done.output
        assert not (tmp_path / name).exists()


def test_brackets_in_a_name_are_no_markup(tmp_path: Path) -> None:
    cards = tmp_path / "a [b] [" / "cards[x].json"
    done = RUN.invoke(app, ["catalogue", "list", "--json", str(cards)])
    assert done.exit_code == 0 and f"wrote {cards}" in done.output
    assert cards.is_file()


def test_gallery_writes_pages(tmp_path: Path) -> None:
    done = RUN.invoke(app, ["catalogue", "gallery", "--out", str(tmp_path / "site")])
    assert done.exit_code == 0 and (tmp_path / "site" / "index.html").is_file()
    absent = ["catalogue", "gallery", "--out", str(tmp_path), "--results", str(tmp_path / "no")]
    assert RUN.invoke(app, absent).exit_code == 2


def test_gallery_names_results_of_no_technique(tmp_path: Path) -> None:
    for name in (PIXEL_PAIRS, "pixel-pairs"):
        Measured(name, {"cpu": "a cpu"}).write(tmp_path)
    arguments = ["catalogue", "gallery", "--out", str(tmp_path / "site"), "--results"]
    done = RUN.invoke(app, [*arguments, str(tmp_path)])
    assert done.exit_code == 0, done.output
    (line,) = done.stderr.splitlines()
    assert line.startswith("warning: pixel-pairs.json in ") and "no technique" in line
    assert not (tmp_path / "site" / "pixel-pairs.html").exists()
    (tmp_path / "pixel-pairs.json").unlink()
    assert RUN.invoke(app, [*arguments, str(tmp_path)]).stderr == ""


def test_bench_measures_a_technique_and_keeps_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = dataclasses.replace(bench_catalogue._QUICK_PLAN, size=(12, 16), seconds_per_claim=0.3)
    monkeypatch.setattr(bench_catalogue, "_QUICK_PLAN", plan)
    choice = TechniqueChoice((PIXEL_PAIRS,), tmp_path)
    report = run("catalogue", quick=True, choice=choice)
    operations = [row.operation for row in report.rows]
    assert any("pose from 10 degrees" in o for o in operations)
    assert any("64 rows: forward + backward" in o for o in operations)
    assert {t.name.split(": ")[1].split(",")[0] for t in report.targets} == {
        claim.parameter for claim in find_technique(PIXEL_PAIRS).card.claims
    }
    kept = (tmp_path / f"{PIXEL_PAIRS}.json").read_bytes()
    assert run("catalogue", quick=True, choice=choice).rows == report.rows
    assert (tmp_path / f"{PIXEL_PAIRS}.json").read_bytes() == kept


def test_bench_refuses_what_it_does_not_take(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="'raster' got a TechniqueChoice, it takes: none"):
        run("raster", quick=True, choice=TechniqueChoice(("x",)))
    with pytest.raises(InputError, match="no technique named 'x'"):
        run("catalogue", quick=True, choice=TechniqueChoice(("x",), tmp_path))


@pytest.mark.slow
def test_bench_reconstructs_by_a_technique(tmp_path: Path) -> None:
    choice = TechniqueChoice(("rasterize-then-splat",), tmp_path, reconstruct=True)
    report = run("catalogue", quick=True, choice=choice)
    cases = list(dict.fromkeys(row.case for row in report.rows))
    assert cases == ["the library's own, 1 cars", "rasterize-then-splat, 1 cars"]
    share = {row.operation: row.value for row in report.rows if row.case == cases[0]}
    assert 0 <= share["median 3D IoU"] <= 1 and share["time a car"] > 0
    assert run("catalogue", quick=True, choice=choice).rows == report.rows
    with pytest.raises(InputError, match="claims no gradient"):
        run("catalogue", quick=True, choice=TechniqueChoice(("dvr",), tmp_path, True))


def test_a_mesh_and_its_texture_are_not_drawn_over(tmp_path: Path) -> None:
    mesh, texture = tmp_path / "car.obj", tmp_path / "car.png"
    mesh.write_text("v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n")
    texture.write_bytes(b"painted")
    told = CliRunner().invoke(
        app, ["catalogue", "render", "soft-rasterizer", str(mesh), "--out", str(texture)]
    )
    assert told.exit_code == 2, told.output
    assert texture.read_bytes() == b"painted"
