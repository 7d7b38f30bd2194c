"""From the network's numbers to hypotheses of pose, size and shape."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.predict.config import PredictorConfig
from diffrender.predict.inputs import NetworkInputs
from diffrender.predict.network import output_sizes
from diffrender.predict.samples import Samples
from diffrender.reconstruct.hypotheses import Hypotheses

__all__ = ["Prediction", "decode"]

_REACH = 1.2  # of half a bin, how far a hypothesis may turn: neighbours overlap a little
_BEHIND = 0.75  # of the width, a first guess of how far the centre lies behind the surface


@dataclass(frozen=True)
class Prediction:
    """What is predicted of B objects.

    Attributes:
        hypotheses: B x K of them, those of an object side by side, in order of their yaw bins.
        belief: (B, K) logits of which hypothesis draws the object best.
        colours: (B, P, 3) sRGB of the parts, in (0, 1): the texture's latents.
        trust: (B,) logit of how well the believed hypothesis will agree with the mask.
    """

    hypotheses: Hypotheses
    belief: Tensor
    colours: Tensor
    trust: Tensor

    def best(self, count: int) -> Hypotheses:
        """The `count` most believed hypotheses of every object, best first."""
        bins = self.belief.shape[1]
        top = self.belief.topk(min(count, bins), dim=1).indices
        first = torch.arange(len(top), device=top.device)[:, None] * bins
        return self.hypotheses[(first + top).flatten()]


def decode(
    raw: Tensor,  # (B, outputs)
    inputs: NetworkInputs,
    samples: Samples,
    config: PredictorConfig,
) -> Prediction:
    """Give the network's numbers their meaning. Differentiable to them.

    An offset is in shares of the box. Depth is the reference plus shares of the class's width (an
    object's centre lies behind what is seen of it) times a factor near one (a depth map errs in
    proportion). A size is the class's mean times exp of standard deviations. A yaw is the middle of
    its bin plus a residual, both relative to the viewing ray: what a car looks like depends on
    that angle and not on the yaw itself.
    Source: the angle is KITTI's alpha; bins with residuals are Mousavian et al., CVPR 2017.
    """
    sizes = output_sizes(config)
    part = dict(zip(sizes, raw.split(list(sizes.values()), dim=1), strict=True))
    objects, bins = len(raw), config.hypotheses
    own = part["own"].unflatten(1, (bins, -1))
    pose = (part["common"][:, None] + own).flatten(0, 1)  # (B K, 7 + D)
    offset, depth, size, latent = pose.split([2, 2, 3, config.latent_size], dim=1)
    owner = torch.arange(objects, device=raw.device).repeat_interleave(bins)
    e = samples.evidence
    mean, sigma = e.size_mean[owner], e.size_sigma[owner]

    reference = inputs.reference[owner]
    behind = mean[:, 1] * (_BEHIND + depth[:, 0])
    z = torch.maximum(reference + behind, 0.3 * reference)
    log_depth = torch.log(z) + 0.1 * depth[:, 1]
    log_size = torch.log(mean) + sigma / mean * size

    width = 2 * math.pi / bins
    middle = width * torch.arange(bins, device=raw.device, dtype=raw.dtype)
    alpha = (middle + _REACH * width / 2 * torch.tanh(part["turn"])).flatten()
    box = e.box[owner]
    shift = 0.3 * offset
    pixel = (box[:, :2] + box[:, 2:]) / 2 + shift * (box[:, 2:] - box[:, :2])
    camera = samples.windows[owner]
    centre = camera.unproject(pixel[:, None], torch.exp(log_depth)[:, None])[:, 0]
    yaw = alpha + torch.atan2(centre[:, 0], centre[:, 2])
    zero = torch.zeros_like(yaw)
    hypotheses = Hypotheses(
        owner=owner,
        offset=shift,
        log_depth=log_depth,
        angles=torch.stack([yaw, zero, zero], dim=-1),
        log_apparent=log_size - log_depth[:, None],
        latent=0.5 * latent,
    )
    colours = torch.sigmoid(part["colours"]).unflatten(1, (config.parts, 3))
    return Prediction(hypotheses, part["belief"], colours, part["trust"][:, 0])
