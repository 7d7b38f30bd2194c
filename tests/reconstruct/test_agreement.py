"""What the objects of an image agree on: the slope of the road they stand on."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from diffrender.reconstruct.agreement import agree_on_road
from diffrender.road import Road

FLAT = Road(near=0.06, bend=0.004, doubt=0.0145)


def feet_on(road: Road, places: list[tuple[float, float]]) -> torch.Tensor:
    x, z = torch.tensor(places, dtype=torch.float64).unbind(dim=1)
    y = road.height + road.slope * z + road.bank * x
    return torch.stack([x, y, z], dim=1)


PLACES = [(-3.0, 12.0), (1.0, 20.0), (4.0, 28.0), (-6.0, 35.0), (2.0, 44.0)]


def test_objects_that_agree_move_the_road_and_take_its_doubt() -> None:
    feet = feet_on(dataclasses.replace(FLAT, slope=0.02), PLACES)
    agreed = agree_on_road(FLAT, FLAT, feet, torch.full((5,), 0.05))
    assert agreed.slope == pytest.approx(0.02, abs=0.0015)
    assert agreed.doubt < 0.3 * FLAT.doubt
    assert (agreed.height, agreed.bank) == (FLAT.height, FLAT.bank)


def test_it_is_the_profile_of_the_joint_loss() -> None:
    """Against the joint least squares over slope and feet, solved in one go; no outliers."""
    truth = torch.tensor([0.3, 0.1, 0.25, 0.2, 0.4], dtype=torch.float64)
    feet = feet_on(FLAT, PLACES)
    own = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.2], dtype=torch.float64)
    alone = feet[:, 1] + truth  # where each would stand without a road
    drawn = FLAT.sigma(feet) ** 2
    fitted = (alone * drawn + FLAT.y(feet) * own**2) / (drawn + own**2)
    z, near = feet[:, 2], torch.sqrt(FLAT.near**2 + (FLAT.bend * feet[:, 2]) ** 2)
    # Unknowns (slope, y_1 .. y_5): own terms, contact terms with the common slope, its prior.
    rows = torch.zeros(11, 6, dtype=torch.float64)
    right = torch.zeros(11, dtype=torch.float64)
    for k in range(5):
        rows[k, 1 + k], right[k] = 1 / own[k], alone[k] / own[k]
        rows[5 + k, 1 + k], rows[5 + k, 0] = 1 / near[k], -z[k] / near[k]
        right[5 + k] = FLAT.height / near[k]
    rows[10, 0] = 1 / FLAT.doubt
    best = torch.linalg.lstsq(rows, right[:, None]).solution[:, 0]
    measured = torch.cat([feet[:, :1], fitted[:, None], feet[:, 2:]], dim=1)
    agreed = agree_on_road(FLAT, FLAT, measured, own)
    assert agreed.slope == pytest.approx(float(best[0]), abs=1e-9)
    variance = torch.linalg.inv(rows.T @ rows)[0, 0]
    assert agreed.doubt == pytest.approx(float(variance) ** 0.5, rel=1e-9)


def test_one_of_five_that_is_far_off_counts_little() -> None:
    feet = feet_on(dataclasses.replace(FLAT, slope=0.01), PLACES)
    feet[2, 1] -= 2.0
    agreed = agree_on_road(FLAT, FLAT, feet, torch.full((5,), 0.05))
    assert agreed.slope == pytest.approx(0.01, abs=0.003)


def test_objects_that_know_nothing_leave_the_road_alone() -> None:
    feet = feet_on(dataclasses.replace(FLAT, slope=0.05), PLACES)
    agreed = agree_on_road(FLAT, FLAT, feet, torch.full((5,), 1e4))
    # They were drawn to the road wholly, so what they would say alone is not known.
    assert agreed.doubt == pytest.approx(FLAT.doubt, rel=1e-3)


def test_objects_that_agree_again_count_once() -> None:
    """Fitted anew on the road that they agreed on, they say the same, with the same doubt."""
    own = torch.tensor([0.1, 0.2, 0.1, 0.3, 0.2], dtype=torch.float64)
    alone = feet_on(dataclasses.replace(FLAT, slope=0.012), PLACES)

    def fitted_on(road: Road) -> torch.Tensor:
        drawn = road.sigma(alone) ** 2
        y = (alone[:, 1] * drawn + road.y(alone) * own**2) / (drawn + own**2)
        return torch.stack([alone[:, 0], y, alone[:, 2]], dim=1)

    once = agree_on_road(FLAT, FLAT, fitted_on(FLAT), own)
    twice = agree_on_road(FLAT, once, fitted_on(once), own)
    assert twice.slope == pytest.approx(once.slope, abs=1e-9)
    assert twice.doubt == pytest.approx(once.doubt, rel=1e-9)
    # Taken as known beforehand, it is believed more each time.
    assert agree_on_road(once, once, fitted_on(once), own).doubt < 0.8 * once.doubt
