"""`diffrender bench decoder`: the shape decoder dense and block-sparse, accuracy against speed.

The decoder is trained on procedural cars at each density, with masks that drop and grow, and
measured on cars drawn with another seed. 8 latents are those of the shipped prior; 32 are as many
as the family has parameters, so there the network and not the latents limits the error.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.blocksparse import SparsityConfig
from diffrender.shape_priors.build_asset import draw_fleet
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.decoder import DecoderSettings, ShapeDecoder
from diffrender.shape_priors.decoder_training import (
    TrainingSettings,
    train_autoencoder,
    vertex_errors,
)
from diffrender.shape_priors.pca import principal_components
from diffrender.tools.bench_format import Report, Row, spread, time_calls

__all__ = ["bench_decoder"]

BLOCK = 16
ERROR, CHAMFER = "held-out vertex error", "held-out Chamfer distance"
STEP, INFERENCE = "training step, batch 256", "inference, batch 256"


@dataclass(frozen=True)
class _Study:
    """What is trained and timed. Densities begin with 1, the dense layers."""

    densities: tuple[float, ...] = (1, 1 / 2, 1 / 4, 1 / 8, 1 / 16)
    latents: tuple[int, ...] = (8, 32)
    seeds: tuple[int, ...] = (0, 1, 2)
    cars: int = 1500
    held: int = 300
    width: int = 1024
    steps: int = 200
    timed_widths: tuple[int, ...] = (1024, 2048)
    repeats: int = 7


_QUICK = _Study(
    densities=(1, 1 / 4, 1 / 16),
    latents=(8,),
    seeds=(0,),
    cars=300,
    held=60,
    width=256,
    steps=40,
    timed_widths=(1024,),
    repeats=3,
)


@dataclass(frozen=True)
class _Fleet:
    """Cars in the unit box, their sizes, and metres per unit along x, y, z."""

    shapes: Tensor  # (N, V, 3)
    held: Tensor  # (M, V, 3)
    held_sizes: Tensor  # (M, 3)
    weights: Tensor  # (3,)


def bench_decoder(*, quick: bool = False) -> Report:
    """Train, measure, time; `quick` trains less and one seed, within 50 s."""
    return run_study(_QUICK if quick else _Study())


def run_study(study: _Study) -> Report:
    """One study as a report: errors first, then timings."""
    report = Report(rows=[])
    shapes, sizes = draw_fleet(study.cars, torch.Generator().manual_seed(1))
    held, held_sizes = draw_fleet(study.held, torch.Generator().manual_seed(2))
    fleet = _Fleet(shapes, held, held_sizes, sizes.mean(0)[[0, 2, 1]])
    for latents in study.latents:
        prior = _prior(fleet, latents)
        _components(report, fleet, prior)
        _trained(report, study, fleet, prior)
    prior = _prior(fleet, 8)
    for width in study.timed_widths:
        _timed(report, study, fleet, prior, width)
    return report


def case(latents: int, width: int, density: float) -> str:
    """How rows name a decoder."""
    words = "dense" if density == 1 else f"density 1/{round(1 / density)}"
    return f"{latents} latents, width {width}, {words}"


def _settings(width: int, density: float) -> DecoderSettings:
    if density == 1:
        return DecoderSettings(width=width)
    return DecoderSettings(width=width, sparsity=SparsityConfig(density, BLOCK, "dynamic"))


def _prior(fleet: _Fleet, latents: int) -> tuple[Tensor, Tensor]:
    mean, basis, _ = principal_components(fleet.shapes, latents, fleet.weights)
    return mean, basis


def _components(report: Report, fleet: _Fleet, prior: tuple[Tensor, Tensor]) -> None:
    """The linear prior with as many latents: what every decoder starts from."""
    mean, basis = prior
    metric = fleet.weights.double()
    directions = (basis * metric).flatten(1)
    away = ((fleet.held - mean) * metric).flatten(1)
    code = away @ directions.mT / directions.square().sum(1)
    found = (mean + torch.einsum("nd,dvc->nvc", code, basis)).float()
    for name, errors in zip(
        (ERROR, CHAMFER), vertex_errors(found, fleet.held, fleet.held_sizes), strict=True
    ):
        value = 1e3 * float(errors.mean())
        report.rows.append(Row(f"{len(basis)} latents, principal components", name, value, "mm"))


def _trained(report: Report, study: _Study, fleet: _Fleet, prior: tuple[Tensor, Tensor]) -> None:
    """Medians over seeds, with their range; the ratio is to the dense decoder's."""
    mirror = torch.from_numpy(lattice().mirror)
    training = TrainingSettings(steps=study.steps, mask_interval=max(study.steps // 20, 1))
    dense: dict[str, float] = {}
    for density in study.densities:
        settings = _settings(study.width, density)
        found: dict[str, list[float]] = {ERROR: [], CHAMFER: []}
        for seed in study.seeds:
            net, _ = train_autoencoder(
                fleet.shapes,
                prior,
                mirror,
                fleet.weights,
                settings,
                training,
                torch.Generator().manual_seed(seed),
            )
            with torch.no_grad():
                errors = vertex_errors(net(fleet.held), fleet.held, fleet.held_sizes)
            for name, each in zip(found, errors, strict=True):
                found[name].append(1e3 * float(each.mean()))
        for name, values in found.items():
            middle = statistics.median(values)
            dense.setdefault(name, middle)
            report.rows.append(
                Row(
                    case(len(prior[1]), study.width, density),
                    f"{name}, {study.steps} steps, seeds: {len(values)}",
                    middle,
                    "mm",
                    spread=max(values) - min(values),
                    peer="dense",
                    ratio=middle / dense[name],
                )
            )


def _timed(
    report: Report, study: _Study, fleet: _Fleet, prior: tuple[Tensor, Tensor], width: int
) -> None:
    """Training steps and inference of 8 latents, the densities taking turns."""
    mean, basis = prior
    mirror = torch.from_numpy(lattice().mirror)
    generator = torch.Generator().manual_seed(0)
    latent = torch.randn(256, 8, generator=generator)
    target = fleet.shapes[torch.randint(len(fleet.shapes), (256,), generator=generator)]
    calls: dict[str, dict[str, Callable[[], object]]] = {STEP: {}, INFERENCE: {}}
    for density in study.densities:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            decoder = ShapeDecoder(mean, basis, mirror, _settings(width, density))
        name = case(8, width, density)
        calls[STEP][name] = _step(decoder, latent, target)
        calls[INFERENCE][name] = _inference(decoder, latent)
    for operation, each in calls.items():
        seconds = time_calls(each, repeats=study.repeats, warm_up=2)
        dense = statistics.median(seconds[case(8, width, study.densities[0])])
        for name, values in seconds.items():
            middle = statistics.median(values)
            report.rows.append(
                Row(
                    name,
                    operation,
                    1e3 * middle,
                    "ms",
                    spread=1e3 * spread(values),
                    peer="dense",
                    ratio=middle / dense,
                )
            )


def _step(decoder: ShapeDecoder, latent: Tensor, target: Tensor) -> Callable[[], object]:
    optimizer = torch.optim.Adam(decoder.parameters(), 1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        loss = (decoder(latent) - target).square().mean()
        loss.backward()
        optimizer.step()
        assert math.isfinite(float(loss.detach()))

    return step


def _inference(decoder: ShapeDecoder, latent: Tensor) -> Callable[[], object]:
    def infer() -> Tensor:
        with torch.inference_mode():
            return decoder(latent)

    return infer
