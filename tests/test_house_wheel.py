"""One wheel that installs and imports in a clean environment, with and without a compiler."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PARTS = ("diffrender", "shape_priors", "datasets", "tools")
FILES = ("setup.cfg", "setup.py", "pyproject.toml", "README.md", "LICENSE", "NOTICE", "MANIFEST.in")

pytestmark = pytest.mark.slow


def _wheel(folder: Path, environment: dict[str, str]) -> Path:
    """Build from a copy without compiled files: what a clone or an sdist holds."""
    tree = folder / "tree"
    for part in PARTS:
        ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.dylib")
        shutil.copytree(ROOT / part, tree / part, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, tree / name)
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation"]
    done = subprocess.run(
        [*command, "--wheel-dir", str(folder), str(tree)],
        env=os.environ | environment,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    wheels = list(folder.glob("*.whl"))
    assert len(wheels) == 1
    return wheels[0]


def _install(wheel: Path, folder: Path) -> Path:
    """A new environment with the wheel; what it depends on is lent by this one."""
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python3*")) / "site-packages"
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps"]
    done = subprocess.run([*pip, str(wheel)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    return python


def _run(python: Path, script: str, folder: Path) -> str:
    """Run outside the tree, so that only the installed package can be found."""
    done = subprocess.run([str(python), "-c", script], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


RENDER = """
import torch, diffrender, diffrender.tools.app
from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import backends, rasterize
from diffrender.shape_priors import load_prior

K = torch.tensor([[20.0, 0, 16], [0, 20, 16], [0, 0, 1]])
camera = Camera.from_intrinsics(K, (32, 32), pixel_centres="half")
mesh = load_prior("car").mesh().transformed(torch.eye(3), torch.tensor([0.0, 0.8, 5.0]))
print(diffrender.__file__)
print(int((rasterize(mesh, camera).face[..., 0] >= 0).sum()))
print(backends()["native"])
"""


def test_wheel_with_the_native_library(tmp_path: Path) -> None:
    if shutil.which("g++") is None and shutil.which("clang++") is None:
        pytest.skip("no C++ compiler here")
    wheel = _wheel(tmp_path, {})
    assert "-py3-none-" in wheel.name
    assert not wheel.name.endswith("-any.whl")
    names = zipfile.ZipFile(wheel).namelist()
    assert any(n.startswith("diffrender/native/") and n.endswith((".so", ".dylib")) for n in names)
    assert any(n.endswith("/NOTICE") for n in names)  # of the weights that began as another's
    top = {n.split("/")[0] for n in names if ".dist-info" not in n}
    assert top == {"diffrender"}, "a top-level 'datasets' or 'tools' would overwrite others'"
    python = _install(wheel, tmp_path / "venv")
    where, pixels, reason = _run(python, RENDER, tmp_path).split("\n")[:3]
    assert Path(where).is_relative_to(tmp_path / "venv")
    assert int(pixels) > 50
    assert reason == "None"


def test_wheel_without_a_compiler(tmp_path: Path) -> None:
    wheel = _wheel(tmp_path, {"CXX": "/nonexistent", "PATH": str(tmp_path)})
    assert wheel.name.endswith("-py3-none-any.whl")
    python = _install(wheel, tmp_path / "venv")
    _, pixels, reason = _run(python, RENDER, tmp_path).split("\n")[:3]
    assert int(pixels) > 50
    assert "not built" in reason
