"""Large images in little memory: what `estimate_memory` says, and that it holds."""

from __future__ import annotations

import sys

import pytest
import torch
from python_runs import run_python
from raster_scenes import BACKENDS

from diffrender.errors import InputError
from diffrender.raster import estimate_memory

MEASURED = pytest.mark.skipif(
    "native" not in BACKENDS or sys.platform != "linux",
    reason="needs the native kernels, and Linux to measure the peak",
)

_RUN = """
import sys
from pathlib import Path
import torch
from diffrender.cameras import Camera
from diffrender.raster import rasterize

def kilobytes(name):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name))

side, pixels, threads = (int(a) for a in sys.argv[1:])
torch.set_num_threads(threads)
y, x = torch.meshgrid(torch.arange(side + 1.0), torch.arange(side + 1.0), indexing="ij")
depth = 3 + 0.2 * torch.sin(9 * x / side) * torch.cos(7 * y / side)
points = torch.stack([2 * x / side - 1, 2 * y / side - 1, depth], -1).reshape(-1, 3)
corner = (torch.arange(side)[:, None] * (side + 1) + torch.arange(side)).reshape(-1)
right, below, across = corner + 1, corner + side + 1, corner + side + 2
halves = [[corner, right, below], [right, across, below]]
faces = torch.cat([torch.stack(half, -1) for half in halves])
k = torch.tensor([[1.4 * pixels, 0, pixels / 2], [0, 1.4 * pixels, pixels / 2], [0, 0, 1]])
camera = Camera(k, torch.eye(3), torch.zeros(3), (pixels, pixels))
points.requires_grad_()
small = Camera(k / pixels, torch.eye(3), torch.zeros(3), (1, 1))
rasterize((points, faces), small)  # loads everything
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew
before = kilobytes("VmRSS")
found = rasterize((points, faces), camera)
found.depth.sum().backward()
after = kilobytes("VmHWM")
print(len(faces), len(points), (after - before) * 1024, int((found.face >= 0).sum()),
      len(found.face.unique()) - 1)
"""


def peak(side: int, pixels: int, threads: int) -> tuple[int, int, int, int, int]:
    """Faces, vertices, bytes of the peak, covered pixels, visible faces, in its own process."""
    said = run_python("-c", _RUN, str(side), str(pixels), str(threads))
    faces, vertices, used, covered, seen = (int(word) for word in said.split())
    return faces, vertices, used, covered, seen


def within_estimate(side: int, pixels: int) -> None:
    faces, vertices, used, covered, seen = peak(side, pixels, threads=2)
    estimate = estimate_memory(faces, vertices, (pixels, pixels))
    # The grid fills 2 / 3 of 1.4 widths, so nearly (14 / 15) of each side, waves included.
    assert covered > 0.8 * pixels**2
    assert used < estimate.total + (32 << 20)
    assert used > 0.3 * estimate.outputs
    if pixels**2 > 16 * faces:
        assert seen == faces  # every face is larger than a pixel: none may be dropped


@MEASURED
def test_the_peak_stays_within_the_estimate() -> None:
    within_estimate(side=60, pixels=1024)


@pytest.mark.slow
@MEASURED
def test_half_a_million_faces_at_4096_squared() -> None:
    within_estimate(side=500, pixels=4096)


def test_estimates_grow_with_what_they_should() -> None:
    base = estimate_memory(1000, 500, (256, 256))
    assert estimate_memory(1000, 500, (512, 512)).scratch == base.scratch
    assert estimate_memory(1000, 500, (512, 512)).outputs > 3.9 * base.outputs
    assert estimate_memory(9000, 500, (256, 256)).outputs == base.outputs
    assert estimate_memory(1000, 500, (256, 256), dtype=torch.float64).outputs > base.outputs
    assert base.total == base.outputs + base.scratch + base.backward


def test_a_negative_count_or_an_unknown_backend_is_refused() -> None:
    with pytest.raises(InputError, match="faces -1"):
        estimate_memory(-1, 3, (4, 4))
    with pytest.raises(InputError, match="'metal'"):
        estimate_memory(1, 3, (4, 4), backend="metal")
