"""Free-form refinement: every vertex moves, by large smooth steps."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.losses import (
    Depth,
    Evidence,
    Loss,
    MeshEdges,
    Rendering,
    Silhouette,
    edge_length,
    laplacian,
    laplacian_smoothness,
    mesh_edges,
    normal_consistency,
)
from diffrender.meshes import MeshBatch
from diffrender.raster import antialias, rasterize

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

    def __post_init__(self) -> None:
        if self.iterations < 1 or self.step <= 0 or self.smoothing < 0:
            raise InputError(
                f"RefineSettings has iterations {self.iterations}, step {self.step}, smoothing "
                f"{self.smoothing}; expected at least 1, more than 0, at least 0"
            )


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


def refine_vertices(
    vertices: Tensor,  # (B, V, 3)
    faces: Tensor,  # (F, 3)
    windows: Camera,  # batch (B,)
    evidence: Evidence,
    settings: RefineSettings | None = None,
) -> Refined:
    """Move every vertex of B posed meshes of one topology so that outline and depth fit.

    The displacement from the start is what is regularized. Adam's second moment is one number for
    each object, so that steps keep their direction (Nicolet et al. 2021, sec. 4): of the vertex
    that moves farthest, so that `step` is in metres whatever the smoothing. The best point that was
    passed is returned, so the loss never ends higher than it began.

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
    large = LargeSteps(mesh, settings.smoothing, vertices)
    loss = settings.silhouette * Silhouette() + settings.depth * Depth(settings.depth_scale)
    start = vertices.detach()
    creases = normal_consistency(start, mesh)
    u = torch.zeros_like(start)
    first, second = torch.zeros_like(u), torch.zeros_like(u[:, :1, :1])
    best, best_total = start, torch.full_like(start[:, 0, 0], torch.inf)
    history = []
    b1, b2 = 0.9, 0.999
    for iteration in range(settings.iterations + 1):
        leaf = u.detach().requires_grad_()
        shift = large.to_vertices(leaf)
        now = start + shift
        total = _seen(now, faces, windows, evidence, loss)
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
        longest = (large.to_vertices(gradient) ** 2).amax((1, 2), keepdim=True)
        first = b1 * first + (1 - b1) * gradient
        second = b2 * second + (1 - b2) * longest
        ahead = first / (1 - b1 ** (iteration + 1))
        spread = torch.sqrt(second / (1 - b2 ** (iteration + 1))) + 1e-12
        u = u - settings.step * ahead / spread
    return Refined(best, history[0], best_total, torch.stack(history))


def _seen(
    vertices: Tensor, faces: Tensor, windows: Camera, evidence: Evidence, loss: Loss
) -> Tensor:
    batch = MeshBatch.shared(vertices, faces)
    fragments = rasterize(batch, windows)
    coverage = antialias(fragments.mask()[..., None], fragments, batch, windows)[..., 0]
    count = len(vertices)
    nothing = vertices.new_zeros(count, 4)  # no term here looks at these
    drawn = Rendering(
        coverage=coverage, depth=fragments.depth[..., 0], box=nothing,
        location=nothing[:, :3], size=nothing[:, :3], latent=nothing,
    )  # fmt: skip
    return loss(drawn, evidence).total
