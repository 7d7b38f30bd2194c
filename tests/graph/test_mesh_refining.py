"""The graph network as a refiner of free vertices in the reconstruction."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffrender.datasets import StreetSettings, SyntheticStreets
from diffrender.errors import InputError
from diffrender.graph.meshes.views import SeenCars
from diffrender.reconstruct import (
    ReconstructSettings,
    RefineSettings,
    StageSettings,
    reconstruct,
    refine_vertices,
)
from diffrender.shape_priors import load_prior


def test_refining_by_proposals_lowers_the_loss_and_never_raises_it() -> None:
    pair = SeenCars(cars=3).pairs(torch.Generator().manual_seed(4))
    settings = RefineSettings(iterations=5, refiner="graph")
    refined = refine_vertices(
        pair.start, pair.topology.faces, pair.windows, pair.evidence, settings
    )
    assert refined.history.shape == (6, 3)
    assert (refined.after <= refined.before).all()
    assert refined.after.mean() < 0.95 * refined.before.mean()
    moved = (refined.vertices - pair.start).norm(dim=2)
    assert 0 < float(moved.max()) < 1.5  # metres


@pytest.mark.parametrize("count", [1, 2])
def test_as_a_setting_of_the_reconstruction(count: int) -> None:
    near = StreetSettings(cars=(2, 3), distance=(6.0, 18.0), clutter=0.2)
    frame = SyntheticStreets(1, 1, (96, 320), near)[0]
    settings = ReconstructSettings(
        hypotheses=2, texture_size=16, stages=(StageSettings(4, (32, 32), 1),),
        refine=RefineSettings(iterations=2, refiner="graph"),
    )  # fmt: skip
    plain = dataclasses.replace(settings, refine=None)
    seen = frame.image, frame.camera, frame.instances()[:count], frame.depth, load_prior("car")
    refined, before = reconstruct(*seen, settings).objects, reconstruct(*seen, plain).objects
    assert len(refined) == len(before) == count
    for new, old in zip(refined, before, strict=True):
        assert new.pose == old.pose
        assert 0 < float((new.mesh.vertices - old.mesh.vertices).norm(dim=1).max()) < 1.0


def test_an_unknown_refiner_is_refused() -> None:
    with pytest.raises(InputError, match="refiner is 'magic', expected 'large-steps' or 'graph'"):
        RefineSettings(refiner="magic")
