"""What may be imported when the package is loaded: torch, numpy, the standard library."""

from __future__ import annotations

import ast
import sys
from pathlib import Path

import pytest
from python_runs import run_python

ROOT = Path(__file__).resolve().parents[1]
FOLDERS = ("diffrender", "shape_priors", "datasets", "tools")
EVERYWHERE = {"torch", "numpy", "diffrender"} | set(sys.stdlib_module_names)
COMMAND_LINE = EVERYWHERE | {"typer", "rich"}


def _sources() -> list[Path]:
    return sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))


def _load_time_imports(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, top-level package) of imports that run when the module is loaded."""
    found: list[tuple[int, str]] = []
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        statement = waiting.pop()
        if isinstance(statement, ast.Import):
            found += [(statement.lineno, alias.name.split(".")[0]) for alias in statement.names]
        elif isinstance(statement, ast.ImportFrom):
            assert statement.level == 0, f"line {statement.lineno}: relative import"
            found.append((statement.lineno, (statement.module or "").split(".")[0]))
        elif isinstance(statement, ast.If) and "TYPE_CHECKING" in ast.unparse(statement.test):
            waiting += statement.orelse
        elif not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            waiting += [s for s in ast.iter_child_nodes(statement) if isinstance(s, ast.stmt)]
    return found


def test_load_time_imports_are_light() -> None:
    sources = _sources()
    assert len(sources) > 20
    heavy = [
        f"{path.relative_to(ROOT)}:{line}: {package}"
        for path in sources
        for line, package in _load_time_imports(ast.parse(path.read_text()))
        if package not in (COMMAND_LINE if path.is_relative_to(ROOT / "tools") else EVERYWHERE)
    ]
    assert heavy == [], "import these inside the function that uses them"


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("import cv2", ["cv2"]),
        ("try:\n    import scipy.optimize\nexcept ImportError:\n    pass", ["scipy"]),
        ("class A:\n    from PIL import Image", ["PIL"]),
        ("def f():\n    import cv2", []),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    import timm", ["typing"]),
    ],
)
def test_the_check_sees_load_time_imports(source: str, expected: list[str]) -> None:
    assert [package for _, package in _load_time_imports(ast.parse(source))] == expected


def test_import_works_with_torch_and_numpy_only() -> None:
    """Every module but the command line loads where no other package of ours is installed."""
    script = """
import importlib, importlib.abc, pkgutil, sys

BLOCKED = {"cv2", "kornia", "timm", "torchvision", "trimesh", "safetensors", "scipy", "rich",
           "typer", "PIL", "matplotlib", "transformers", "onnxruntime", "pytorch3d", "shapely",
           "triton"}

class Absent(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in BLOCKED:
            raise ModuleNotFoundError(f"{name} is blocked", name=name)

sys.meta_path.insert(0, Absent())
import diffrender, diffrender.datasets, diffrender.shape_priors

loaded = 0
for package in (diffrender, diffrender.datasets, diffrender.shape_priors):
    for found in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        source = found.module_finder.find_spec(found.name).origin or ""
        # The kernels end in .so too, but are no Python module.
        if source.endswith(".py") and not found.name.startswith("diffrender.tools"):
            importlib.import_module(found.name)
            loaded += 1
assert not BLOCKED & {name.split(".")[0] for name in sys.modules}
print(loaded)
"""
    assert int(run_python("-c", script)) > 20
