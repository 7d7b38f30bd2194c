"""`diffrender bench priors`: held-out meshes explained by principal components and auto-encoders.

Meshes of one topology are left out ten at a time; every prior learns from the rest and is fitted
to those left out by the same registration (`fit_prior`: latent, size and location, no
correspondences). The shipped priors, which have seen none of the meshes, are fitted to the same.
Without --cars the folder data/car_meshes of DIFFRENDER_SHARED is read.
"""

from __future__ import annotations

import dataclasses
import json
import os
import statistics
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from diffrender._files import write_text_atomic
from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.shape_priors import (
    AutoencoderSettings,
    FitSettings,
    NeuralPrior,
    ShapePrior,
    fit_prior,
    learn_autoencoder,
    load_prior,
)
from diffrender.shape_priors.learn import MeshSet, prior_of_set, read_mesh_set
from diffrender.shape_priors.nearest import surface_errors
from diffrender.shape_priors.prior import unit_box
from diffrender.shape_priors.symmetric_template import symmetric_template
from diffrender.shape_priors.volume import volumetric_iou
from diffrender.tools.bench_choices import MeshFolder
from diffrender.tools.bench_format import Report, Row, Target, spread

__all__ = ["bench_priors"]

LATENTS, HELD = 8, 10
CHOSEN_ON = (0, 3, 6)  # folds of the shared meshes on which width, rate and steps were chosen
SHARED_SCALE = 2.853  # metres per unit of the shared meshes
PCA, SYMMETRIC = "principal components, 8 latents", "principal components, 8, symmetric template"
AUTOENCODER, ENCODER = "auto-encoder, 8 latents", "auto-encoder, 8 latents, its encoder alone"
_METRICS = {"chamfer": "mm", "iou": "IoU", "normals": "mean cosine"}
_NAMES = {
    "chamfer": "Chamfer distance",
    "iou": "volumetric IoU",
    "normals": "normal consistency",
}
_GRID = (64, 28, 28)

Score = dict[str, list[float]]  # metric -> one value a mesh


@dataclass(frozen=True)
class _Study:
    """How much is measured."""

    folds: int | None = None
    training: AutoencoderSettings = field(
        default_factory=lambda: AutoencoderSettings(encoder_steps=400)
    )
    fit: FitSettings = field(default_factory=lambda: FitSettings(iterations=15, samples=1500))
    samples: int = 1500
    held: int = HELD


_QUICK = _Study(
    folds=1,
    training=AutoencoderSettings(steps=60, encoder_steps=60),
    fit=FitSettings(iterations=12, samples=1000),
    samples=1000,
    held=3,
)


def bench_priors(*, quick: bool, meshes: MeshFolder) -> Report:
    """Measure; `quick` takes three meshes of one fold, within 50 s."""
    report = Report(rows=[])
    folder, scale = _folder(meshes)
    goal = "auto-encoder: Chamfer distance below that of principal components, 8 latents each"
    if folder is None:
        reason = "left out: no folder of meshes (--cars DIR)"
        report.rows.append(Row("held-out meshes", reason, 0, "meshes"))
        report.targets.append(Target(goal, "< 1", None, False))
        return report
    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in (".obj", ".ply"))
    read = read_mesh_set(paths, scale=scale)
    study = _QUICK if quick else _Study(folds=meshes.folds)
    return _study(report, read, study, meshes.work, goal)


def _folder(meshes: MeshFolder) -> tuple[Path | None, float]:
    if meshes.cars is not None:
        if not meshes.cars.is_dir():
            raise InputError(f"--cars {meshes.cars} is no folder of meshes")
        return meshes.cars, meshes.scale
    shared = os.environ.get("DIFFRENDER_SHARED")
    if not shared:
        return None, 1.0
    folder = Path(shared) / "data" / "car_meshes" / "same_topology_79"
    return (folder, SHARED_SCALE) if folder.is_dir() else (None, 1.0)


def _study(report: Report, read: MeshSet, study: _Study, work: Path | None, goal: str) -> Report:
    count = len(read.vertices)
    if count < 2 * HELD:
        raise InputError(f"{count} meshes, expected at least {2 * HELD} of one topology")
    order = torch.randperm(count, generator=torch.Generator().manual_seed(0))
    folds = list(order.split(HELD))[: study.folds]
    scores = [_kept(read, order, fold, number, study, work) for number, fold in enumerate(folds)]
    _report(report, scores, count)
    ratio = next(
        (row.ratio for row in report.rows
         if row.case.startswith(f"{AUTOENCODER},") and row.operation.startswith("Chamfer")), None
    )  # fmt: skip
    report.targets.append(Target(goal, "< 1", ratio, ratio is not None and ratio < 1))
    return report


