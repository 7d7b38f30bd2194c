"""The silhouette term by techniques of the catalogue: the same outline, and a pose that follows."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from test_descents import BOXES, CAMERA, car, hypotheses, problem

from diffrender.errors import InputError
from diffrender.reconstruct import ReconstructSettings
from diffrender.reconstruct.adam import Adam
from diffrender.reconstruct.catalogue_silhouette import CatalogueSilhouette
from diffrender.reconstruct.descent import Objective
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.levenberg import LevenbergMarquardt
from diffrender.reconstruct.solver_choice import choose_descent
from diffrender.tools.reconstruct_settings import settings_for

FOLLOWS, FROZEN = "soft-rasterizer", "emission-absorption"


def drawn_by(name: str, start: Hypotheses) -> Objective:
    technique = CatalogueSilhouette.at(name, car(), start, CAMERA, BOXES)
    return dataclasses.replace(problem(), silhouette=technique)


def coverage(name: str, start: Hypotheses, now: Hypotheses) -> torch.Tensor:
    technique = CatalogueSilhouette.at(name, car(), start, CAMERA, BOXES)
    pose = now.pose(CAMERA, BOXES)
    rotation, location, size = pose
    vertices = car().place(now.latent, size, rotation, location)
    return technique.coverage(vertices, car().faces, pose, problem().windows[now.owner])


def iou(a: torch.Tensor, b: torch.Tensor) -> float:
    return (torch.minimum(a, b).sum() / torch.maximum(a, b).sum()).item()


def test_pixel_pairs_are_the_librarys_own_silhouette() -> None:
    start = hypotheses([0.9])
    found = coverage("pixel-pair-antialiasing", start, start)
    torch.testing.assert_close(found, problem().evidence.mask)


@pytest.mark.parametrize(("name", "least"), [(FOLLOWS, 0.9), (FROZEN, 0.75)])
def test_the_outline_is_nearly_the_same(name: str, least: float) -> None:
    start = hypotheses([0.9])
    assert iou(coverage(name, start, start), problem().evidence.mask) > least


def test_which_techniques_follow_the_vertices() -> None:
    start = hypotheses([0.0, 0.3])
    assert CatalogueSilhouette.at(FOLLOWS, car(), start, CAMERA, BOXES).prepared is None
    frozen = CatalogueSilhouette.at(FROZEN, car(), start, CAMERA, BOXES).prepared
    assert frozen is not None and len(frozen) == 2
    assert frozen[0] is frozen[1]  # one shape at two headings is prepared once


def test_a_frozen_shape_moves_with_its_hypothesis() -> None:
    """Prepared at one pose and drawn at another, against prepared there."""
    start, now = hypotheses([0.2], depth=9.0), hypotheses([0.9])
    there = coverage(FROZEN, now, now)
    assert iou(coverage(FROZEN, start, now), there) > 0.99
    assert iou(coverage(FROZEN, start, start), there) < 0.9


@pytest.mark.parametrize("name", [FOLLOWS, FROZEN])
def test_the_silhouette_pulls_at_the_pose(name: str) -> None:
    start = hypotheses([0.75])
    objective = drawn_by(name, start)
    leaf = objective.pack(start).requires_grad_()
    silhouette = objective.value(objective.unpack(leaf, start)).terms["silhouette"]
    (gradient,) = torch.autograd.grad(silhouette.sum(), leaf)
    pulled = {name for (name, _), g in zip(objective._variables(), gradient[0], strict=True) if g}
    assert {"offset", "angles", "log_apparent"} <= pulled
    assert ("latent" in pulled) == (name == FOLLOWS)


@pytest.mark.parametrize("name", [FOLLOWS, FROZEN])
def test_adam_turns_the_car_to_its_heading(name: str) -> None:
    start = hypotheses([0.9 - math.radians(12)])
    *_, last = Adam().run(drawn_by(name, start), start, 30)
    assert abs(last.hypotheses.angles[0, 0].item() - 0.9) < math.radians(4)


def test_first_order_descent_is_chosen() -> None:
    assert isinstance(choose_descent("auto", CAMERA), LevenbergMarquardt)
    assert isinstance(choose_descent("auto", CAMERA, FOLLOWS), Adam)
    with pytest.raises(InputError, match="use solver='adam' or 'lbfgs'"):
        choose_descent("lm", CAMERA, FOLLOWS)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"silhouette": "soft"}, "no technique named 'soft', did you mean"),
        ({"silhouette": "dvr"}, "claims no gradient to pose or vertices at silhouettes"),
        ({"silhouette": FOLLOWS, "solver": "lm"}, "solver 'lm' draws its own silhouette"),
    ],
)
def test_settings_that_do_not_fit(change: dict[str, Any], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        ReconstructSettings(**change)


def test_the_command_line_names_a_technique() -> None:
    assert settings_for("render", None, None, FOLLOWS).silhouette == FOLLOWS
    assert settings_for("render", None, None).silhouette is None
    with pytest.raises(InputError, match="boxes alone draw nothing"):
        settings_for("box", None, None, FOLLOWS)
