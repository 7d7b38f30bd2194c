"""What becomes one line with exit code 2, and what keeps its traceback."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from diffrender.errors import InputError, MissingExtraError
from diffrender.tools import console
from diffrender.tools.console import guarded, out, plain_table, warn


def _app(error: BaseException) -> typer.Typer:
    app = typer.Typer()

    @app.command()
    @guarded
    def command(path: Path = Path("x")) -> None:
        raise error

    return app


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (
            InputError("a.png does not exist,\n  expected an image"),
            "a.png does not exist, expected",
        ),
        (InputError("a box is [1, 2], expected [bold]4[/bold]"), "[1, 2], expected [bold]4[/bold]"),
        (
            MissingExtraError("install it with: pip install 'diffrender[onnx]'"),
            "'diffrender[onnx]'",
        ),
        (PermissionError(13, "Permission denied", "/out"), "/out: Permission denied"),
    ],
)
def test_what_the_user_can_mend_is_one_line(error: BaseException, line: str) -> None:
    result = CliRunner().invoke(_app(error), [])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("error: ")
    assert line in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("error", [ValueError("a bug"), OSError("no file named")])
def test_bugs_are_not_hidden(error: Exception) -> None:
    result = CliRunner().invoke(_app(error), [])
    assert result.exit_code == 1
    assert result.exception is error


def test_names_between_colons_are_no_pictures(capsys: pytest.CaptureFixture[str]) -> None:
    out().print("wrote out/:car:/scene.glb", markup=False)
    table = plain_table("object")
    table.add_row(":car:")
    out().print(table)
    warn("out/:car: is empty")
    said = capsys.readouterr()
    assert said.out.count(":car:") == 2
    assert ":car:" in said.err


def test_signs_that_a_stream_has_no_letter_for_do_not_end_a_command(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(told, encoding="ascii", write_through=True))
    out().print("5° δ")
    assert told.getvalue() == b"5? ?\n"


def test_own_warnings_are_lines_and_those_of_others_keep_their_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    places: list[str] = []
    monkeypatch.setattr(warnings, "showwarning", lambda *given: places.append(given[2]))
    app = typer.Typer()
    ours = str(Path(console.__file__).with_name("x.py"))

    @app.command()
    @guarded
    def command() -> None:
        warnings.simplefilter("always")
        warnings.warn_explicit("2 images of [x] are left out", UserWarning, ours, 7)
        warnings.warn_explicit("theirs", UserWarning, "/usr/lib/other.py", 7)

    result = CliRunner().invoke(app, [])
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "warning: 2 images of [x] are left out\n"
    assert places == ["/usr/lib/other.py"]
