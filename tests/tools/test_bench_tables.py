"""What the writers of the pages' tables share: goals, marks."""

from __future__ import annotations

import importlib
import json
import runpy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def pages(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("pages")


def test_goals_met_missed_and_not_measured(pages: ModuleType) -> None:
    targets: list[dict[str, Any]] = [
        {"name": "speed", "goal": ">= 2", "value": 2.3456, "met": True},
        {"name": "error", "goal": "<= 1", "value": 3.0, "met": False},
        {"name": "peer", "goal": ">= 1", "value": None, "met": False},
    ]
    assert pages.goals({"targets": targets}, ("goal", "", "found", "met"), ".2f") == (
        "| goal |  | found | met |\n"
        "| --- | --- | --- | --- |\n"
        "| speed | >= 2 | 2.35 | yes |\n"
        "| error | <= 1 | 3.00 | **no** |\n"
        "| peer | >= 1 | not measured | **no** |\n"
    )


def test_only_what_stands_between_the_marks_changes(pages: ModuleType, tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("before\n<a>\nold\n<b>\nafter\n")
    pages.write_between(page, "<a>\n", "<b>\n", "new\n")
    assert page.read_text() == "before\n<a>\nnew\n<b>\nafter\n"
    pages.write_below(page, "<b>\n", "end\n")
    assert page.read_text() == "before\n<a>\nnew\n<b>\nend\n"
    for begin, end in (("<c>\n", None), ("<a>\n", "<c>\n")):
        with pytest.raises(SystemExit, match="must hold this once: <c>"):
            pages.write_between(page, begin, end, "")


TABLES = sorted((ROOT / "benchmarks").glob("*_tables.py"))


@pytest.mark.parametrize("script", TABLES, ids=lambda path: path.stem)
@pytest.mark.parametrize(
    ("word", "status", "said"), [("--help", 0, "usage: "), ("a", 2, "error: ")]
)
def test_writers_that_are_asked_for_help_write_nothing(
    script: Path, word: str, status: int, said: str, pages: ModuleType,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(pages, "write_between", lambda *_: pytest.fail("wrote"))
    monkeypatch.setattr(pages, "write_below", lambda *_: pytest.fail("wrote"))
    monkeypatch.setattr("sys.argv", [str(script), word])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(script), run_name="__main__")
    assert left.value.code == status
    told = capsys.readouterr()
    assert said in (told.out if status == 0 else told.err)


def test_paths_are_all_given_or_the_usual_ones(
    pages: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    usual = {"report": Path("a.json"), "page": Path("a.md")}
    for words, expected in (([], ["a.json", "a.md"]), (["b.json", "b.md"], ["b.json", "b.md"])):
        monkeypatch.setattr("sys.argv", ["x.py", *words])
        assert list(map(str, pages.paths_given("Tables.", usual))) == expected


def test_confidence_without_a_car_is_one_line(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    confidence = importlib.import_module("confidence")
    path = tmp_path / "cars.jsonl"
    path.write_text(json.dumps({"scene": 0, "name": None, "error": None}) + "\n")
    monkeypatch.setattr("sys.argv", ["confidence.py", str(path), str(path)])
    with pytest.raises(SystemExit, match=r"cars\.jsonl holds no car with an error"):
        confidence.main()


def test_machines_say_what_they_know(pages: ModuleType) -> None:
    machine = {"cpu": "fast", "threads": 2, "gpu": None}
    assert pages.machine({"machine": machine}) == "cpu fast, threads 2"


def test_a_street_cut_short_is_reconstructed_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    streets = importlib.import_module("streets")
    path = tmp_path / "cars.jsonl"
    assert streets.whole_scenes(path) == set()
    lines = [json.dumps({"scene": scene, "name": name}) + "\n"
             for scene in (0, 1) for name in ("a", "b", None)]  # fmt: skip
    path.write_text("".join(lines))
    assert streets.whole_scenes(path) == {0, 1}
    for kept in ("".join(lines[:5]), "".join(lines[:4]) + '{"scene": 1, "na'):
        path.write_text(kept)
        assert streets.whole_scenes(path) == {0}
        assert path.read_text() == "".join(lines[:3])
