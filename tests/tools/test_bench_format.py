from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from diffrender.errors import InputError
from diffrender.tools.bench_format import Report, Row, Target, machine, spread, time_calls


def test_report_has_the_format(tmp_path: Path) -> None:
    row = Row("1280 faces", "forward", 3.5, "ms", spread=0.2, peer="deodr", ratio=0.7)
    target = Target("forward against deodr", "<= 2", 0.7, True)
    path = tmp_path / "new" / "report.json"
    Report([row], [target]).write(path)
    read = json.loads(path.read_text())
    assert list(read) == ["schema", "machine", "rows", "targets"]
    assert read["schema"] == 1
    assert list(read["rows"][0]) == [
        "case", "operation", "value", "unit", "spread", "peer", "ratio",
    ]  # fmt: skip
    assert read["targets"] == [
        {"name": "forward against deodr", "goal": "<= 2", "value": 0.7, "met": True}
    ]
    assert {"cpu", "cores", "threads", "python", "torch", "os"} <= set(read["machine"])
    assert list(path.parent.iterdir()) == [path]


def test_report_refuses_nan(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON"):
        Report([Row("a", "b", float("nan"), "ms")]).write(tmp_path / "report.json")
    assert list(tmp_path.iterdir()) == []


def test_machine_is_plain() -> None:
    assert json.loads(json.dumps(machine())) == machine()
    assert machine()["cpu"]


def test_spread_is_the_interquartile_range() -> None:
    assert spread([1.0, 2.0, 3.0, 4.0, 5.0]) == pytest.approx(2.0)
    assert spread([7.0]) == 0.0


def test_calls_take_turns_and_warm_up_is_not_counted() -> None:
    order: list[str] = []

    def slow() -> None:
        order.append("slow")
        time.sleep(0.01)

    seconds = time_calls({"fast": lambda: order.append("fast"), "slow": slow}, repeats=3)
    assert order == ["fast", "slow"] * 4
    assert {name: len(values) for name, values in seconds.items()} == {"fast": 3, "slow": 3}
    assert min(seconds["slow"]) >= 0.01


def test_no_repeats_is_an_error() -> None:
    with pytest.raises(InputError, match="repeats is 0"):
        time_calls({"a": lambda: None}, repeats=0)
