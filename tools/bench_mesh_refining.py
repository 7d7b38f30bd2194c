"""`diffrender bench mesh-refining`: free vertices refined by large steps and by the graph network.

Pairs of procedural cars that the network has not seen: one is in the picture (outline and noisy
depth), the other stands in its place. Both refiners see the same loss; the graph network takes
fewer steps. Scored against the true car, and by the loss itself.
"""

from __future__ import annotations

import statistics
import time

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.graph.meshes.views import SeenCars
from diffrender.losses import Evidence
from diffrender.reconstruct.freeform import RefineSettings, refine_vertices
from diffrender.shape_priors.nearest import surface_errors
from diffrender.tools.bench_format import Report, Row, Target, spread

__all__ = ["bench_mesh_refining"]

UNSEEN = 20_000  # seed of the held-out pairs
SETTINGS = {
    "large steps, 60 iterations": RefineSettings(),
    "large steps, 10 iterations": RefineSettings(iterations=10),
    "graph network, 10 iterations": RefineSettings(iterations=10, refiner="graph"),
}
_SAMPLES = 800


def bench_mesh_refining(*, quick: bool) -> Report:
    """Measure; `quick` takes two pairs."""
    report = Report(rows=[])
    views = SeenCars(cars=2 if quick else 12)
    pair = views.pairs(torch.Generator().manual_seed(UNSEEN))
    case = f"{views.cars} held-out pairs of procedural cars"
    before = _chamfer(pair.start, pair.aim, pair.topology.faces)
    report.rows.append(
        Row(case, "Chamfer distance before", statistics.fmean(before), "mm", spread(before))
    )
    median: dict[str, float] = {}
    for name, settings in SETTINGS.items():
        median[name] = _refined(report, case, name, settings, (pair.start, pair.aim),
                                pair.topology.faces, pair.windows, pair.evidence)  # fmt: skip
    large, _, graph = median.values()
    goal = "graph network: Chamfer distance against large steps, 60 iterations"
    report.targets.append(Target(goal, "< 1", graph / large, graph < large))
    return report


def _refined(
    report: Report,
    case: str,
    name: str,
    settings: RefineSettings,
    cars: tuple[Tensor, Tensor],
    faces: Tensor,
    windows: Camera,
    evidence: Evidence,
) -> float:
    start, aim = cars
    began = time.perf_counter()
    refined = refine_vertices(start, faces, windows, evidence, settings)
    seconds = time.perf_counter() - began
    errors = _chamfer(refined.vertices, aim, faces)
    left = (refined.after / refined.before).tolist()
    report.rows.extend(
        [
            Row(case, f"Chamfer distance, {name}", statistics.fmean(errors), "mm", spread(errors)),
            Row(case, f"loss left over, {name}", statistics.fmean(left), "share", spread(left)),
            Row(case, f"time of a car, {name}", 1e3 * seconds / len(start), "ms"),
        ]
    )
    return statistics.fmean(errors)


def _chamfer(found: Tensor, aim: Tensor, faces: Tensor) -> list[float]:
    errors = []
    for ours, theirs in zip(found, aim, strict=True):
        generator = torch.Generator().manual_seed(0)
        one, other = (ours, faces), (theirs, faces)
        errors.append(1e3 * surface_errors(one, other, _SAMPLES, generator)[0])
    return errors
