"""What the network sees of an object: planes of its window, and numbers about camera and box."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.predict.samples import Samples

__all__ = ["NetworkInputs", "PLANES", "SCALARS", "network_inputs"]

PLANES, SCALARS = 7, 16
_MEAN, _STD = (0.45, 0.45, 0.45), (0.25, 0.25, 0.25)
_USUAL = (3.88, 1.63, 1.53)  # metres, the size that other classes' means are compared with


@dataclass(frozen=True)
class NetworkInputs:
    """Attributes:
    planes: (B, 7, S, S) red, green, blue, mask, care, log depth over `reference`, depth known.
    boxes: (B, 4) the masks' boxes in pixels of the windows.
    scalars: (B, 16) see `network_inputs`.
    reference: (B,) metres, median depth in the mask, or where nothing is known the depth at
        which an object of the class's mean height is as high as the box.
    """

    planes: Tensor
    boxes: Tensor
    scalars: Tensor
    reference: Tensor


@torch.no_grad()
def network_inputs(samples: Samples) -> NetworkInputs:
    """Planes and numbers of every object, from the evidence alone.

    The numbers: log reference depth; log ratio of it to the depth by height and to the depth at
    which the box's bottom meets a flat road; whether depth is known; the box's centre as a viewing
    ray (2); log aspect; log angular height; open sides (4); log class mean over a usual car's (3);
    log angular width. Through a lens the box is measured as a pinhole would show it. Nothing is
    differentiated.
    """
    e, k = samples.evidence, samples.windows.intrinsics
    left, top, right, bottom = _without_lens(e.box, samples.windows).unbind(-1)
    fx, fy, cx, cy = k[:, 0, 0], k[:, 1, 1], k[:, 0, 2], k[:, 1, 2]
    wide, high = (right - left) / fx, (bottom - top) / fy  # tangents of angles
    ray_x, ray_y = ((left + right) / 2 - cx) / fx, ((top + bottom) / 2 - cy) / fy
    by_height = e.size_mean[:, 2] / high
    below = (bottom - cy) / fy
    by_road = torch.where(
        below > 0.01, samples.camera_height / below.clamp(min=0.01), torch.full_like(below, 150.0)
    ).clamp(max=150.0)
    known = e.depth > 0
    values = torch.where(known, e.depth, torch.full_like(e.depth, float("nan")))
    middle = values.flatten(1).nanmedian(dim=1).values
    measured = known.flatten(1).any(1)
    reference = torch.where(measured, middle, by_height)

    relative = torch.log(torch.where(known, e.depth, torch.ones_like(e.depth)))
    relative = (relative - torch.log(reference)[:, None, None]) * 5
    relative = torch.where(known, relative.clamp(-2, 2), torch.zeros_like(relative))
    colour = (e.image - e.image.new_tensor(_MEAN)) / e.image.new_tensor(_STD)
    colour = colour.permute(0, 3, 1, 2)
    planes = torch.cat(
        [colour, torch.stack([e.mask, e.care, relative, known.to(e.mask)], dim=1)], dim=1
    )
    scalars = [
        torch.log(reference / 20),
        3 * torch.log(reference / by_height).clamp(-1, 1),
        3 * torch.log(reference / by_road).clamp(-1, 1),
        measured.to(reference),
        2 * ray_x,
        8 * ray_y,
        torch.log(wide / high),
        torch.log(high / 0.08),
        *e.open_sides.to(reference).unbind(-1),
        *(5 * torch.log(e.size_mean / e.size_mean.new_tensor(_USUAL))).unbind(-1),
        torch.log(wide / 0.12),
    ]
    return NetworkInputs(planes, e.box, torch.stack(scalars, dim=-1), reference)


def _without_lens(box: Tensor, windows: Camera) -> Tensor:  # (B, 4)
    """The box with the middles of its sides where they would be without the lens. (B, 4) pixels."""
    if windows.distortion is None:
        return box
    left, top, right, bottom = box.unbind(-1)
    x, y = (left + right) / 2, (top + bottom) / 2
    middles = torch.stack([left, y, x, top, right, y, x, bottom], dim=-1).unflatten(-1, (4, 2))
    ahead = windows.unproject(middles, torch.ones_like(box))
    seen, _ = dataclasses.replace(windows, distortion=None).project(ahead)
    return torch.stack([seen[:, 0, 0], seen[:, 1, 1], seen[:, 2, 0], seen[:, 3, 1]], dim=-1)