def _kept(
    read: MeshSet, order: Tensor, fold: Tensor, number: int, study: _Study, work: Path | None
) -> dict[str, Score]:
    """Scores of a fold, from the folder of work where they are there already."""
    known = dataclasses.replace(study, folds=None)  # how many are wanted changes none of them
    key = f"{known} {tuple(read.vertices.shape)} {float(read.vertices.abs().sum()):.6f}"
    path = None if work is None else work / f"fold-{number}.json"
    if path is not None and path.is_file():
        record = json.loads(path.read_text(encoding="utf-8"))
        if record.get("key") == key:
            return record["scores"]
    scores = _fold(read, order, fold, number, study)
    if path is not None:
        write_text_atomic(path, json.dumps({"key": key, "scores": scores}))
    return scores


def _fold(
    read: MeshSet, order: Tensor, fold: Tensor, number: int, study: _Study
) -> dict[str, Score]:
    rest = read.subset(order[~torch.isin(order, fold)])
    generator = torch.Generator().manual_seed(number)
    learned = learn_autoencoder(rest, study.training, generator)
    template = symmetric_template(unit_box(rest.vertices).mean(0), rest.faces)
    carried = MeshSet(template.carry(rest.vertices), template.faces, rest.sizes)
    priors: dict[str, ShapePrior] = {
        PCA: prior_of_set(rest, LATENTS, "pca", ""),
        SYMMETRIC: prior_of_set(carried, LATENTS, "pca", ""),
        AUTOENCODER: learned,
    }
    for name in ("car", "car-autoencoder"):
        priors[f"shipped prior {name}, 8 latents"] = load_prior(name)
    scores: dict[str, Score] = {}
    for index in fold[: study.held].tolist():
        target = read.vertices[index]
        for name, prior in priors.items():
            fitted = fit_prior(prior, target, read.faces, study.fit)
            vertices = prior.mesh(fitted.latent, fitted.size).vertices.double() + fitted.location
            _add(scores, name, (vertices, prior.faces), (target, read.faces), study)
        vertices = _encoded(learned, target, read.faces, read.sizes[index], generator)
        _add(scores, ENCODER, (vertices, learned.faces), (target, read.faces), study)
    return scores


def _encoded(
    prior: NeuralPrior, target: Tensor, faces: Tensor, size: Tensor, generator: torch.Generator
) -> Tensor:
    """What the encoder makes of a mesh, at the mesh's own size; nothing is optimized."""
    latent = prior.encode(Mesh(target, faces), generator)
    return prior.mesh(latent, size.float()).vertices.double()


def _add(
    scores: dict[str, Score],
    name: str,
    found: tuple[Tensor, Tensor],
    target: tuple[Tensor, Tensor],
    study: _Study,
) -> None:
    own = scores.setdefault(name, {metric: [] for metric in _METRICS})
    generator = torch.Generator().manual_seed(0)
    chamfer, normals = surface_errors(found, target, study.samples, generator)
    own["chamfer"].append(1e3 * chamfer)
    own["normals"].append(normals)
    own["iou"].append(volumetric_iou(*found, *target, resolution=_GRID))


def _report(report: Report, folds: list[dict[str, Score]], count: int) -> None:
    """Means over meshes; the spread is the interquartile range over the folds' means."""
    for name in folds[0]:
        for metric, unit in _METRICS.items():
            every = [value for fold in folds for value in fold[name][metric]]
            peers = [value for fold in folds for value in fold[PCA][metric]]
            value = statistics.fmean(every)
            report.rows.append(
                Row(
                    f"{name}, {len(every)} held out of {count} in {len(folds)} folds",
                    _NAMES[metric],
                    value,
                    unit,
                    spread=spread([statistics.fmean(fold[name][metric]) for fold in folds]),
                    peer="" if name == PCA else PCA,
                    ratio=None if name == PCA else value / statistics.fmean(peers),
                )
            )
    wins = [
        ours < theirs
        for fold in folds
        for ours, theirs in zip(fold[AUTOENCODER]["chamfer"], fold[PCA]["chamfer"], strict=True)
    ]
    share = sum(wins) / len(wins)
    report.rows.append(
        Row(f"{AUTOENCODER}, {len(wins)} meshes", "Chamfer below that of principal components",
            share, "share")
    )  # fmt: skip
    unseen = [fold for number, fold in enumerate(folds) if number not in CHOSEN_ON]
    if unseen:
        ours, theirs = (
            statistics.fmean(value for fold in unseen for value in fold[name]["chamfer"])
            for name in (AUTOENCODER, PCA)
        )
        case = f"{AUTOENCODER}, the {len(unseen)} folds on which no setting was chosen"
        operation = "Chamfer distance against principal components"
        report.rows.append(Row(case, operation, ours, "mm", peer=PCA, ratio=ours / theirs))
