"""Kernel threads apart from torch's."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import pytest
import torch
from python_runs import run_python

from diffrender.native import kernel_threads, reason_missing, share_team, small_tensors


def test_small_tensors_narrow_torch_and_not_the_kernels() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert kernel_threads() == 2
        with small_tensors():
            assert torch.get_num_threads() == 1
            assert kernel_threads() == 2
            with small_tensors():
                assert kernel_threads() == 2
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="inside"), small_tensors():
            raise ValueError("inside")
        assert torch.get_num_threads() == kernel_threads() == 2
    finally:
        torch.set_num_threads(before)


_FORK = """
import os, torch
from diffrender.blocksparse import BlockPattern, spmm
from diffrender.native import share_team
torch.set_num_threads(2)
pattern = BlockPattern.random((512, 512), 16, 0.5, generator=torch.Generator().manual_seed(0))
values, x = torch.rand(pattern.values_shape), torch.rand(512, 256)
def product():
    return spmm(pattern, values, x).numpy().tobytes()
before = product()
share_team()
child = os.fork()
if child == 0:
    os._exit(0 if product() == before else 3)
print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), product() == before)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")
@pytest.mark.skipif(reason_missing() is not None, reason="the kernels are not compiled")
def test_a_forked_child_does_not_wait_for_torchs_threads() -> None:
    assert run_python("-W", "ignore", "-c", _FORK, timeout=60).split() == ["0", "True"]


def test_torchs_team_is_shared_where_torch_brings_one() -> None:
    here = list((Path(torch.__file__).parent / "lib").glob("libgomp*.so*"))
    if reason_missing() is not None or not hasattr(os, "RTLD_NOLOAD"):
        pytest.skip("the kernels are not compiled, or this system cannot ask what is loaded")
    assert share_team() == bool(here)


def test_small_tensors_of_several_threads_give_the_number_back() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    first_in, second_in, first_out = (threading.Event() for _ in range(3))
    seen: list[tuple[int, int]] = []

    def first() -> None:
        with small_tensors():
            first_in.set()
            assert second_in.wait(20)
        first_out.set()

    def second() -> None:
        assert first_in.wait(20)
        with small_tensors():
            second_in.set()
            assert first_out.wait(20)
            seen.append((torch.get_num_threads(), kernel_threads()))

    try:
        runs = [threading.Thread(target=run) for run in (first, second)]
        for run in runs:
            run.start()
        for run in runs:
            run.join(30)
        assert seen == [(1, 3)]
        assert torch.get_num_threads() == kernel_threads() == 3
    finally:
        torch.set_num_threads(before)


_NO_THREADS = """
import resource, torch
from diffrender.cameras import Camera
from diffrender.raster import rasterize
camera = Camera.from_intrinsics(
    torch.tensor([[300.0, 0, 128], [0, 300, 128], [0, 0, 1]]), (256, 256), pixel_centres="half")
points = torch.rand(300, 3, generator=torch.Generator().manual_seed(0))
points = points + torch.tensor([-0.5, -0.5, 2.0])
faces = torch.arange(300).view(-1, 3)
torch.set_num_threads(1)
alone = rasterize((points, faces), camera)
now = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (now + (4 << 20), resource.RLIM_INFINITY))
torch.set_num_threads(4)
shared = rasterize((points, faces), camera)
torch.set_num_threads(1)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
print(torch.equal(shared.depth, alone.depth))
"""


@pytest.mark.skipif(reason_missing() is not None, reason="no native kernels")
@pytest.mark.skipif(not Path("/proc/self/statm").is_file(), reason="the limit is set from /proc")
@pytest.mark.skipif("libasan" in os.environ.get("LD_PRELOAD", ""), reason="it maps terabytes")
def test_threads_that_cannot_be_had_are_done_without() -> None:
    assert run_python("-c", _NO_THREADS, timeout=120).split() == ["True"]
