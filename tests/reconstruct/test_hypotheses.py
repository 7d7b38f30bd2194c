"""The optimizer's variables: the pose that follows, its gradients, the choice among them."""

from __future__ import annotations

import math

import pytest
import torch

from diffrender.cameras import Camera
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.optimizer import _Line, _select, _stop_reasons, _with_moves
from diffrender.reconstruct.settings import StageSettings

CAMERA = Camera.from_intrinsics(
    torch.tensor([[700.0, 0, 600], [0, 700, 180], [0, 0, 1]], dtype=torch.float64),
    (360, 1200),
    pixel_centres="half",
)
BOXES = torch.tensor([[500.0, 150.0, 700.0, 250.0]], dtype=torch.float64)


def hypotheses(yaws: list[float], owners: list[int] | None = None) -> Hypotheses:
    count = len(yaws)
    angles = torch.zeros(count, 3, dtype=torch.float64)
    angles[:, 0] = torch.tensor(yaws)
    return Hypotheses(
        owner=torch.tensor(owners or [0] * count),
        offset=torch.zeros(count, 2, dtype=torch.float64),
        log_depth=torch.full((count,), math.log(14.0), dtype=torch.float64),
        angles=angles,
        log_apparent=torch.log(torch.tensor([[3.9, 1.6, 1.5]]).double() / 14.0).repeat(count, 1),
        latent=torch.zeros(count, 8, dtype=torch.float64),
    )


def test_the_box_centre_lies_on_the_ray_through_its_pixel() -> None:
    rotation, bottom, size = hypotheses([0.7]).pose(CAMERA, BOXES)
    assert torch.allclose(size[0], torch.tensor([3.9, 1.6, 1.5]).double())
    centre = bottom[0] + rotation[0] @ torch.tensor([0.0, -0.75, 0.0]).double()
    pixel, depth = CAMERA.project(centre[None])
    assert torch.allclose(pixel[0], torch.tensor([600.0, 200.0]).double())
    assert float(depth[0]) == pytest.approx(14.0)


def test_farther_away_means_larger_with_the_same_outline() -> None:
    import dataclasses

    near = hypotheses([0.7])
    far = dataclasses.replace(near, log_depth=near.log_depth + math.log(1.1))
    _, near_bottom, near_size = near.pose(CAMERA, BOXES)
    _, far_bottom, far_size = far.pose(CAMERA, BOXES)
    assert torch.allclose(far_size, 1.1 * near_size)
    assert torch.allclose(far_bottom, 1.1 * near_bottom)  # so every pixel stays where it was


def test_pose_has_gradients_to_every_variable() -> None:
    start = hypotheses([0.3])
    names = ["offset", "log_depth", "angles", "log_apparent"]
    leaves = [getattr(start, n).clone().requires_grad_() for n in names]

    def pose(*values: torch.Tensor) -> tuple[torch.Tensor, ...]:
        made = Hypotheses(start.owner, values[0], values[1], values[2], values[3], start.latent)
        return made.pose(CAMERA, BOXES)

    assert torch.autograd.gradcheck(pose, leaves)


def line(yaws: list[float], totals: list[float], owners: list[int] | None = None) -> _Line:
    made = hypotheses(yaws, owners)
    total = torch.tensor(totals).double()
    history = [[{"total": t}] for t in totals]
    return _Line(made, history, total, {"silhouette": total}, ["iteration limit"] * len(yaws))


def test_selection_keeps_the_best_distinct_yaws_of_every_object() -> None:
    mixed = line([0.0, 0.05, 2.0, 1.0, -1.0], [1.0, 1.1, 3.0, 5.0, 4.0], [0, 0, 0, 1, 1])
    kept = _select(mixed, count=2, keep=2)
    assert kept.hypotheses.owner.tolist() == [0, 0, 1, 1]
    assert kept.hypotheses.angles[:, 0].tolist() == [0.0, 2.0, -1.0, 1.0]  # 0.05 equals 0.0
    assert kept.history[0] == [{"total": 1.0}]


def turned(turns: tuple[float, ...]) -> StageSettings:
    return StageSettings(iterations=1, size=(32, 32), keep=1, turns=turns)


def test_turns_are_added_where_no_hypothesis_stands_yet() -> None:
    alone = _with_moves(line([0.3], [1.0]), turned((180, 15, 5)))
    yaws = alone.hypotheses.angles[:, 0].tolist()
    assert yaws == pytest.approx([0.3, 0.3 + math.pi, 0.3 + math.radians(15)])  # 5 is too near
    both = _with_moves(line([0.3, 0.3 + math.pi], [1.0, 2.0]), turned((180,)))
    assert len(both.hypotheses) == 2
    others = _with_moves(line([0.3, 0.3 + math.pi], [1.0, 2.0], [0, 1]), turned((180,)))
    assert others.hypotheses.owner.tolist() == [0, 1, 0, 1]  # another object's yaw is no rival


def test_stop_reasons_tell_convergence_from_a_limit_and_from_divergence() -> None:
    falling = [torch.tensor([10.0 - i, 1.0, math.inf]) for i in range(12)]
    limit, converged, diverged = _stop_reasons(falling, tolerance=1e-3)
    assert limit == "iteration limit"
    assert converged == "converged: the loss fell by less than 0.001 in 10 iterations"
    assert diverged.startswith("diverged")


def test_a_short_stage_is_judged_by_the_iterations_that_it_had() -> None:
    still = [torch.tensor([1.0, 4.0 - i, math.inf]) for i in range(4)]
    converged, limit, _ = _stop_reasons(still, tolerance=1e-3)
    assert converged == "converged: the loss fell by less than 0.001 in 3 iterations"
    assert limit == "iteration limit"
    assert _stop_reasons(still[:2], tolerance=1e-3)[0].endswith("in 1 iteration")
    limit, _, diverged = _stop_reasons(still[:1], tolerance=1e-3)  # nothing to compare with
    assert limit == "iteration limit"
    assert diverged.startswith("diverged")
