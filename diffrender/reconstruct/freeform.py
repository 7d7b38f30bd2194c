"""Free-form refinement: every vertex moves, by large smooth steps or by a learned proposal."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral
from typing import Literal, Protocol

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape, check_weights
from diffrender.graph.meshes import (
    MeshTopology,
    depth_evidence,
    load_refiner,
    propose_displacement,
)
from diffrender.losses import (
    Depth,
    Evidence,
    MeshEdges,
    Silhouette,
    drawn_loss,
    edge_length,
    laplacian,
    laplacian_smoothness,
    mesh_edges,
    normal_consistency,
)

__all__ = ["LargeSteps", "RefineSettings", "Refined", "refine_vertices"]

_MOST_VERTICES = 6000  # the smoothing is solved densely


@dataclass(frozen=True)
class RefineSettings:
    """How free vertices are refined.

    Attributes:
        iterations: steps of Adam.
        step: of the vertex that moves farthest, metres.
        smoothing: lambda of the preconditioner (I + lambda L)^-1; 0 moves every vertex alone.
        silhouette, depth: weights of what was seen, as in `LossWeights`.
        laplacian: weight of the bending of the displacement, per square metre.
        edge: weight of the relative change of the edges' lengths.
        normal: weight of the angles between neighbouring faces beyond those of the start.
        depth_scale: standard deviation of the factor common to an object's depths.
        refiner: "large-steps", or "graph", where the shipped graph network proposes every step
            from the loss's gradient and the measured depth: it does not read `step` and
            `smoothing`, needs fewer iterations, and is meant for cars.
    """

    iterations: int = 60
    step: float = 0.01
    smoothing: float = 20.0
    silhouette: float = 40.0
    depth: float = 1.0
    laplacian: float = 2000.0
    edge: float = 20.0
    normal: float = 5.0
    depth_scale: float = 0.05
    refiner: Literal["large-steps", "graph"] = "large-steps"

    def __post_init__(self) -> None:
        if not isinstance(self.iterations, Integral) or self.iterations < 1:
            raise InputError(
                f"RefineSettings.iterations is {self.iterations}, expected a whole number above 0"
            )
        for name in ("step", "depth_scale"):
            if not 0 < getattr(self, name) < math.inf:
                raise InputError(
                    f"RefineSettings.{name} is {getattr(self, name)}, expected a positive number"
                )
        check_weights(self, ("smoothing", "silhouette", "depth", "laplacian", "edge", "normal"))
        if self.refiner not in ("large-steps", "graph"):
            raise InputError(f"refiner is {self.refiner!r}, expected 'large-steps' or 'graph'")


@dataclass(frozen=True)
class Refined:
    """Attributes:
    vertices: (B, V, 3) metres, world.
    before, after: (B,) loss of the start and of the best point.
    history: (iterations, B) loss at every step.
    """

    vertices: Tensor
    before: Tensor
    after: Tensor
    history: Tensor


class LargeSteps:
    """Vertices x = (I + lambda L)^-1 u: a step in u moves whole regions of the surface at once.

    Args:
        mesh: topology. smoothing: lambda. dtype, device: of the vertices.

    Source: Nicolet, Jacobson, Jakob, Large steps in inverse rendering of geometry, 2021, sec. 3.
    """

    def __init__(self, mesh: MeshEdges, smoothing: float, like: Tensor) -> None:
        if mesh.vertices > _MOST_VERTICES:
            raise InputError(
                f"the mesh has {mesh.vertices} vertices, at most {_MOST_VERTICES} can be smoothed "
                "densely: simplify it"
            )
        eye = torch.eye(mesh.vertices, dtype=torch.float64, device=like.device)
        self._matrix = eye + smoothing * laplacian(mesh, torch.float64).to(like.device)
        self._factor = torch.linalg.cholesky(self._matrix)

    def to_steps(self, vertices: Tensor) -> Tensor:  # (..., V, 3)
        """u = (I + lambda L) x. Shapes: (..., V, 3) -> (..., V, 3)."""
        return (self._matrix @ vertices.double()).to(vertices)

    def to_vertices(self, steps: Tensor) -> Tensor:  # (..., V, 3)
        """x = (I + lambda L)^-1 u, differentiable. Shapes: (..., V, 3) -> (..., V, 3)."""
        return torch.cholesky_solve(steps.double(), self._factor).to(steps)


class _Mover(Protocol):
    """The displacement from the start, and how it answers a gradient."""

    def leaf(self) -> Tensor:
        """What the gradient is taken with respect to."""
        ...

    def shift(self, leaf: Tensor) -> Tensor:
        """(B, V, 3) displacement, differentiable in the leaf."""
        ...

    def step(self, gradient: Tensor) -> None:
        """Move by the gradient of a loss with respect to the leaf."""
        ...


class _LargeStepsMover:
    """Adam in u; its second moment is one number for each object, so that steps keep their
    direction (Nicolet et al. 2021, sec. 4): of the vertex that moves farthest, so that `step` is in
    metres whatever the smoothing."""

    def __init__(self, start: Tensor, mesh: MeshEdges, settings: RefineSettings) -> None:
        self._large = LargeSteps(mesh, settings.smoothing, start)
        self._size, self._count = settings.step, 0
        self._u = torch.zeros_like(start)
        self._first, self._second = torch.zeros_like(start), torch.zeros_like(start[:, :1, :1])

    def leaf(self) -> Tensor:
        return self._u.detach().requires_grad_()

    def shift(self, leaf: Tensor) -> Tensor:
        return self._large.to_vertices(leaf)

    def step(self, gradient: Tensor) -> None:
        b1, b2 = 0.9, 0.999
        self._count += 1
        longest = (self._large.to_vertices(gradient) ** 2).amax((1, 2), keepdim=True)
        self._first = b1 * self._first + (1 - b1) * gradient
        self._second = b2 * self._second + (1 - b2) * longest
        ahead = self._first / (1 - b1**self._count)
        spread = torch.sqrt(self._second / (1 - b2**self._count)) + 1e-12
        self._u = self._u - self._size * ahead / spread


class _GraphMover:
    """The learned proposal at every step, shorter and shorter: 1/2, 1/3, 1/4, ... of it."""

    def __init__(self, start: Tensor, faces: Tensor, windows: Camera, evidence: Evidence) -> None:
        self._start, self._shift, self._count = start, torch.zeros_like(start), 1
        self._faces, self._windows, self._evidence = faces, windows, evidence
        self._topology = MeshTopology(faces.cpu().long(), start.shape[1])
        self._net = load_refiner()

    def leaf(self) -> Tensor:
        return self._shift.detach().requires_grad_()

    def shift(self, leaf: Tensor) -> Tensor:
        return leaf

    def step(self, gradient: Tensor) -> None:
        self._count += 1
        now = self._start + self._shift
        depths = depth_evidence(now, self._faces, self._windows, self._evidence)
        seen = (now.cpu(), gradient.cpu(), depths.cpu())
        ahead = propose_displacement(self._net, *seen, self._topology)
        self._shift = self._shift + ahead.to(self._shift) / self._count


def refine_vertices(
    vertices: Tensor,  # (B, V, 3)
    faces: Tensor,  # (F, 3)
    windows: Camera,  # batch (B,)
    evidence: Evidence,
    settings: RefineSettings | None = None,
) -> Refined:
    """Move every vertex of B posed meshes of one topology so that outline and depth fit.

    The displacement from the start is what is regularized. The best point that was passed is
    returned, so the loss never ends higher than it began.

    Args:
        vertices: (B, V, 3) metres, world.
        faces: (F, 3) of all B.
        windows: cameras of the B windows, batch shape (B,).
        evidence: what was seen in them.

    Raises:
        InputError: shapes do not fit, or the mesh is too large.
    """
    settings = settings or RefineSettings()
    check_shape("vertices", vertices, None, None, 3)
    if len(evidence.mask) != len(vertices):
        raise InputError(
            f"evidence is about {len(evidence.mask)} objects, vertices about {len(vertices)}"
        )
    mesh = mesh_edges(faces, vertices.shape[1])
    loss = settings.silhouette * Silhouette() + settings.depth * Depth(settings.depth_scale)
    start = vertices.detach()
    creases = normal_consistency(start, mesh)
    mover: _Mover
    if settings.refiner == "graph":
        mover = _GraphMover(start, faces, windows, evidence)
    else:
        mover = _LargeStepsMover(start, mesh, settings)
    best, best_total = start, torch.full_like(start[:, 0, 0], torch.inf)
    history = []
    for iteration in range(settings.iterations + 1):
        leaf = mover.leaf()
        shift = mover.shift(leaf)
        now = start + shift
        total = drawn_loss(now, faces, windows, evidence, loss)
        total = total + settings.laplacian * laplacian_smoothness(shift, mesh)
        total = total + settings.edge * edge_length(now, mesh, start)
        bent = (normal_consistency(now, mesh) - creases).clamp(min=0)
        total = total + settings.normal * bent
        better = total.detach() < best_total
        best = torch.where(better[:, None, None], now.detach(), best)
        best_total = torch.minimum(torch.nan_to_num(total.detach(), nan=torch.inf), best_total)
        history.append(total.detach())
        if iteration == settings.iterations:
            break
        (gradient,) = torch.autograd.grad(total.sum(), leaf)
        mover.step(gradient)
    return Refined(best, history[0], best_total, torch.stack(history))
