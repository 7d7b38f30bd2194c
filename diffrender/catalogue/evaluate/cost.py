"""Cost: time and peak memory of a technique against resolution and number of primitives.

Measured in a process of its own, `python -m diffrender.catalogue.evaluate.cost NAME`, which prints
one JSON line a cell: it can be stopped when patience ends, and nothing else warms its caches.
"""

from __future__ import annotations

import itertools
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from diffrender.cameras import Camera
from diffrender.catalogue.evaluate.pictures import stacked
from diffrender.catalogue.registry import Technique, find_technique
from diffrender.catalogue.scene import Scene, Triangles, as_triangles
from diffrender.catalogue.standard import standard_camera, standard_scene
from diffrender.shape_priors.free_form import icosphere

__all__ = ["Cell", "CostSettings", "measure_cost"]


@dataclass(frozen=True)
class CostSettings:
    """What is measured.

    Attributes:
        heights: of the picture in pixels, at 4 : 3, on the standard scene.
        subdivisions: of an icosahedron, 20 * 4^n faces, drawn 96 x 128.
        repeats: of which the median is taken, after one that is not counted.
        patience: seconds. A cell that takes longer ends its row, and is measured once.
    """

    heights: tuple[int, ...] = (32, 64, 128, 256)
    subdivisions: tuple[int, ...] = (2, 3, 4, 5)
    repeats: int = 3
    patience: float = 2.0


@dataclass(frozen=True)
class Cell:
    """One measurement.

    Attributes:
        against: "height" or "faces".
        value: pixels of height, or triangles before `prepare`.
        prepare: seconds.
        forward, backward: seconds, medians.
        spread: interquartile range of forward + backward, seconds.
        memory: bytes of tensors at the peak of forward + backward, above what was there before, by
            torch's own count of what it allocates. The working memory inside a kernel is not
            among them.
    """

    against: str
    value: int
    prepare: float
    forward: float
    backward: float
    spread: float
    memory: int


def measure_cost(name: str, settings: CostSettings, *, limit: float = 300.0) -> list[Cell]:
    """Measure a technique by name in a process of its own.

    Args:
        limit: seconds for all of it; what was measured until then is kept.

    Raises:
        RuntimeError: the process failed; its last line of complaint is quoted.
    """
    process = subprocess.Popen(
        [sys.executable, "-m", __spec__.name, name, json.dumps(asdict(settings))],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        printed, complaint = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        process.kill()
        printed, _ = process.communicate()
    else:
        if process.returncode:
            last = (complaint.strip().splitlines() or ["no complaint"])[-1]
            raise RuntimeError(f"measuring {name} failed: {last}")
    # The last line may have been cut off; other lines are the profiler's.
    whole = printed[: printed.rfind("\n") + 1].splitlines()
    return [Cell(**json.loads(line)) for line in whole if line.startswith("{")]


def cells(technique: Technique, settings: CostSettings) -> Iterator[Cell]:
    """The measurements, the two rows in turns: when patience ends, each has its small ones."""
    scene, camera = standard_scene(), standard_camera((96, 128))
    sizes = [(h, scene, standard_camera((h, 4 * h // 3))) for h in settings.heights]
    balls = [(20 * 4**n, _ball(scene, n), camera) for n in settings.subdivisions]
    rows = _row(technique, "height", sizes, settings), _row(technique, "faces", balls, settings)
    for pair in itertools.zip_longest(*rows):
        yield from (cell for cell in pair if cell is not None)


def _row(
    technique: Technique,
    against: str,
    row: list[tuple[int, Scene, Camera]],
    settings: CostSettings,
) -> Iterator[Cell]:
    for value, scene, camera in row:
        began = time.perf_counter()
        prepared = technique.prepare(scene)
        prepare = time.perf_counter() - began
        forward, backward = [], []
        for repeat in range(settings.repeats + 1):
            times = _once(technique, prepared, camera)
            slow = sum(times) > settings.patience
            if repeat or slow:  # the first warms up
                forward.append(times[0])
                backward.append(times[1])
            if slow:
                break
        both = [f + b for f, b in zip(forward, backward, strict=True)]
        spread = 0.0
        if len(both) > 1:
            low, _, high = statistics.quantiles(both, n=4, method="inclusive")
            spread = high - low
        middle = statistics.median(forward), statistics.median(backward)
        yield Cell(against, value, prepare, *middle, spread, _peak(technique, prepared, camera))
        if slow:
            return


def _once(technique: Technique, prepared: Scene, camera: Camera) -> tuple[float, float]:
    """Seconds forward and backward, the gradient going to every parameter that is claimed."""
    leaves = []
    for claim in technique.card.claims:
        if claim.parameter in prepared.parameters():
            leaf = prepared.parameters()[claim.parameter].detach().clone().requires_grad_()
            prepared = prepared.replaced(claim.parameter, leaf)
            leaves.append(leaf)
    translation = camera.translation.clone().requires_grad_()
    camera = Camera(camera.intrinsics, camera.rotation, translation, camera.size)
    start = time.perf_counter()
    picture = stacked(technique.render(prepared, camera))
    middle = time.perf_counter()
    if picture.requires_grad:
        torch.autograd.grad(picture.sum(), [*leaves, translation], allow_unused=True)
    return middle - start, time.perf_counter() - middle


def _ball(scene: Scene, subdivisions: int) -> Scene:
    """A ball where the car stands, on no floor."""
    directions, faces = icosphere(subdivisions)
    vertices = 1.5 * directions.float() + as_triangles(scene).vertices.new_tensor([0.2, -0.6, 0.0])
    mesh = Triangles(vertices, faces, torch.full_like(vertices, 0.6))
    return Scene(mesh, scene.light, scene.background)


def _peak(technique: Technique, prepared: Scene, camera: Camera) -> int:
    """Bytes of tensors at the peak of one forward and backward pass."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as seen:
        _once(technique, prepared, camera)
    with tempfile.TemporaryDirectory() as folder:
        trace = Path(folder) / "trace.json"
        seen.export_chrome_trace(str(trace))
        events = json.loads(trace.read_text(encoding="utf-8"))["traceEvents"]
    changes = [(e["ts"], e["args"]["Bytes"]) for e in events if e.get("name") == "[memory]"]
    held = itertools.accumulate(change for _, change in sorted(changes, key=lambda c: c[0]))
    return max(held, default=0)


def _main() -> None:
    name, settings = sys.argv[1], json.loads(sys.argv[2])
    plan = CostSettings(
        tuple(settings["heights"]),
        tuple(settings["subdivisions"]),
        settings["repeats"],
        settings["patience"],
    )
    for cell in cells(find_technique(name), plan):
        print(json.dumps(asdict(cell)), flush=True)


if __name__ == "__main__":
    _main()
