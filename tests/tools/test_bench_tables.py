"""What the writers of the pages' tables share: goals, marks."""

from __future__ import annotations

import importlib
import json
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
