"""RoIAlign against torchvision's, its gradients, and what it refuses."""

from __future__ import annotations

import warnings

import pytest
import torch

from diffrender._torchvision import ensure_torchvision
from diffrender.errors import InputError
from diffrender.predict import roi_align

BOXES = torch.tensor(
    [[3.0, 5.0, 40.0, 30.0], [10.5, 2.25, 20.0, 61.0], [-9.0, -4.0, 30.0, 20.0],
     [40.0, 30.0, 75.0, 70.0]]
)  # fmt: skip


@pytest.mark.parametrize(("scale", "samples"), [(0.25, 2), (0.5, 3), (0.125, 1)])
def test_as_torchvision(scale: float, samples: int) -> None:
    ensure_torchvision()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torchvision.ops.roi_align import _roi_align

    side = int(64 * scale)
    features = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    rois = torch.cat([torch.arange(4.0)[:, None], BOXES], dim=1)
    plain = _roi_align.__wrapped__  # the reference in plain torch, not compiled
    theirs = plain(features, rois, scale, 4, 5, samples, True)
    ours = roi_align(features, BOXES, (4, 5), scale, samples)
    torch.testing.assert_close(ours, theirs, atol=2e-5, rtol=1e-5)


def test_gradients() -> None:
    draw = torch.Generator().manual_seed(1)
    features = torch.randn(2, 2, 6, 7, generator=draw, dtype=torch.float64, requires_grad=True)
    boxes = torch.tensor([[1.13, 0.71, 5.37, 4.9], [0.6, 1.27, 6.2, 5.1]], dtype=torch.float64)
    boxes.requires_grad_()
    assert torch.autograd.gradcheck(lambda f, b: roi_align(f, b, (2, 3)), (features, boxes))


def test_a_plane_is_sampled_exactly() -> None:
    x = torch.arange(16.0) + 0.5
    features = (2 * x[None, :] + 3 * x[:, None])[None, None]
    box = torch.tensor([[4.0, 2.0, 12.0, 10.0]])
    cells = roi_align(features, box, (2, 2))[0, 0]
    expected = torch.tensor([[2 * 6 + 3 * 4.0, 2 * 10 + 3 * 4.0], [2 * 6 + 3 * 8.0, 2 * 10 + 24.0]])
    torch.testing.assert_close(cells, expected)


def test_refusals() -> None:
    with pytest.raises(InputError, match="boxes has shape"):
        roi_align(torch.zeros(2, 1, 4, 4), torch.zeros(3, 4), (2, 2))
    with pytest.raises(InputError, match="at least 1"):
        roi_align(torch.zeros(2, 1, 4, 4), torch.zeros(2, 4), (0, 2))
