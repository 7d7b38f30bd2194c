"""What some benchmarks are told besides how long they may take."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["MeshFolder", "MoleculeRuns", "TechniqueChoice"]


@dataclass(frozen=True)
class MeshFolder:
    """Meshes that a benchmark reads (None: those of DIFFRENDER_SHARED).

    Attributes:
        cars: folder of meshes, `scale` metres per unit.
        work: folder of what is finished, to go on from; None keeps nothing.
        folds: how many parts of the meshes are left out in turn; None: all.
    """

    cars: Path | None = None
    scale: float = 1.0
    work: Path | None = None
    folds: int | None = None


@dataclass(frozen=True)
class MoleculeRuns:
    """Molecules to train on, and how much.

    Attributes:
        data: folder of molecules, as `diffrender synthetic molecules` writes it.
        work: folder of runs, finished or to go on with; None keeps nothing.
        seeds: runs of each network.
        graphs: budget of a run: graphs seen, each counted as often as it is seen.
        size: of the networks, a name in SIZES of `bench_molecules_cases`.
        limit: minutes after which no step is begun; what is finished by then is reported.
    """

    data: Path | None = None
    work: Path | None = None
    seeds: int = 1
    graphs: int = 320_000
    size: str = "full"
    limit: float | None = None


@dataclass(frozen=True)
class TechniqueChoice:
    """Which techniques of the catalogue are measured, and where that is kept.

    Attributes:
        names: of techniques; all where empty.
        work: folder of one JSON a technique, to go on from; None: `out/catalogue`.
        reconstruct: measure the reconstruction of synthetic streets by each of them instead.
    """

    names: tuple[str, ...] = ()
    work: Path | None = None
    reconstruct: bool = False
