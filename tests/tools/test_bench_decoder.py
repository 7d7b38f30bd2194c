"""The decoder's benchmark on a tiny study, and the page that is written from its report."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from diffrender.tools.bench import BENCHMARKS
from diffrender.tools.bench_decoder import (
    CHAMFER,
    ERROR,
    INFERENCE,
    STEP,
    _Study,
    case,
    run_study,
)

ROOT = Path(__file__).resolve().parents[2]
TINY = _Study(
    densities=(1, 1 / 4),
    latents=(4,),
    seeds=(0, 1),
    cars=60,
    held=20,
    width=32,
    steps=12,
    timed_widths=(32,),
    repeats=1,
)


@pytest.fixture(scope="module")
def report() -> dict[str, Any]:
    return run_study(TINY).as_dict()


@pytest.fixture
def tables(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("decoder_tables")


def test_every_decoder_has_errors_and_times(report: dict[str, Any]) -> None:
    assert "decoder" in BENCHMARKS
    rows = {(row["case"], row["operation"].split(", ")[0]): row for row in report["rows"]}
    linear = rows["4 latents, principal components", ERROR]
    assert 5 < linear["value"] < 200  # mm
    for density in TINY.densities:
        name = case(4, 32, density)
        error, chamfer = rows[name, ERROR], rows[name, CHAMFER]
        # Twelve steps with a narrow network change what they started from a little.
        assert error["value"] == pytest.approx(linear["value"], rel=0.3)
        assert chamfer["value"] < error["value"]
        assert error["spread"] > 0
        timed = case(8, 32, density)
        for operation in (STEP, INFERENCE):
            row = rows[timed, operation.split(", ")[0]]
            assert row["unit"] == "ms"
            assert row["value"] > 0
    assert rows[case(4, 32, 1), ERROR]["ratio"] == 1
    assert rows[case(8, 32, 1), "inference"]["ratio"] == 1


def test_the_page_is_written_from_the_report(
    report: dict[str, Any], tables: ModuleType, tmp_path: Path
) -> None:
    source, page = tmp_path / "report.json", tmp_path / "page.md"
    source.write_text(json.dumps(report))
    page.write_text("Words.\n" + tables.MARK + "old")
    tables.main(source, page, tmp_path / "plot.png")
    text = page.read_text()
    assert text.startswith("Words.\n" + tables.MARK)
    assert "old" not in text
    assert "| 1/4 |" in text
    first = (tmp_path / "plot.png").read_bytes()
    assert first.startswith(b"\x89PNG")
    assert len(first) < 150_000
    tables.main(source, page, tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes() == first
