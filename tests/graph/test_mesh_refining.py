"""The graph network as a refiner of free vertices in the reconstruction."""

from __future__ import annotations

import pytest
import torch

from diffrender.errors import InputError
from diffrender.graph.meshes.views import SeenCars
from diffrender.reconstruct import RefineSettings, refine_vertices


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


def test_an_unknown_refiner_is_refused() -> None:
    with pytest.raises(InputError, match="refiner is 'magic', expected 'large-steps' or 'graph'"):
        RefineSettings(refiner="magic")
