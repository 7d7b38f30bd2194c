"""Building the kernels, with and without a compiler, and what goes into the wheel."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from diffrender.native import _build

ROOT = Path(__file__).resolve().parents[2]
needs_compiler = pytest.mark.skipif(
    not any(shutil.which(name) for name in ("g++", "clang++", "c++")), reason="no C++ compiler"
)


def test_a_missing_compiler_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O1")
    with pytest.raises(_build.NoCompilerError, match="CXX=no-such-compiler"):
        _build.build(tmp_path)
    monkeypatch.delenv("CXX")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(_build.NoCompilerError, match="is on the PATH, CXX unset"):
        _build.build(tmp_path)


@needs_compiler
def test_errors_of_the_compiler_are_shown(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    sources = tmp_path / "src"
    sources.mkdir()
    (sources / "broken.cpp").write_text("int f() { return missing_name; }\n")
    monkeypatch.setattr(_build, "SOURCES", sources)
    with pytest.raises(_build.NoCompilerError, match="missing_name"):
        _build.build(tmp_path)
    assert _build.libraries(tmp_path) == []


@needs_compiler
def test_levels_that_are_not_built_leave_no_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    sources, target = tmp_path / "src", tmp_path / "out"
    sources.mkdir()
    target.mkdir()
    (sources / "small.cpp").write_text("int f() { return 1; }\n")
    monkeypatch.setattr(_build, "SOURCES", sources)
    stale = [target / _build.library_name(level) for level in _build.levels()[1:]]
    for library in stale:
        library.write_bytes(b"of an older build")
    written = _build.build(target, only=["baseline"])
    assert written == _build.libraries(target) == [target / _build.library_name("baseline")]


def test_this_machine_runs_the_level_that_was_loaded() -> None:
    from diffrender.native import instruction_set

    runnable = _build.runnable_levels()
    assert runnable[0] == "baseline" and set(runnable) <= set(_build.levels())
    assert instruction_set() in (None, *runnable)


def _wheel(tmp_path: Path, environment: dict[str, str]) -> tuple[str, list[str], str]:
    """File name, contents and the build's words of a wheel made from a copy of the tree."""
    tree = tmp_path / "tree"
    skipped = shutil.ignore_patterns(
        ".git", ".venv", "build", "dist", "*.egg-info", "tests", "demo_out", "__pycache__"
    )
    shutil.copytree(ROOT, tree, ignore=skipped)
    done = subprocess.run(
        [sys.executable, "-m", "pip", "wheel", "-v", "--no-deps", "--no-build-isolation"]
        + ["--disable-pip-version-check", "-w", str(tmp_path), str(tree)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
    )
    words = done.stdout + done.stderr
    assert done.returncode == 0, words[-3000:]
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return wheel.name, archive.namelist(), words


@needs_compiler
@pytest.mark.slow
def test_a_wheel_with_kernels_serves_every_python_on_its_platform(tmp_path: Path) -> None:
    name, contents, _ = _wheel(tmp_path, {})
    assert "-py3-none-" in name
    assert not name.endswith("-any.whl")
    assert f"diffrender/native/{_build.library_name('baseline')}" in contents
    assert "diffrender/native/src/rasterize.cpp" in contents


@pytest.mark.slow
def test_without_a_compiler_the_wheel_is_plain_and_says_why(tmp_path: Path) -> None:
    name, contents, words = _wheel(tmp_path, {"CXX": "no-such-compiler"})
    assert name.endswith("-py3-none-any.whl")
    assert not [n for n in contents if n.endswith((".so", ".dylib"))]
    assert "no native kernels, plain torch will be used: CXX=no-such-compiler" in words
