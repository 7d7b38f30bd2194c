"""Loading the kernels, and the reasons given when that fails."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from python_runs import run_python

from diffrender.errors import InputError
from diffrender.native import NativeError, _build, _library, library, reason_missing
from diffrender.raster import backends, rasterize

needs_kernels = pytest.mark.skipif(
    reason_missing() is not None, reason=f"no native kernels: {reason_missing()}"
)


@pytest.fixture
def fresh() -> Iterator[None]:
    _library._load.cache_clear()
    yield
    _library._load.cache_clear()


@pytest.mark.usefixtures("fresh")
def test_a_missing_library_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_library, "_FOLDER", tmp_path)
    reason = reason_missing()
    assert reason is not None
    assert "was not built at install" in reason
    assert "python -m diffrender.native" in reason
    assert backends()["native"] == reason
    assert backends()["torch"] is None
    with pytest.raises(NativeError, match="was not built"):
        library()


@pytest.mark.usefixtures("fresh")
def test_a_broken_library_is_explained(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / _build.library_name("baseline")).write_bytes(b"no library")
    monkeypatch.setattr(_library, "_FOLDER", tmp_path)
    assert "does not load" in str(reason_missing())


@needs_kernels
@pytest.mark.usefixtures("fresh")
def test_an_older_library_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_library, "ABI", _library.ABI + 1)
    assert "has ABI" in str(reason_missing())


@pytest.mark.usefixtures("fresh")
def test_it_can_be_switched_off_and_torch_takes_over(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffrender.cameras import Camera
    from diffrender.meshes import Mesh

    monkeypatch.setenv("DIFFRENDER_NATIVE", "off")
    mesh = Mesh(torch.tensor([[0.0, 0, 1], [4, 0, 1], [0, 4, 1]]), torch.tensor([[0, 2, 1]]))
    camera = Camera(torch.eye(3), torch.eye(3), torch.zeros(3), (4, 4))
    assert int((rasterize(mesh, camera).face >= 0).sum()) == 6
    with pytest.raises(InputError, match="switched off by DIFFRENDER_NATIVE=off"):
        rasterize(mesh, camera, backend="native")


@pytest.mark.parametrize(
    ("variable", "known"),
    [
        ("DIFFRENDER_NATIVE", "off, baseline, avx2, avx512"),
        ("DIFFRENDER_MALLOC", "system"),
    ],
)
@pytest.mark.usefixtures("fresh")
def test_an_unknown_wish_is_refused(
    variable: str, known: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, "foo")
    for ask in (reason_missing, library, backends):
        with pytest.raises(InputError, match=f"{variable} is 'foo', expected one of: {known}; or"):
            ask()
    monkeypatch.setenv(variable, "")
    assert "foo" not in str(reason_missing())


_BITS = """
import hashlib, torch
torch.set_num_threads(1)
from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.native import instruction_set
from diffrender.raster import (
    SoftShading, antialias, rasterize, rasterize_points, sample_texture, soft_shade
)
generator = torch.Generator().manual_seed(0)
points = torch.rand(90, 3, generator=generator) + torch.tensor([-0.5, -0.5, 1.5])
points.requires_grad_()
mesh = Mesh(points, torch.arange(90).reshape(30, 3))
camera = Camera(torch.tensor([[40.0, 0, 20], [0, 40, 16], [0, 0, 1]]), torch.eye(3),
                torch.zeros(3), (32, 40))
found = rasterize(mesh, camera, layers=3, backend="native")
nearest = rasterize(mesh, camera, backend="native")
smooth = antialias(found.depth, found, mesh, camera)
(grad,) = torch.autograd.grad(smooth.square().sum() + found.bary.square().sum(), points)
texture = torch.rand(13, 9, 3, generator=generator).requires_grad_()
uv = (3 * torch.rand(500, 2, generator=generator)).requires_grad_()
footprint = torch.rand(500, 2, 2, generator=generator) / 4
look = sample_texture(texture, uv, footprint=footprint, wrap="repeat", backend="native")
looks = torch.autograd.grad(look.square().sum(), [texture, uv])
dots = rasterize_points(points, camera, radius=2.5, layers=3, backend="native")
(pull,) = torch.autograd.grad((dots.depth * dots.squared_distance).sum(), points)
soft = SoftShading(sigma=1e-3, gamma=0.01, faces_per_pixel=5)
shade = soft_shade(points, mesh, camera, settings=soft, backend="native")
(slope,) = torch.autograd.grad(shade.square().sum(), points)
digest = hashlib.sha256()
for tensor in (found.face, found.bary, nearest.depth, smooth, grad, look, *looks, dots.point,
               dots.squared_distance, pull, shade, slope):
    digest.update(tensor.detach().numpy().tobytes())
print(instruction_set(), digest.hexdigest())
"""


@needs_kernels
def test_every_instruction_set_gives_the_same_bits() -> None:
    seen: dict[str, str] = {}
    for level in _build.LEVELS:
        name, digest = run_python("-c", _BITS, environment={"DIFFRENDER_NATIVE": level}).split()
        seen[name] = digest
    assert "baseline" in seen
    assert len(set(seen.values())) == 1


_POOL = """
#include <atomic>
#include <cstdio>
#include <thread>
#include "common.h"
int main() {
  for (int round = 0; round < 300; ++round) {
    std::atomic<long> total{0};
    const auto work = [&] {
      diffrender::parallel(4, 50, [&](int64_t i) { total += i; });
    };
    std::thread other(work);
    work();
    other.join();
    if (total != 2 * 1225) return 1;
  }
  std::puts("fine");
}
"""


@pytest.mark.skipif(shutil.which("g++") is None, reason="needs g++")
def test_the_pool_runs_every_task_once_from_two_threads(tmp_path: Path) -> None:
    source = tmp_path / "pool_check.cpp"
    source.write_text(_POOL)
    program = tmp_path / "pool_check"
    command = ["g++", "-std=c++17", "-O1", "-pthread", f"-I{_build.SOURCES}", str(source)]
    command += [str(_build.SOURCES / "pool.cpp"), "-o", str(program)]
    subprocess.run(command, check=True, capture_output=True)
    done = subprocess.run([str(program)], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "fine")
