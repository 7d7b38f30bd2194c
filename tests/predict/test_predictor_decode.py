"""From numbers to hypotheses: conventions, gradients, order."""

from __future__ import annotations

import dataclasses
import math

import torch
from predict_cases import STREETS, TINY, some

from diffrender.predict import Prediction, Samples, decode, network_inputs
from diffrender.predict.network import output_sizes
from diffrender.reconstruct.observations import observe
from diffrender.rotations import wrap_angle, yaw_to_alpha

OUTPUTS = sum(output_sizes(TINY).values())


def nothing(samples: Samples | None = None) -> Prediction:
    samples = samples or some()
    return decode(torch.zeros(len(samples), OUTPUTS), network_inputs(samples), samples, TINY)


def test_convention_zeros_are_the_middles_of_the_bins_seen_from_the_camera() -> None:
    found = nothing().hypotheses
    rotation, location, size = found.pose(some().windows, some().evidence.box)
    centre = location - size[:, 2:] / 2 * rotation[:, :, 1]
    alpha = yaw_to_alpha(found.angles[:, 0], centre)
    expected = wrap_angle(torch.arange(4) * math.pi / 2).repeat(4)
    torch.testing.assert_close(wrap_angle(alpha - expected), torch.zeros(16), atol=1e-5, rtol=0)
    torch.testing.assert_close(size, some().evidence.size_mean.repeat_interleave(4, 0))
    behind = centre[:, 2] - network_inputs(some()).reference.repeat_interleave(4)
    torch.testing.assert_close(behind, 0.75 * size[:, 1], atol=0.01, rtol=0)


def test_convention_windows_give_the_poses_of_the_whole_image() -> None:
    """Offsets in shares of the box mean the same pixel in a window and in the image."""
    frame = STREETS[0]
    observed = observe(frame.instances, frame.instances, frame.camera, frame.depth)[0]
    from predict_cases import shards

    samples = shards()[0]
    found = nothing(samples).hypotheses
    boxes = torch.tensor([o.mask_box.tolist() for o in observed])
    whole = found.pose(frame.camera.to(torch.float32), boxes)
    window = found.pose(samples.windows, samples.evidence.box)
    for one, other in zip(whole, window, strict=True):
        torch.testing.assert_close(one, other, atol=1e-3, rtol=1e-4)


def test_gradients() -> None:
    two = some()[torch.arange(2)]
    kind = {f.name: getattr(two.evidence, f.name) for f in dataclasses.fields(two.evidence)}
    exact = {n: v.double() if v.is_floating_point() else v for n, v in kind.items()}
    samples = Samples(
        dataclasses.replace(two.evidence, **exact),
        two.windows.to(torch.float64),
        two.camera_height.double(),
    )
    inputs = network_inputs(samples)
    raw = torch.randn(2, OUTPUTS, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    raw.requires_grad_()

    def outputs(raw: torch.Tensor) -> tuple[torch.Tensor, ...]:
        got = decode(raw, inputs, samples, TINY)
        h = got.hypotheses
        return (h.offset, h.log_depth, h.angles, h.log_apparent, h.latent, got.belief,
                got.colours, got.trust)  # fmt: skip

    assert torch.autograd.gradcheck(outputs, (raw,))


def test_the_most_believed_come_first() -> None:
    found = nothing()
    belief = torch.tensor([[0.0, 3.0, 1.0, 2.0]]).expand(4, 4)
    found = dataclasses.replace(found, belief=belief)
    best = found.best(2)
    assert best.owner.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
    order = torch.tensor([[1, 3]]) + 4 * torch.arange(4)[:, None]
    assert torch.equal(best.angles, found.hypotheses.angles[order.flatten()])
    assert len(found.best(9)) == 16
