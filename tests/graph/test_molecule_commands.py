"""The commands for molecules, from growth to prediction."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from diffrender.tools.app import app
from diffrender.tools.bench_molecules import report_of
from diffrender.tools.bench_molecules_cases import CASES, OURS, Outcome, read_outcome

pytest.importorskip("rdkit")

RUN = CliRunner()
TRAIN = ["train", "molecules", "--data", "none", "--out", "o"]


def test_grow_train_predict(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("tblite")
    for module in ("labelled", "synthesize"):
        monkeypatch.setattr(f"diffrender.graph.molecules.{module}.PART_SIZE", 12)
    data, out = tmp_path / "data", tmp_path / "run"
    made = RUN.invoke(app, ["synthetic", "molecules", "--out", str(data), "--count", "20"])
    assert made.exit_code == 0, made.output
    assert sum(json.loads(made.stdout)["molecules"].values()) == 20
    assert made.stderr.splitlines()[-1].startswith("20 molecules of 20, ")  # 24 were grown
    train = ["train", "molecules", "--data", str(data), "--out", str(out), "--layers", "1"]
    train += ["--block", "MPNN+FFN", "--epochs", "1", "--batch", "8"]
    paused = RUN.invoke(app, [*train, "--pause-after", "0"])
    assert paused.exit_code == 0, paused.output
    assert "the same command goes on" in paused.stdout
    trained = RUN.invoke(app, train)
    assert trained.exit_code == 0, trained.output
    assert "wrote" in trained.stdout
    weights = str(out / "network.safetensors")
    asked = ["predict", "molecules", "CCO", "C1CC", "--weights", weights, "--weights", weights]
    found = RUN.invoke(app, [*asked, "--shares", "1,0.5"])
    assert found.exit_code == 0, found.output
    said = json.loads(found.stdout)
    assert (said["label"], said["networks"]) == ("homolumogap", 2)
    assert set(said["molecules"][0]) == {"smiles", "value", "spread"}
    assert said["molecules"][0]["spread"] == pytest.approx(0, abs=1e-6)
    assert set(said["molecules"][1]) == {"smiles", "error"}
    (tmp_path / "list.txt").write_bytes(b"\xef\xbb\xbfCCO\r\n\r\nCC\r\n")
    listed = RUN.invoke(
        app, ["predict", "molecules", "--weights", weights, "--list", str(tmp_path / "list.txt")]
    )
    assert [m["smiles"] for m in json.loads(listed.stdout)["molecules"]] == ["CCO", "CC"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "molecules", "--weights", "none.safetensors"], "no molecules"),
        (["predict", "molecules", "C", "--weights", "none.safetensors"], "no such file"),
        (
            ["predict", "molecules", "C", "--weights", "none.safetensors", "--shares", "1,0.5"],
            "expected a number for each --weights, of which there are 1",
        ),
        (TRAIN, "expected the layout of PCQM4Mv2"),
        ([*TRAIN, "--masking", "1:2"], "three numbers as 1:3:1"),
        ([*TRAIN, "--masking", "nan:1:1"], "1:3:1"),
        ([*TRAIN, "--epochs", "inf"], "--epochs is inf"),
        ([*TRAIN, "--schedule", "epoch", "--epochs", "1"], "goes with --epochs of at least 2"),
        ([*TRAIN, "--schedule", "epoch", "--minutes", "5"], "goes with --epochs of at least 2"),
        (["bench", "molecules"], "give the molecules with --data"),
        (["bench", "molecules", "--size", "huge"], "one of: full"),
        (["bench", "raster", "--seeds", "2"], "No such option: --seeds"),
        (["synthetic", "molecules", "--out", "o", "--count", "3"], "expected at least 10"),
    ],
)
def test_one_line_says_what_is_wrong(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = RUN.invoke(app, arguments)
    assert done.exit_code == 2, done.output
    assert message in done.stderr


def _outcome(case: str, seed: int, error: float) -> Outcome:
    return Outcome(case, seed, error, error / 2, 10.0, 1000, 5, "some", 1)


def test_the_table_says_which_orderings_hold() -> None:
    outcomes = [_outcome(case, seed, 0.2) for case in CASES for seed in (0, 1)]
    changed = {
        (OURS, 0): 0.20, (OURS, 1): 0.21,
        ("GPS++ without 3D", 0): 0.22, ("GPS++ without 3D", 1): 0.23,
        ("GPS++ without denoising", 0): 0.22, ("GPS++ without denoising", 1): 0.20,
        ("GPS++ without attention", 0): 0.20, ("GPS++ without attention", 1): 0.25,
    }  # fmt: skip
    outcomes = [_outcome(o.case, o.seed, changed.get((o.case, o.seed), o.error)) for o in outcomes]
    report = report_of(outcomes, 1.0, "a budget")
    met = {target.name: target.met for target in report.targets}
    assert met["3D in training helps"]
    assert not met["denoising helps"]  # not for the second seed
    assert not met["attention adds little"]
    errors = {row.operation: row for row in report.rows if row.unit == "eV" and row.ratio}
    ours = next(row for name, row in errors.items() if name.startswith(f"{OURS}, 5"))
    assert ours.value == pytest.approx(0.205) and ours.ratio == pytest.approx(1)
    assert "seeds 0, 1" in ours.operation
    lonely = report_of([outcomes[1]], 1.0, "a budget")
    assert all(not target.met and target.value is None for target in lonely.targets)


def test_outcomes_are_read_strictly(tmp_path: Path) -> None:
    from diffrender.errors import InputError

    (tmp_path / "outcome.json").write_text('{"case": "GPS++"}')
    with pytest.raises(InputError, match="delete it to run it again"):
        read_outcome(tmp_path / "outcome.json")


@pytest.mark.slow
def test_the_whole_table_runs() -> None:
    pytest.importorskip("torch_geometric")
    pytest.importorskip("tblite")
    done = RUN.invoke(app, ["bench", "molecules", "--quick", "--print-json"])
    assert done.exit_code == 0, done.output
    report = json.loads(done.stdout)
    assert len([r for r in report["rows"] if "held-out" in r["case"]]) == len(CASES) + 1
    assert all(target["value"] is not None for target in report["targets"])
