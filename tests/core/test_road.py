"""The road: a plane in the frame of the labels, and how far it is believed."""

from __future__ import annotations

import pytest
import torch

from diffrender.errors import InputError
from diffrender.road import Road


def test_y_points_down_so_a_road_that_rises_has_a_negative_slope() -> None:
    uphill = Road(height=1.5, slope=-0.02, bank=0.01)
    places = torch.tensor([[0.0, 0.0, 0.0], [0.0, 9.0, 50.0], [2.0, 0.0, 10.0]])
    torch.testing.assert_close(uphill.y(places), torch.tensor([1.5, 0.5, 1.32]))


def test_bends_and_doubt_grow_with_distance_and_add_in_squares() -> None:
    road = Road(near=0.3, bend=0.03, doubt=0.04)
    places = torch.tensor([[5.0, 1.0, 0.0], [0.0, 1.0, 8.0]])
    torch.testing.assert_close(road.sigma(places), torch.tensor([0.3, 0.5]))


@pytest.mark.parametrize(
    "road",
    [
        {"height": 0.0},
        {"near": -0.1},
        {"near": 0.0, "bend": 0.0, "doubt": 0.0},
        {"height": float("nan")},
    ],
)
def test_a_road_that_cannot_be_is_refused(road: dict[str, float]) -> None:
    with pytest.raises(InputError, match="expected a camera above the road"):
        Road(**road)
