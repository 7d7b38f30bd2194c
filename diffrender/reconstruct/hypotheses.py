"""Hypotheses of pose, size and shape: the optimizer's variables and how a pose follows."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.reconstruct.box_fit import BoxFit
from diffrender.reconstruct.observations import Observation
from diffrender.rotations import euler_to_matrix

__all__ = ["Hypotheses", "start_hypotheses"]


@dataclass(frozen=True)
class Hypotheses:
    """N hypotheses about B objects.

    The place is held as the pixel of the box's centre and the log of its depth, the size as the
    log of its ratio to that depth: the outline then says little about the depth variable and
    the depth map little about the others, which is what lets a first-order method converge.

    Attributes:
        owner: (N,) int64, which object each hypothesis is about.
        offset: (N, 2) centre of the 3D box in the image, from the centre of the mask's box, in
            shares of that box.
        log_depth: (N,) log z of the centre in the camera frame.
        angles: (N, 3) yaw, pitch, roll, radians.
        log_apparent: (N, 3) log of length, width, height over the centre's depth.
        latent: (N, D) shape code.
    """

    owner: Tensor
    offset: Tensor
    log_depth: Tensor
    angles: Tensor
    log_apparent: Tensor
    latent: Tensor

    def __len__(self) -> int:
        return len(self.owner)

    def __getitem__(self, index: Tensor) -> Hypotheses:
        picked = {f.name: getattr(self, f.name)[index] for f in dataclasses.fields(self)}
        return Hypotheses(**picked)

    @staticmethod
    def join(first: Hypotheses, second: Hypotheses) -> Hypotheses:
        names = [f.name for f in dataclasses.fields(Hypotheses)]
        return Hypotheses(*(torch.cat([getattr(first, n), getattr(second, n)]) for n in names))

    def to(self, device: str) -> Hypotheses:
        """The hypotheses on another device."""
        return Hypotheses(*(getattr(self, f.name).to(device) for f in dataclasses.fields(self)))

    def turned(self, angle: Tensor) -> Hypotheses:  # (N,)
        """The same hypotheses with `angle` (radians) added to the yaw."""
        angles = self.angles.clone()
        angles[:, 0] += angle.to(angles)
        return dataclasses.replace(self, angles=angles)

    def pose(
        self,
        camera: Camera,
        boxes: Tensor,  # (B, 4)
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Rotation (N, 3, 3), bottom-face centre (N, 3) and size (N, 3), frame of the labels.

        Differentiable to every variable. `boxes` are the masks' boxes in pixels of the image, or
        of the objects' windows where `camera` is a batch (B,) of those.
        """
        box = boxes[self.owner]
        extent = box[:, 2:] - box[:, :2]
        pixel = (box[:, 2:] + box[:, :2]) / 2 + self.offset * extent
        if camera.batch_shape:
            own = camera[self.owner]
            centre = own.unproject(pixel[:, None], torch.exp(self.log_depth)[:, None])[:, 0]
        else:
            centre = camera.unproject(pixel, torch.exp(self.log_depth))
        size = torch.exp(self.log_apparent + self.log_depth[:, None])
        rotation = euler_to_matrix(*self.angles.unbind(-1))
        down = torch.zeros_like(centre)
        down = torch.stack([down[:, 0], size[:, 2] / 2, down[:, 2]], dim=-1)
        return rotation, centre + (rotation @ down[..., None])[..., 0], size


def start_hypotheses(
    observations: list[Observation],
    fits: list[BoxFit],
    camera: Camera,
    count: int,
    mean_size: Tensor,  # (B, 3)
    latent_size: int,
) -> Hypotheses:
    """`count` evenly spaced yaws per object, each placed by the box fit of the nearest yaw.

    The fit knows no front, so a yaw and its half turn share a place. The first yaw of an object
    is the fit's best one.
    """
    owners, offsets, depths, yaws = [], [], [], []
    for index, (observation, fit) in enumerate(zip(observations, fits, strict=True)):
        lift = torch.tensor([0.0, float(mean_size[index, 2]) / 2, 0.0]).double()
        left, top, right, bottom = observation.mask_box
        for k in range(count):
            yaw = float(fit.yaw[fit.best]) + 2 * math.pi * k / count
            gap = abs((yaw - fit.yaw + math.pi / 2) % math.pi - math.pi / 2)
            centre = torch.tensor(fit.location[int(gap.argmin())]) - lift
            # The mask, not the flat road, says how high the object stands in the image.
            pixel, z = camera.to(torch.float64).project(centre[None])
            row = (
                0.0
                if observation.open_sides[[1, 3]].all()
                else ((float(pixel[0, 1]) - (top + bottom) / 2) / (bottom - top))
            )
            owners.append(index)
            offsets.append([(float(pixel[0, 0]) - (left + right) / 2) / (right - left), row])
            depths.append(math.log(float(z[0])))
            yaws.append(yaw)
    total = len(owners)
    angles = torch.zeros(total, 3)
    angles[:, 0] = torch.tensor(yaws, dtype=torch.float32)
    log_depth = torch.tensor(depths, dtype=torch.float32)
    log_size = torch.log(mean_size).float().repeat_interleave(count, dim=0)
    return Hypotheses(
        owner=torch.tensor(owners),
        offset=torch.tensor(offsets, dtype=torch.float32).clamp(-2.0, 2.0),
        log_depth=log_depth,
        angles=angles,
        log_apparent=log_size - log_depth[:, None],
        latent=torch.zeros(total, latent_size),
    )
