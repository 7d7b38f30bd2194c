"""Evidence in windows: each object's surroundings resampled to one small size with its camera."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, grid_sample, max_pool2d

from diffrender.cameras import Camera
from diffrender.losses import Depth, Evidence
from diffrender.reconstruct.observations import DepthNoise, Observation, inner_mask
from diffrender.reconstruct.windows import Window

__all__ = ["Crops", "crop_evidence"]

_MARGIN = 0.3  # of the box on each side: a hypothesis may stick out
_SUPERSAMPLES = 4


@dataclass(frozen=True)
class Crops:
    """Evidence of B objects, and the camera of their windows (batch shape (B,)).

    `window` (B, 4) is left, top, right, bottom in pixels of the image.
    """

    evidence: Evidence
    camera: Camera
    window: Tensor

    def to(self, device: str) -> Crops:
        """The crops on another device."""
        names = [f.name for f in dataclasses.fields(Evidence)]
        moved = Evidence(**{n: getattr(self.evidence, n).to(device) for n in names})
        return Crops(moved, self.camera.to(device), self.window.to(device))


def crop_evidence(
    observations: list[Observation],
    image: np.ndarray,  # (H, W, 3)
    depth: np.ndarray | None,  # (H, W)
    camera: Camera,
    noise: DepthNoise,
    size: tuple[int, int],
    classes: tuple[Tensor, Tensor],  # (B, 3), (B, 3)
) -> Crops:
    """Cut and resample all that is known about each object to `size` (height, width).

    The masks of what may hide an object and everything outside the image are "don't care". Masks
    and colours
    are area averages; a depth cell is the mean of the trusted depths that fall in it, so a sparse
    lidar map loses no point. `classes` are mean and sigma of every object's class size, metres.
    """
    boxes = torch.tensor(np.stack([o.mask_box for o in observations]), dtype=torch.float32)
    extent = boxes[:, 2:] - boxes[:, :2]
    window = torch.cat([boxes[:, :2] - _MARGIN * extent, boxes[:, 2:] + _MARGIN * extent], dim=1)
    small = camera.to(torch.float32).crop_resize(window, size)

    masks, cares, images, depths = [], [], [], []
    for observation, frame in zip(observations, window, strict=True):
        sampled = _resample(observation, image, frame, size)
        masks.append(sampled[0])
        cares.append(torch.maximum(sampled[1], sampled[0]))
        images.append(sampled[2:].permute(1, 2, 0))
        depths.append(_bin_depth(observation, depth, frame, size, camera, noise))
    covered = torch.stack(masks)
    # Cells on the outline are drawn by one hypothesis and not by another: what they would add to
    # the depth term is the luck of their noise. Only the core is compared.
    core = -max_pool2d(-covered[:, None], 5, 1, 2)[:, 0] > 0.99
    depth_cells = torch.stack([cells for cells, _ in depths])
    depth_cells = torch.where(_usable(core), depth_cells, torch.zeros(()))
    pixels_known = torch.tensor([float(n) for _, n in depths])
    middle = torch.tensor([0.0 if np.isnan(o.depth) else o.depth for o in observations]).float()
    averaged = _independent_pixels(pixels_known, depth_cells, noise)
    scale = torch.tensor([size[1], size[0], size[1], size[0]]) / (
        (window[:, 2:] - window[:, :2]).repeat(1, 2)
    )
    evidence = Evidence(
        mask=covered,
        care=torch.stack(cares),
        depth=depth_cells,
        depth_sigma=noise.relative * middle / torch.sqrt(averaged),
        depth_floor=torch.full_like(middle, noise.floor),
        image=torch.stack(images),
        box=(boxes - window[:, [0, 1, 0, 1]]) * scale,
        open_sides=torch.tensor(np.stack([o.open_sides for o in observations])),
        size_mean=classes[0],
        size_sigma=classes[1],
    )
    return Crops(evidence, small, window)


def _resample(
    observation: Observation,
    image: np.ndarray,  # (H, W, 3)
    window: Tensor,  # (4,)
    size: tuple[int, int],
) -> Tensor:
    """Mask, what is not hidden, and colour cut to `window` and averaged to `size`, (5, h, w).

    Zero outside the image. Only the pixels that count are looked at.
    """
    around = Window.of_box(window.numpy(), observation.hiding.shape, margin=1)
    part = around.pixels
    own = torch.from_numpy(observation.instance.mask[part]).float()
    free = torch.from_numpy(~observation.hiding[part]).float()
    colour = torch.from_numpy(np.ascontiguousarray(image[part])).permute(2, 0, 1).float() / 255
    stack = torch.cat([own[None], free[None], colour])
    height, width = around.size
    rows, columns = size[0] * _SUPERSAMPLES, size[1] * _SUPERSAMPLES
    left, top, right, bottom = around.local(window)
    x = left + (torch.arange(columns) + 0.5) * (right - left) / columns
    y = top + (torch.arange(rows) + 0.5) * (bottom - top) / rows
    grid = torch.stack(torch.meshgrid(2 * x / width - 1, 2 * y / height - 1, indexing="xy"), dim=-1)
    fine = grid_sample(stack[None], grid[None], mode="bilinear", align_corners=False)
    return avg_pool2d(fine, _SUPERSAMPLES)[0]


def _bin_depth(
    observation: Observation,
    depth: np.ndarray | None,
    window: Tensor,
    size: tuple[int, int],
    camera: Camera,
    noise: DepthNoise,
) -> tuple[Tensor, int]:
    """Mean depth per cell, and how many pixels were trusted."""
    if depth is None or len(observation.points) == 0:
        return torch.zeros(size), 0
    # The foreground interval of the observation's points: the rest is background or bleeding.
    # It is widened by the noise, since a cut through the noise would pull depths to the middle.
    z_points = camera.to(torch.float64).world_to_camera(torch.from_numpy(observation.points))[:, 2]
    slack = noise.floor + 3 * noise.relative * observation.depth
    low, high = float(z_points.min()) - slack, float(z_points.max()) + slack
    around, core = inner_mask(observation.instance.mask, observation.mask_box)
    depth = depth[around.pixels]
    rows, columns = np.nonzero(core & (depth >= low) & (depth <= high))
    left, top, right, bottom = around.local(window)
    i = np.floor((rows + 0.5 - top) / (bottom - top) * size[0]).astype(int)
    j = np.floor((columns + 0.5 - left) / (right - left) * size[1]).astype(int)
    cell = i * size[1] + j
    count = np.bincount(cell, minlength=size[0] * size[1])
    total = np.bincount(cell, weights=depth[rows, columns], minlength=size[0] * size[1])
    mean = np.where(count > 0, total / np.maximum(count, 1), 0.0)
    return torch.from_numpy(mean.reshape(size)).float(), len(rows)


def _usable(core: Tensor) -> Tensor:
    """The core, or everything for an object so thin that it has none."""
    thin = core.flatten(1).sum(1) < 30
    return core | thin[:, None, None]


def _independent_pixels(pixels: Tensor, cells: Tensor, noise: DepthNoise) -> Tensor:
    """How many independently wrong pixels one patch of the depth term averages, at least one."""
    if noise.correlation is None:
        return torch.ones_like(pixels)
    patches = (cells > 0).flatten(1).sum(1) / Depth().patch ** 2
    return (pixels / patches.clamp(min=1.0) / noise.correlation**2).clamp(min=1.0)
