"""Cars seen in a picture: what the refiner learns from.

One car of the procedural family is drawn with noise in its depth; another, part of the way towards
a third, stands in its place. The network sees the second with the gradient of its loss and the
measured depth, and is told the way to the first, vertex by vertex: all cars of the family share
their topology.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.graph.meshes.examples import Example, draw_car, example_of
from diffrender.graph.meshes.mesh_graph import MeshTopology, edge_scale
from diffrender.graph.meshes.refiner import EVIDENCE, depth_evidence, evidence_inputs
from diffrender.losses import Depth, Evidence, Silhouette, drawn_loss
from diffrender.meshes import MeshBatch
from diffrender.raster import antialias, rasterize
from diffrender.road import CAMERA_HEIGHT
from diffrender.rotations import yaw_to_matrix

__all__ = ["Pairs", "SeenCars", "look_at", "seen"]


@dataclass(frozen=True)
class Pairs:
    """Cars (B, V, 3) in the picture, others in their places, and what is seen of the first."""

    aim: Tensor
    start: Tensor
    topology: MeshTopology
    windows: Camera
    evidence: Evidence


@dataclass(frozen=True)
class SeenCars:
    """Pairs of cars in windows of a picture.

    Attributes:
        cars: in a batch. side: of a window, pixels.
        nearest, farthest: metres to the car.
        depth_scale: deviation of the factor common to an object's depths.
        depth_noise: metres, of patches of an eighth of the window.
        distances: with pairs of vertices, for networks with attention; it names no other run.
    """

    cars: int = 6
    side: int = 64
    nearest: float = 6.0
    farthest: float = 25.0
    depth_scale: float = 0.03
    depth_noise: float = 0.1
    evidence: int = EVIDENCE
    distances: bool = field(default=False, repr=False)

    def draw(self, generator: torch.Generator) -> Example:
        """A batch of new pairs."""
        pair = self.pairs(generator)
        leaf = pair.start.clone().requires_grad_()
        loss = 40.0 * Silhouette() + 1.0 * Depth(self.depth_scale)
        total = drawn_loss(leaf, pair.topology.faces, pair.windows, pair.evidence, loss)
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        depths = depth_evidence(pair.start, pair.topology.faces, pair.windows, pair.evidence)
        scales = torch.stack([edge_scale(v, pair.topology) for v in pair.start])
        distances = (pair.start - pair.aim).norm(dim=2).mean(1).clamp(min=0.02)
        return example_of(
            list(pair.start),
            list(pair.aim),
            [pair.topology] * self.cars,
            distances.tolist(),
            evidence_inputs(gradient, depths, scales),
            distances=self.distances,
        )

    def pairs(self, generator: torch.Generator) -> Pairs:
        """New pairs with what is seen of the aims."""
        aims, starts = [], []
        for _ in range(self.cars):
            aim, topology = draw_car(generator)
            other, _ = draw_car(generator)
            share = 0.2 + 0.8 * float(torch.rand((), generator=generator))
            turn, at = self._place(generator)
            aims.append(aim @ turn.T + at)
            starts.append(torch.lerp(aim, other, share) @ turn.T + at)
        aim, start = torch.stack(aims), torch.stack(starts)
        windows = look_at(aim, self.side)
        evidence = self._evidence(aim, topology.faces, windows, generator)
        return Pairs(aim, start, topology, windows, evidence)

    def _place(self, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        draw = torch.rand(3, generator=generator)
        depth = self.nearest + (self.farthest - self.nearest) * draw[1]
        at = torch.stack([(draw[2] - 0.5) * depth, torch.tensor(CAMERA_HEIGHT), depth])
        return yaw_to_matrix(2 * torch.pi * draw[0]), at

    def _evidence(
        self, aim: Tensor, faces: Tensor, windows: Camera, generator: torch.Generator
    ) -> Evidence:
        evidence = seen(aim, faces, windows)
        count, side = len(aim), self.side
        factor = 1 + self.depth_scale * torch.randn(count, 1, 1, generator=generator)
        patches = torch.randn(count, 1, side // 8, side // 8, generator=generator)
        noise = F.interpolate(patches, (side, side), mode="bilinear")[:, 0] * self.depth_noise
        known = evidence.depth > 0
        depth = torch.where(known, evidence.depth * factor + noise, evidence.depth)
        return Evidence(**{**evidence.__dict__, "depth": depth})


def look_at(vertices: Tensor, side: int) -> Camera:  # (B, V, 3)
    """Cameras at the origin whose square windows of `side` pixels are filled to 70 percent."""
    at = vertices[..., :2] / vertices[..., 2:]
    low, high = at.amin(1), at.amax(1)
    focal = 0.7 * side / (high - low).amax(1)
    centre = side / 2 - focal[:, None] * (low + high) / 2
    intrinsics = torch.zeros(len(vertices), 3, 3)
    intrinsics[:, 0, 0] = intrinsics[:, 1, 1] = focal
    intrinsics[:, :2, 2] = centre
    intrinsics[:, 2, 2] = 1
    return Camera.from_intrinsics(intrinsics, (side, side), pixel_centres="half")


def seen(vertices: Tensor, faces: Tensor, windows: Camera) -> Evidence:  # (B, V, 3), (F, 3)
    """Mask and depth of meshes as evidence without noise; image, box and size say nothing."""
    count, (height, width) = len(vertices), windows.size
    batch = MeshBatch.shared(vertices, faces)
    fragments = rasterize(batch, windows)
    mask = antialias(fragments.mask()[..., None], fragments, batch, windows)[..., 0].detach()
    ones = torch.ones(count)
    return Evidence(
        mask=mask,
        care=torch.ones_like(mask),
        depth=fragments.depth[..., 0].detach(),
        depth_sigma=0.1 * ones,
        depth_floor=0.05 * ones,
        image=torch.zeros(count, height, width, 3),
        box=torch.zeros(count, 4),
        open_sides=torch.ones(count, 4, dtype=torch.bool),
        size_mean=torch.ones(count, 3),
        size_sigma=torch.ones(count, 3),
    )
