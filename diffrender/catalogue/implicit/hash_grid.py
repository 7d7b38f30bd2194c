"""Instant-NGP (Müller et al. 2022): features in hash tables at several resolutions, and a network.

The network is tiny because the tables do the work: a point looks its features up at the eight
corners around it on each level.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.implicit._fields import (
    Fitting,
    apply_layers,
    draw_field,
    field_scene,
    initial_layers,
)
from diffrender.catalogue.scene import Rendering, Scene, check_view

__all__ = ["TECHNIQUE", "HashGrid", "HashTables"]

_PRIMES = (1, 2654435761, 805459861)


@dataclass(frozen=True)
class HashTables:
    """Tables of features at levels of growing resolution, and a perceptron over all of them.

    Attributes:
        levels: how many resolutions.
        coarsest, finest: cells along a side of the cube [-1, 1]³ at the first and last level;
            those between grow by a constant factor.
        entries: of each level's table, a power of two.
        features: of each entry.
        width: of the perceptron's one hidden layer.
    """

    levels: int = 5
    coarsest: int = 8
    finest: int = 64
    entries: int = 2**14
    features: int = 2
    width: int = 32

    @property
    def widths(self) -> tuple[int, ...]:
        """Of the perceptron's layers."""
        return (self.levels * self.features, self.width, 4)

    @property
    def table_size(self) -> int:
        """Numbers in all tables."""
        return self.levels * self.entries * self.features

    def initial(self, generator: torch.Generator) -> Tensor:
        """(K,) float32 weights to start from: nearly 0 in the tables."""
        table = 1e-2 * (2 * torch.rand(self.table_size, generator=generator) - 1)
        return torch.cat([table, initial_layers(self.widths, generator)])

    def evaluate(self, weights: Tensor, points: Tensor) -> Tensor:  # (K,), (N, 3)
        """Raw density and colour, (N, 4)."""
        table = weights[: self.table_size].reshape(-1, self.features)
        growth = (self.finest / self.coarsest) ** (1 / max(self.levels - 1, 1))
        sizes = self.coarsest * growth ** torch.arange(self.levels).to(points)
        place = (points[:, None] + 1) / 2 * sizes[:, None]  # (N, L, 3)
        first = place.detach().floor()
        share = place - first
        total = torch.zeros((), dtype=weights.dtype)
        for corner in itertools.product((0, 1), repeat=3):
            step = torch.tensor(corner)
            weight = torch.where(step.bool(), share, 1 - share).prod(-1)
            row = self._row(first.long() + step)
            found = table.index_select(0, row.flatten()).reshape(*row.shape, self.features)
            total = total + weight[..., None] * found
        return apply_layers(weights[self.table_size :], self.widths, total.flatten(1))

    def _row(self, corner: Tensor) -> Tensor:  # (N, L, 3)
        """Rows of the joined tables: (i π₁) xor (j π₂) xor (k π₃), modulo a table's entries."""
        i, j, k = (corner * torch.tensor(_PRIMES)).unbind(-1)
        return (i ^ j ^ k) % self.entries + self.entries * torch.arange(self.levels)


_FITTING = Fitting(steps=300, batch=3000, rate=3e-2)


@dataclass(frozen=True)
class HashGrid:
    """Tables and network fitted in `prepare`, then drawn along rays.

    Attributes:
        tables: their shape.
        fitting: how they are fitted.
        coarse: even sections that find where the weight is.
        fine: sections that are drawn, placed by that weight.
        resolution: nodes along the longest side of the grid of distances that they are fitted to.
    """

    tables: HashTables = HashTables()
    fitting: Fitting = _FITTING
    coarse: int = 48
    fine: int = 48
    resolution: int = 64

    card: ClassVar[Card] = Card(
        name="hash-grid",
        title="Multi-resolution hash encoding (Instant-NGP)",
        authors="Müller, T. and Evans, A. and Schied, C. and Keller, A.",
        year=2022,
        paper="Instant Neural Graphics Primitives with a Multiresolution Hash Encoding",
        venue="ACM Transactions on Graphics 41(4)",
        arxiv="2201.05989",
        sections="paper, the section on the multiresolution hash encoding; after the survey. No "
        "occupancy grid, no dependence on the view direction, coarse levels are hashed too, and "
        "fitted to densities and colours instead of pictures",
        equations=(
            "N_l = N_min bˡ",
            "h(x) = (x₁π₁ ⊕ x₂π₂ ⊕ x₃π₃) mod T",
            "C = Σ Tᵢ (1 - e^(-σᵢδᵢ)) cᵢ",
        ),
        family="implicit",
        idea=(
            "Keep small feature vectors in a hash table for each of several grids, coarse to fine.",
            "A point interpolates them at the corners around it on each level; collisions are left "
            "to the optimizer, which lets surfaces win over empty space.",
            "A tiny network turns them into density and radiance, drawn as a radiance field.",
        ),
        claims=(
            Claim("density", "both", "biased"),
            Claim("pose", "silhouette", "biased"),
            Claim("intrinsics", "both", "biased"),
        ),
        memory="O(P S L) for P pixels, S samples and L levels, and the tables",
        time="O(P S L)",
        limits="The gradient to positions jumps at cell borders, and collisions make noise. Light "
        "is baked into the radiance. Sections are placed without derivative.",
        use_when="Radiance fields (or any field) where fitting time counts.",
    )

    def prepare(self, scene: Scene) -> Scene:
        """A fitted field, in some seconds; not differentiable to the triangles."""
        return field_scene(scene, self.tables, self.fitting, self.resolution)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Emission and absorption along the rays."""
        check_view(scene, camera)
        return draw_field(self.prepare(scene), camera, self.coarse, self.fine)


TECHNIQUE = HashGrid()
