"""The script behind the pictures of docs/visibility.md runs, and draws the same twice."""

from __future__ import annotations

from pathlib import Path

from python_runs import run_python

DOCS = Path(__file__).resolve().parents[1] / "docs"


def test_pictures_of_visibility_are_drawn_alike_twice(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        said = run_python(DOCS / "pictures" / "visibility.py", tmp_path / name, "quick")
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
        errors = dict(line.split(": ") for line in said.splitlines() if ": " in line)
        # Nothing of a silhouette comes back through `interpolate`: the error is the whole of it.
        assert set(errors["hard"].split(", ")) == {"1.00"}
        assert max(float(value) for value in errors["antialias"].split(", ")) < 1.0
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {path.name for path in (DOCS / "images").glob("visibility_*.png")}


def test_pictures_of_the_pages_are_small() -> None:
    pictures = list((DOCS / "images").glob("visibility_*.png"))
    assert len(pictures) == 3
    assert max(path.stat().st_size for path in pictures) < 150_000


def test_pictures_of_shape_spaces_are_drawn_alike_twice(tmp_path: Path) -> None:
    drawn = []
    for name in ("one", "two"):
        run_python(DOCS / "pictures" / "shape_spaces.py", tmp_path / name)
        drawn.append({path.name: path.read_bytes() for path in (tmp_path / name).iterdir()})
    assert drawn[0] == drawn[1]
    assert set(drawn[0]) == {path.name for path in (DOCS / "images").glob("shape_spaces_*.png")}
    assert max(len(data) for data in drawn[0].values()) < 150_000
