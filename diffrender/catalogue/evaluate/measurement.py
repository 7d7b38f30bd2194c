"""Measuring a technique, part by part: its pictures, its claims, descents to a pose, its cost."""

from __future__ import annotations

import base64
import dataclasses
import io
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from diffrender.catalogue.evaluate.basin import BasinSettings, Trial, find_pose, starts
from diffrender.catalogue.evaluate.cost import Cell, CostSettings, measure_cost
from diffrender.catalogue.evaluate.gradients import ClaimResult, Score, Subject, check_claims
from diffrender.catalogue.evaluate.results import ClaimRow, Measured, MovePictures, load_measured
from diffrender.catalogue.registry import Technique, find_technique
from diffrender.catalogue.standard import car_scene, standard_camera, standard_scene

__all__ = ["Plan", "measure"]


@dataclass(frozen=True)
class Plan:
    """How much is measured.

    Attributes:
        size: (height, width) of the gradient pictures.
        shown: (height, width) of the picture on the technique's page.
        seconds_per_claim: patience where pixels must be asked one by one.
        basin_rounds: of all levels, that every technique makes however long they take.
        basin_seconds: after those, no further descent is started after so long. Every level comes
            once before any comes twice, so what was done by then is a fair part.
        cost_seconds: after so long the remaining cells are left out, the largest come last.
    """

    size: tuple[int, int] = (48, 64)
    shown: tuple[int, int] = (144, 192)
    seconds_per_claim: float = 20.0
    basin: BasinSettings = field(default_factory=BasinSettings)
    basin_rounds: int = 2
    basin_seconds: float = 45.0
    cost: CostSettings = field(default_factory=CostSettings)
    cost_seconds: float = 40.0


def measure(
    name: str,
    folder: Path,
    plan: Plan,
    machine: dict[str, Any],
    say: Callable[[str], None] = lambda _: None,
) -> Measured:
    """What is missing in folder/NAME.json is measured and written there, part by part.

    Raises:
        InputError: no such technique, or a file that is not ours.
    """
    technique = find_technique(name)
    path = folder / f"{name}.json"
    found = load_measured(path) if path.is_file() else Measured(name, machine)
    parts: tuple[tuple[str, Callable[[], dict[str, Any]]], ...] = (
        ("picture", lambda: _shown(technique, plan)),
        ("claims", lambda: {"claims": _claims(technique, plan)}),
        ("trials", lambda: {"trials": _trials(technique, plan)}),
        ("cells", lambda: {"cells": _cells(name, plan)}),
    )
    for part, compute in parts:
        if getattr(found, part) is None:
            began = time.perf_counter()
            found = dataclasses.replace(found, machine=machine, **compute())
            found.write(folder)
            say(f"{name}: {part}, {time.perf_counter() - began:.1f} s")
    return found


def _shown(technique: Technique, plan: Plan) -> dict[str, Any]:
    with torch.no_grad():
        drawn = technique.render(standard_scene(), standard_camera(plan.shown))
    far = drawn.depth.max().clamp(min=1e-6)
    near = drawn.depth[drawn.depth > 0].min() if (drawn.depth > 0).any() else far
    depth = torch.where(drawn.depth > 0, 1 - 0.8 * (drawn.depth - near) / (far - near + 1e-6), 0.0)
    return {
        "picture": _png(_srgb(drawn.image)),
        "silhouette": _png(drawn.silhouette[..., None].expand(-1, -1, 3)),
        "depth": _png(depth[..., None].expand(-1, -1, 3)),
    }


def _claims(technique: Technique, plan: Plan) -> tuple[ClaimRow, ...]:
    subject = Subject(technique, plan.size, plan.seconds_per_claim)
    return tuple(_row(result) for result in check_claims(subject))


def _row(result: ClaimResult) -> ClaimRow:
    moves = []
    for m in result.moves:
        length = m.gradient[..., :3].norm() / m.reference[..., :3].norm().clamp(min=1e-12)
        moves.append(
            MovePictures(
                m.move,
                m.reference_kind,
                _each(m.scores, "cosine"),
                _each(m.scores, "sign"),
                length.item(),
                *(_signed(p[..., :3]) for p in (m.gradient, m.reference)),
                *(_signed(p[..., 3:].expand(-1, -1, 3)) for p in (m.gradient, m.reference)),
            )
        )
    claim = result.claim
    return ClaimRow(
        claim.parameter,
        claim.where,
        claim.exactness,
        result.holds,
        result.cosine,
        result.sign,
        result.moves[0].stride,
        tuple(moves),
    )


def _each(scores: dict[str, Score], name: str) -> dict[str, float]:
    return {region: getattr(score, name) for region, score in scores.items()}


def _trials(technique: Technique, plan: Plan) -> tuple[Trial, ...]:
    if technique.card.claim("pose") is None:
        return ()
    prepared = technique.prepare(car_scene())
    began, found = time.perf_counter(), []
    for start in starts(plan.basin):
        late = time.perf_counter() - began > plan.basin_seconds
        if late and start.trial >= plan.basin_rounds:
            break
        found.append(find_pose(technique, start, plan.basin, prepared))
    return tuple(found)


def _cells(name: str, plan: Plan) -> tuple[Cell, ...]:
    return tuple(measure_cost(name, plan.cost, limit=plan.cost_seconds))


def _srgb(linear: Tensor) -> Tensor:
    c = linear.clamp(0, 1)
    return torch.where(c <= 0.0031308, 12.92 * c, 1.055 * c.clamp(min=1e-8) ** (1 / 2.4) - 0.055)


def _signed(picture: Tensor) -> str:  # (H, W, 3)
    """Grey is 0; white and black are the size that only one value in 200 exceeds."""
    flat = picture.abs().reshape(-1).double()
    scale = flat.quantile(0.995) if len(flat) < 2**24 else flat.max()
    scale = torch.where(scale > 0, scale, flat.max().clamp(min=1e-30))
    return _png(0.5 + 0.5 * picture / scale)


def _png(picture: Tensor) -> str:  # (H, W, 3) in [0, 1]
    from PIL import Image

    bytes_ = (picture.detach().double().nan_to_num(0.0).clamp(0, 1) * 255).round().byte().numpy()
    file = io.BytesIO()
    Image.fromarray(bytes_).save(file, format="PNG", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
