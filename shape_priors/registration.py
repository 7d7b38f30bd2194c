"""Fit a shape prior to a mesh of any topology: how well can the prior explain this car?"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.shape_priors.mesh_files import check_solid, check_triangles
from diffrender.shape_priors.prior import ShapePrior
from diffrender.shape_priors.volume import volumetric_iou

__all__ = ["FitResult", "FitSettings", "fit_prior"]


@dataclass(frozen=True)
class FitSettings:
    """How a prior is fitted.

    Attributes:
        iterations: Gauss-Newton steps, each with new correspondences.
        samples: points drawn on each surface.
        reach: metres beyond which a correspondence counts for nothing (mirrors, aerials), at
            the first and at the last step.
        latent_weight: pull towards the mean, as the share of one residual's variance.
        seed: of the points drawn.
    """

    iterations: int = 30
    samples: int = 4000
    reach: tuple[float, float] = (0.6, 0.15)
    latent_weight: float = 2e-5
    seed: int = 0


@dataclass(frozen=True)
class FitResult:
    """A fitted prior.

    Attributes:
        latent: (D,) shape.
        size: (3,) length, width, height in metres.
        location: (3,) centre of the bottom face in the target's frame, metres.
        iou: volumetric overlap with the target in [0, 1].
        distance: root mean square point-to-plane distance of the trimmed surfaces, metres.
    """

    latent: Tensor  # (D,)
    size: Tensor  # (3,)
    location: Tensor  # (3,)
    iou: float
    distance: float


@torch.no_grad()
def fit_prior(
    prior: ShapePrior,
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    settings: FitSettings | None = None,
) -> FitResult:
    """Latent, size and location of the prior that best explain a closed mesh.

    Robust point-to-plane registration in both directions (Chen and Medioni 1992, with Tukey
    weights), solved by damped Gauss-Newton over latent, size and location.

    Args:
        prior: to fit.
        vertices: (V, 3) of the target in the object frame (x forward, y down), metres.
        faces: (F, 3) int64, closed, counter-clockwise from outside.
        settings: see FitSettings.

    Raises:
        InputError: the target is not closed, flat, or without area, has vertices that are not
            finite, or faces that point outside them.
    """
    check_shape("vertices", vertices, None, 3)
    check_shape("faces", faces, None, 3)
    check_triangles("the mesh to fit", vertices, faces)
    check_solid("the mesh to fit", vertices)
    settings = settings or FitSettings()
    if settings.iterations < 1 or settings.samples < 100:
        raise InputError("FitSettings needs at least one iteration and 100 samples")
    prior = prior.to("cpu", torch.float64)
    target = vertices.detach().to("cpu", torch.float64)
    faces = faces.cpu()
    generator = torch.Generator().manual_seed(settings.seed)
    low, high = target.amin(0), target.amax(0)
    start = torch.cat([(low + high) / 2, (high - low).log()])
    start[1] = high[1]
    problem = _Problem(prior, target, faces, start, settings, generator)
    parameters, distance = problem.solve()
    latent, placed, size = problem.split(parameters)
    iou = volumetric_iou(problem.surface(parameters), prior.faces, target, faces)
    return FitResult(latent.float(), size[[0, 2, 1]].float(), placed.float(), iou, distance)


class _Problem:
    """Correspondences and Gauss-Newton steps of one fit, in float64 on the CPU."""

    def __init__(
        self,
        prior: ShapePrior,
        target: Tensor,  # (V, 3)
        faces: Tensor,  # (F, 3)
        start: Tensor,  # (6,) location, log extents
        settings: FitSettings,
        generator: torch.Generator,
    ) -> None:
        from scipy.spatial import cKDTree

        self.prior, self.start, self.settings = prior, start, settings
        self.points, self.normals = _sample(target, faces, settings.samples, generator)[:2]
        self.tree = cKDTree(self.points.numpy())
        first = self.surface(torch.zeros(prior.latent_size + 6, dtype=torch.float64))
        _, _, self.face, self.bary = _sample(first, prior.faces, settings.samples, generator)

    def split(self, parameters: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Latent, location and extents along x, y, z."""
        latent, change = parameters[: self.prior.latent_size], parameters[-6:]
        return latent, self.start[:3] + change[:3], (self.start[3:] + change[3:]).exp()

    def surface(self, parameters: Tensor) -> Tensor:
        latent, location, extents = self.split(parameters)
        return self.prior.decode(latent) * extents + location

    @torch.no_grad()
    def jacobian(self, parameters: Tensor) -> Tensor:
        """Derivative of `surface` to the parameters, (V, 3, P)."""
        latent, _, extents = self.split(parameters)
        size = self.prior.latent_size
        unit = self.prior.decode(latent)
        change = torch.zeros(len(unit), 3, size + 6, dtype=unit.dtype)
        axis = torch.arange(3)
        change[..., :size] = self.prior.decode_jacobian(latent) * extents[:, None]
        change[:, axis, size + axis] = 1.0
        change[:, axis, size + 3 + axis] = unit * extents
        return change

    def solve(self) -> tuple[Tensor, float]:
        size = self.prior.latent_size
        parameters = torch.zeros(size + 6, dtype=torch.float64)
        ridge = torch.full((size + 6,), 1e-4, dtype=torch.float64)
        ridge[:size] = self.settings.latent_weight
        first, last = self.settings.reach
        distance = float("nan")
        for step in range(self.settings.iterations):
            share = step / max(1, self.settings.iterations - 1)
            reach = first * (last / first) ** min(1.0, 1.5 * share)
            residual, jacobian, weight = self._residuals(parameters, reach)
            distance = float(((weight * residual**2).sum() / weight.sum()).sqrt())
            weighted = jacobian * weight[:, None] / weight.sum()
            normal = weighted.mT @ jacobian + torch.diag(ridge)
            gradient = weighted.mT @ residual
            gradient[:size] += ridge[:size] * parameters[:size]
            parameters = parameters - torch.linalg.solve(normal, gradient)
            parameters[:size].clamp_(-4, 4)
        return parameters, distance

    def _residuals(self, parameters: Tensor, reach: float) -> tuple[Tensor, Tensor, Tensor]:
        """Signed distances (R,), their Jacobian (R, P) and robust weights (R,)."""
        from scipy.spatial import cKDTree

        vertices = self.surface(parameters)
        change = self.jacobian(parameters)
        corners = self.prior.faces[self.face]
        a, b, c = vertices[corners].unbind(1)
        normals = torch.nn.functional.normalize(torch.linalg.cross(b - a, c - a), dim=-1)
        points = (self.bary[..., None] * vertices[corners]).sum(1)
        moved = (self.bary[..., None, None] * change[corners]).sum(1)  # (S, 3, P)

        near = torch.from_numpy(self.tree.query(points.numpy())[1])
        agree = (normals * self.normals[near]).sum(-1) > 0.3
        gap = points - self.points[near]
        out = (gap * self.normals[near]).sum(-1), gap.norm(dim=-1), agree
        out_rows = torch.einsum("sk,skp->sp", self.normals[near], moved)

        back = torch.from_numpy(cKDTree(points.numpy()).query(self.points.numpy())[1])
        agree = (self.normals * normals[back]).sum(-1) > 0.3
        gap = points[back] - self.points
        home = (gap * normals[back]).sum(-1), gap.norm(dim=-1), agree
        home_rows = torch.einsum("sk,skp->sp", normals[back], moved[back])

        residual = torch.cat([out[0], home[0]])
        far = torch.cat([out[1], home[1]])
        weight = (1 - (far / reach) ** 2).clamp(min=0) ** 2 * torch.cat([out[2], home[2]])
        return residual, torch.cat([out_rows, home_rows]), weight.clamp(min=1e-9)


def _sample(
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    count: int,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Points on a surface (S, 3), their normals (S, 3), faces (S,) and barycentrics (S, 3)."""
    a, b, c = vertices[faces].unbind(1)
    cross = torch.linalg.cross(b - a, c - a)
    area = cross.norm(dim=-1)
    if not 0 < float(area.sum()) < float("inf"):
        raise InputError(
            f"the {len(faces)} triangles have an area of {float(area.sum()) / 2:g}, expected a "
            "closed surface: do their corners coincide or lie on lines?"
        )
    face = torch.multinomial(area, count, replacement=True, generator=generator)
    u, v = torch.rand(2, count, generator=generator, dtype=vertices.dtype)
    root = u.sqrt()
    bary = torch.stack([1 - root, root * (1 - v), root * v], -1)
    points = (bary[..., None] * vertices[faces[face]]).sum(1)
    return points, cross[face] / area[face, None].clamp(min=1e-12), face, bary
