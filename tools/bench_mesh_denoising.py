"""`diffrender bench mesh-denoising`: noisy cars cleaned by the graph network and by fitted priors.

Noise of three deviations is put on every vertex of cars that no method has seen: procedural ones
of other seeds, and real ones (--cars, else data/car_meshes of DIFFRENDER_SHARED; left out without).
The graph network moves the vertices; principal components and the auto-encoder, both as shipped and
of the same procedural family, are fitted to the noisy surface (`fit_prior`). Smoothing is
(I + L)^-1, which knows nothing of cars.
"""

from __future__ import annotations

import json
import os
import statistics
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffrender._files import write_text_atomic
from diffrender.errors import InputError
from diffrender.graph.meshes import MeshTopology, denoise, load_denoiser
from diffrender.graph.meshes.denoiser import vertex_noise
from diffrender.graph.meshes.examples import draw_car
from diffrender.losses import laplacian, mesh_edges
from diffrender.shape_priors import FitSettings, fit_prior, load_prior, volumetric_iou
from diffrender.shape_priors.learn import read_mesh_set
from diffrender.shape_priors.nearest import surface_errors
from diffrender.tools.bench_choices import MeshFolder
from diffrender.tools.bench_format import Report, Row, Target, spread

__all__ = ["bench_mesh_denoising"]

DEVIATIONS = (0.02, 0.05, 0.10)  # metres
UNSEEN = 10_000  # seed of the held-out procedural cars
SHARED_SCALE = 2.853  # metres per unit of the shared meshes
GRAPH, PCA, NET = "graph denoiser", "principal components, 8 latents", "auto-encoder, 8 latents"
_NOISY, _SMOOTH = "as it came", "smoothing"
_GRID = (64, 28, 28)
_SAMPLES = 1000
_FIT = FitSettings(iterations=12, samples=1000)

Mesh = tuple[Tensor, Tensor]
Scores = dict[str, list[list[float]]]  # method -> [chamfer in mm, IoU] of each car


@dataclass(frozen=True)
class _Set:
    name: str
    cars: list[Mesh]


def bench_mesh_denoising(*, quick: bool, meshes: MeshFolder) -> Report:
    """Measure; `quick` takes one car of each set and one deviation, within 50 s."""
    report = Report(rows=[])
    count = 1 if quick else 4
    sets = [_Set("held-out procedural cars", _procedural(count))]
    real = _real(meshes, count)
    if real:
        sets.append(_Set("real cars", real))
    else:
        report.rows.append(Row("real cars", "left out: no folder of meshes", 0.0, "mm"))
    for cars in sets:
        for deviation in DEVIATIONS[1:2] if quick else DEVIATIONS:
            _report(report, cars, deviation, _kept(cars, deviation, meshes.work))
    return report


def _procedural(count: int) -> list[Mesh]:
    generator = torch.Generator().manual_seed(UNSEEN)
    cars = [draw_car(generator) for _ in range(count)]
    return [(vertices, topology.faces) for vertices, topology in cars]


def _real(meshes: MeshFolder, count: int) -> list[Mesh]:
    folder, scale = meshes.cars, meshes.scale
    if folder is None and "DIFFRENDER_SHARED" in os.environ:
        folder = Path(os.environ["DIFFRENDER_SHARED"]) / "data" / "car_meshes" / "same_topology_79"
        scale = SHARED_SCALE
    if meshes.cars is not None and not meshes.cars.is_dir():
        raise InputError(f"--cars {meshes.cars} is not a folder, expected meshes of cars")
    if folder is None or not folder.is_dir():
        return []
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".obj", ".ply"))
    order = torch.randperm(len(paths), generator=torch.Generator().manual_seed(0))
    read = read_mesh_set([paths[i] for i in order[: max(count, 2)].tolist()], scale=scale)
    return [(vertices.float(), read.faces) for vertices in read.vertices[:count]]


def _kept(cars: _Set, deviation: float, work: Path | None) -> Scores:
    """Scores of a set and deviation, from the folder of work where they are there already."""
    total = sum(float(v.double().abs().sum()) for v, _ in cars.cars)
    weights = sum(float(p.double().abs().sum()) for p in load_denoiser().parameters())
    key = f"{cars.name} {len(cars.cars)} {total:.4f} {deviation} {_FIT} {_SAMPLES} {weights:.4f}"
    path = None
    if work is not None:
        path = work / f"{cars.name.replace(' ', '-')}-{round(1000 * deviation)}.json"
    if path is not None and path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("key") == key:
            return record["scores"]
    scores = _scores(cars.cars, deviation)
    if path is not None:
        write_text_atomic(path, json.dumps({"key": key, "scores": scores}))
    return scores


def _scores(cars: list[Mesh], deviation: float) -> Scores:
    scores: Scores = {}
    net = load_denoiser()
    priors = {PCA: load_prior("car"), NET: load_prior("car-autoencoder")}
    for number, (clean, faces) in enumerate(cars):
        generator = torch.Generator().manual_seed(number)
        topology = MeshTopology(faces, len(clean))
        noisy = clean + vertex_noise(topology, deviation, 0, generator)
        found: dict[str, Mesh] = {
            _NOISY: (noisy, faces),
            _SMOOTH: (_smoothed(noisy, faces), faces),
            GRAPH: (denoise(net, noisy, faces), faces),
        }
        for name, prior in priors.items():
            fitted = fit_prior(prior, noisy, faces, _FIT)
            mesh = prior.mesh(fitted.latent, fitted.size)
            found[name] = (mesh.vertices.double() + fitted.location, prior.faces)
        for name, mesh_of in found.items():
            scores.setdefault(name, []).append(_score(mesh_of, (clean, faces)))
    return scores


def _smoothed(vertices: Tensor, faces: Tensor) -> Tensor:
    matrix = torch.eye(len(vertices)) + laplacian(mesh_edges(faces, len(vertices)))
    return torch.linalg.solve(matrix, vertices)


def _score(found: Mesh, clean: Mesh) -> list[float]:
    generator = torch.Generator().manual_seed(0)
    chamfer, _ = surface_errors(found, clean, _SAMPLES, generator)
    return [1e3 * chamfer, volumetric_iou(*found, *clean, resolution=_GRID)]


def _report(report: Report, cars: _Set, deviation: float, scores: Scores) -> None:
    case = f"{len(cars.cars)} {cars.name}, noise {100 * deviation:g} cm"
    ours = [statistics.fmean(column) for column in zip(*scores[GRAPH], strict=True)]
    for name, rows in scores.items():
        for place, (metric, unit) in enumerate((("Chamfer distance", "mm"), ("IoU", "share"))):
            values = [row[place] for row in rows]
            mean = statistics.fmean(values)
            ratio = None if name == GRAPH else ours[place] / mean
            peer = "" if name == GRAPH else "graph denoiser / this"
            report.rows.append(
                Row(case, f"{metric}, {name}", mean, unit, spread(values), peer, ratio)
            )
            if name in (PCA, NET) and place == 0:
                goal = f"{case}: Chamfer distance of the graph denoiser against {name}"
                met = ratio is not None and ratio < 1
                report.targets.append(Target(goal, "< 1", ratio, met))
