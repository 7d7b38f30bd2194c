"""How long one object takes, the renderer against DEODR, and the memory of ten cars."""

from __future__ import annotations

import dataclasses
import statistics
import subprocess
import sys
from collections.abc import Callable

from diffrender.tools.bench_format import Report, Row, Target, spread, time_calls

__all__ = ["large_picture", "memory", "raster_against_deodr", "speed"]

_ENLARGED = 5  # 11.6 megapixels, as telephones have

_TEN_CARS = """
import resource, sys
import numpy as np
from diffrender.datasets.synthetic import DEVELOPMENT_SEED, SyntheticStreets
from diffrender.reconstruct import Run, reconstruct
from diffrender.shape_priors import load_prior

streets = SyntheticStreets(DEVELOPMENT_SEED, 200)
index = next(i for i in range(200) if len(streets[i].instances()) >= 10)
frame = streets[index]
scene = reconstruct(
    frame.image, frame.camera, frame.instances()[:10], frame.depth, load_prior("car"), None,
    Run(frame.name, depth_source="file"),
)
scene.save(sys.argv[1])
print(len(scene.objects), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def speed(report: Report, repeats: int) -> None:
    """8 hypotheses x 100 iterations x one object, everything but reading files included."""
    from diffrender.datasets import sample_frame
    from diffrender.reconstruct import ReconstructSettings, Run, StageSettings, reconstruct
    from diffrender.shape_priors import load_prior

    frame, prior = sample_frame(), load_prior("car")
    stages = (StageSettings(iterations=100, size=(64, 64), keep=8),)
    settings = ReconstructSettings(hypotheses=8, stages=stages, solver="adam")
    one = frame.instances()[:1]

    def run() -> object:
        return reconstruct(
            frame.image, frame.camera, one, frame.depth, prior, settings, Run(depth_source="file")
        )

    everyone = frame.instances()

    def as_shipped() -> object:
        run = Run(depth_source="file")
        return reconstruct(frame.image, frame.camera, everyone, frame.depth, prior, None, run)

    whole = time_calls({"shipped": as_shipped}, repeats=max(3, repeats // 5))["shipped"]
    each = [seconds / len(everyone) for seconds in whole]
    case = f"one of the sample's {len(everyone)} cars, default settings"
    report.rows.append(Row(case, "reconstruct", statistics.median(each), "s", spread(each)))
    times = time_calls({"run": run}, repeats=repeats)["run"]
    middle = statistics.median(times)
    case = "one object, 8 hypotheses x 100 iterations at 64 x 64"
    report.rows.append(Row(case, "reconstruct", middle, "s", spread(times)))
    report.rows.append(Row(case, "reconstruct, best", min(times), "s"))
    report.targets.append(Target(case, "<= 1.5 s", middle, middle <= 1.5))


def large_picture(report: Report, repeats: int) -> None:
    """The sample as it is and enlarged, in turns: what an object costs hangs little on pixels."""
    from diffrender.datasets import sample_frame
    from diffrender.instances import box_of_mask
    from diffrender.reconstruct import Run, reconstruct
    from diffrender.shape_priors import load_prior

    frame, prior = sample_frame(), load_prior("car")
    height, width = frame.image.shape[:2]
    assert frame.depth is not None

    def runs(factor: int) -> Callable[[], object]:
        image, depth = (a.repeat(factor, 0).repeat(factor, 1) for a in (frame.image, frame.depth))
        camera = frame.camera.resize((factor * height, factor * width))
        instances = []
        for one in frame.instances():
            mask = one.mask.repeat(factor, 0).repeat(factor, 1)
            instances.append(dataclasses.replace(one, mask=mask, box=box_of_mask(mask)))
        return lambda: reconstruct(
            image, camera, instances, depth, prior, None, Run(depth_source="file")
        )

    calls = {"plain": runs(1), "large": runs(_ENLARGED)}
    times = time_calls(calls, repeats=max(3, repeats // 5))
    plain, large = (statistics.median(times[name]) for name in ("plain", "large"))
    case = (
        f"the sample, {_ENLARGED * width} x {_ENLARGED * height} pixels, against {width} x {height}"
    )
    report.rows.append(
        Row(case, "reconstruct", large, "s", spread(times["large"]), "its own size", large / plain)
    )


def raster_against_deodr(report: Report, *, quick: bool) -> None:
    """The renderer's silhouette against the CPU peer, both timed in this run."""
    from diffrender.errors import MissingExtraError
    from diffrender.tools.bench_raster_silhouette import bench_silhouette

    try:
        part = bench_silhouette(quick=quick)
    except MissingExtraError as error:
        goal = Target(f"1280-face silhouette against DEODR ({error})", "<= 2", None, False)
        report.targets.append(goal)
        return
    report.rows.extend(part.rows)
    report.targets.extend(part.targets)


def memory(report: Report) -> None:
    """Peak memory of a process of its own that reconstructs and saves a frame of ten cars."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-c", _TEN_CARS, folder], capture_output=True, text=True, check=True
        )
    cars, kibibytes = done.stdout.split()[-2:]
    gigabytes = int(kibibytes) * 1024 / 1e9
    report.rows.append(Row(f"frame of {cars} cars", "peak memory of the process", gigabytes, "GB"))
    report.targets.append(Target("peak memory, ten cars", "< 2 GB", gigabytes, gigabytes < 2))
