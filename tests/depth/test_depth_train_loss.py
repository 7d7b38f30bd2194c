"""What a depth network is trained to reduce."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from depth_planes import TINY

from diffrender.depth.train import TrainSettings
from diffrender.depth.train_data import Batch
from diffrender.depth.train_loss import LossWeights, depth_loss, object_errors
from diffrender.depth.train_run import Run
from diffrender.errors import InputError


def test_loss_by_hand() -> None:
    truth = torch.tensor([[4.0, 8.0], [0.0, torch.inf]]).view(1, 1, 2, 2)
    none = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    exact = torch.tensor([[4.0, 8.0], [3.0, 90.0]]).view(1, 1, 2, 2)
    zero = depth_loss(exact, truth, none, far=100)
    assert float(zero["total"]) == pytest.approx(1e-3)  # the root's guard
    twice = depth_loss(2 * exact, truth, none, far=100)
    two = float(np.log(2))
    assert float(twice["log"]) == pytest.approx(two)
    assert float(twice["scale_invariant"]) == pytest.approx(two * np.sqrt(0.5))
    assert float(twice["gradient"]) == 0
    near_sky = depth_loss(torch.full_like(exact, 7.0), truth, none, far=100)
    assert float(near_sky["sky"]) == pytest.approx(np.log(10) / 4)


def test_loss_gradient() -> None:
    draw = torch.Generator().manual_seed(0)
    truth = 5 + 20 * torch.rand(1, 1, 4, 4, generator=draw, dtype=torch.float64)
    truth[0, 0, 1, 0], truth[0, 0, 2, 3] = 0, torch.inf
    predicted = 5 + 20 * torch.rand(1, 1, 4, 4, generator=draw, dtype=torch.float64)
    predicted.requires_grad_()
    owner = torch.tensor([[1, 1, 1, 2], [0, 1, 1, 2], [1, 1, 1, 0], [1, 1, 1, 1]]).view(1, 1, 4, 4)

    def loss(p: torch.Tensor) -> torch.Tensor:
        terms = depth_loss(p, truth, owner, 60.0)
        assert float(terms["object"].detach()) > 0
        return terms["total"]

    assert torch.autograd.gradcheck(loss, predicted)
    loss(predicted).backward()
    assert predicted.grad is not None
    assert float(predicted.grad[0, 0, 1, 0]) == 0


def test_every_vehicle_counts_alike() -> None:
    owner = torch.zeros(2, 1, 8, 8, dtype=torch.uint8)
    owner[0, 0, :2], owner[0, 0, 4:] = 3, 4  # 16 and 32 pixels
    owner[1, 0, :2] = 3  # another picture's
    owner[1, 0, 2, :3] = 5  # too few
    owner[1, 0, 4:6] = 255
    known = torch.ones(2, 1, 8, 8, dtype=torch.bool)
    known[0, 0, 0, :4] = False
    d = torch.full((2, 1, 8, 8), 9.0)
    d[0, 0, :2], d[0, 0, 4:], d[1, 0, :2] = 0.1, -0.4, 0.7
    d[0, 0, 0, :4] = torch.inf  # not known
    torch.testing.assert_close(object_errors(d, known, owner), torch.tensor([0.1, -0.4, 0.7]))
    truth = torch.full((2, 1, 8, 8), 10.0)
    truth[0, 0, 0, :4] = 0
    terms = depth_loss(truth.clamp_min(1) * d.nan_to_num(posinf=0).exp(), truth, owner, far=100)
    assert float(terms["object"]) == pytest.approx((0.1 + 0.4 + 0.7) / 3, rel=1e-5)


def test_weights_of_the_terms() -> None:
    truth = torch.full((1, 1, 8, 8), 10.0)
    owner = torch.ones_like(truth, dtype=torch.uint8)
    plain, more = (depth_loss(1.1 * truth, truth, owner, 60, LossWeights(object=k)) for k in (1, 3))
    assert float(more["total"] - plain["total"]) == pytest.approx(2 * np.log(1.1), rel=1e-4)
    with pytest.raises(InputError, match="expected weights of at least 0"):
        LossWeights(object=-1.0)
    for share in ({"small": 1.5}, {"small": -0.1}, {"average": 1.0}):
        with pytest.raises(InputError, match=r"average in \[0, 1\) and small in \[0, 1\]"):
            TrainSettings(**share)
    image = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    depth, known = torch.full((2, 1, 32, 48), 10.0), torch.ones(2, 1, 32, 48, dtype=torch.uint8)
    batch = Batch(image, depth, torch.ones(2), known, torch.ones(2))
    totals = []
    for weight in (0.0, 2.0):
        torch.manual_seed(0)
        run = Run(TINY, TrainSettings(weights=LossWeights(object=weight)))
        run.learn(batch)
        totals.append((run.recent[0]["total"], run.recent[0]["object"]))
    assert totals[0][1] > 0
    assert totals[1][0] - totals[0][0] == pytest.approx(2 * totals[0][1], rel=1e-3)
