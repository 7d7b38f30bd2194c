"""Atoms and bonds as categories: the feature sets of GPS++, and molecules as graphs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from diffrender._registry import find_named
from diffrender.errors import InputError
from diffrender.graph.graphs import Graph
from diffrender.graph.molecules.elements import (
    FAMILIES,
    GROUPS,
    PERIODS,
    family_of,
    group_of,
    period_of,
)

__all__ = ["FEATURE_SETS", "Feature", "FeatureSet", "feature_set", "molecule_graph"]


@dataclass(frozen=True)
class Feature:
    """A categorical feature of an RDKit atom or bond.

    Attributes:
        name: as in the tables of the paper.
        categories: size of its vocabulary.
        of: category of an atom or bond, 0 to categories - 1.
    """

    name: str
    categories: int
    of: Callable[[Any], int]


@dataclass(frozen=True)
class FeatureSet:
    """Features of atoms and of bonds, in the order of a graph's columns."""

    name: str
    atoms: tuple[Feature, ...]
    bonds: tuple[Feature, ...]

    @property
    def node_vocabulary(self) -> tuple[int, ...]:
        """Categories of each atom feature."""
        return tuple(feature.categories for feature in self.atoms)

    @property
    def edge_vocabulary(self) -> tuple[int, ...]:
        """Categories of each bond feature."""
        return tuple(feature.categories for feature in self.bonds)


def feature_set(name: str) -> FeatureSet:
    """The feature set of that name: "original", "1", "2" or "3".

    Raises:
        InputError: there is no such set.
    """
    return find_named("feature set", name, FEATURE_SETS)


def molecule_graph(
    mol: Any,
    features: FeatureSet,
    positions: Tensor | None = None,  # (N, 3) float32, angstrom
    label: float | None = None,
) -> Graph:
    """Graph of an RDKit molecule: a node an atom, two directed edges a bond, in RDKit's order.

    Hydrogens are nodes only where the molecule still holds them as atoms, as in OGB.

    Raises:
        InputError: an atom without an element ("*"), or no atom at all.

    Source: GPS++ report (arXiv 2212.02229), table 2. OGB's features for the original set; period,
    group, family and chiral centre are read by our own tables.
    """
    atoms, bonds = list(mol.GetAtoms()), list(mol.GetBonds())
    if not atoms:
        raise InputError("a molecule without atoms, expected at least one")
    if any(atom.GetAtomicNum() == 0 for atom in atoms):
        raise InputError("an atom without an element ('*'), expected elements only")
    ends = [(bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()) for bond in bonds]
    directed = [pair for a, b in ends for pair in ((a, b), (b, a))]
    of_bonds = [[feature.of(bond) for feature in features.bonds] for bond in bonds]
    of_atoms = [[feature.of(atom) for feature in features.atoms] for atom in atoms]
    return Graph(
        node_features=torch.tensor(of_atoms, dtype=torch.int64),
        edge_index=torch.tensor(directed, dtype=torch.int64).reshape(-1, 2).T.contiguous(),
        edge_features=torch.tensor(of_bonds, dtype=torch.int64)
        .reshape(-1, len(features.bonds))
        .repeat_interleave(2, 0),
        positions=positions,
        label=None if label is None else torch.tensor(label, dtype=torch.float32),
    )  # fmt: skip


def _among(*known: object) -> Callable[[object], int]:
    """Position among what is known, and one further category for anything else."""
    positions = {value: index for index, value in enumerate(known)}
    return lambda value: positions.get(value, len(positions))


_ELEMENT = _among(*range(1, 119))
_DEGREE = _among(*range(11))
_CHARGE = _among(*range(-5, 6))
_HYDROGENS = _among(*range(9))
_RADICALS = _among(*range(5))
_HYBRID = _among("SP", "SP2", "SP3", "SP3D", "SP3D2")
_TAG = _among("CHI_UNSPECIFIED", "CHI_TETRAHEDRAL_CW", "CHI_TETRAHEDRAL_CCW", "CHI_OTHER")
_BOND = _among("SINGLE", "DOUBLE", "TRIPLE", "AROMATIC")
# The sixth category is STEREOANY; kinds newer than OGB's list fall to it too.
_STEREO = _among("STEREONONE", "STEREOZ", "STEREOE", "STEREOCIS", "STEREOTRANS")


def _centre(atom: Any) -> int:
    """0: no assigned stereocentre, 1: R, 2: S (Cahn-Ingold-Prelog)."""
    code = atom.GetProp("_CIPCode") if atom.HasProp("_CIPCode") else ""
    return {"R": 1, "S": 2}.get(code, 0)


_ATOMS = {
    feature.name: feature
    for feature in (
        Feature("atomic number", 119, lambda a: _ELEMENT(a.GetAtomicNum())),
        Feature("period", PERIODS, lambda a: period_of(a.GetAtomicNum())),
        Feature("group", GROUPS, lambda a: group_of(a.GetAtomicNum())),
        Feature("element family", len(FAMILIES), lambda a: family_of(a.GetAtomicNum())),
        Feature("chiral tag", 5, lambda a: _TAG(str(a.GetChiralTag()))),
        Feature("degree", 12, lambda a: _DEGREE(a.GetTotalDegree())),
        Feature("formal charge", 12, lambda a: _CHARGE(a.GetFormalCharge())),
        Feature("hydrogens", 10, lambda a: _HYDROGENS(a.GetTotalNumHs())),
        Feature("radical electrons", 6, lambda a: _RADICALS(a.GetNumRadicalElectrons())),
        Feature("hybridisation", 6, lambda a: _HYBRID(str(a.GetHybridization()))),
        Feature("aromatic", 2, lambda a: int(a.GetIsAromatic())),
        Feature("in ring", 2, lambda a: int(a.IsInRing())),
        Feature("chiral centre", 3, _centre),
    )
}
_BONDS = {
    feature.name: feature
    for feature in (
        Feature("bond type", 5, lambda b: _BOND(str(b.GetBondType()))),
        Feature("stereo", 6, lambda b: _STEREO(str(b.GetStereo()))),
        Feature("conjugated", 2, lambda b: int(b.GetIsConjugated())),
        Feature("in ring", 2, lambda b: int(b.IsInRing())),
    )
}


def _make_set(name: str, without: set[str], bonds: tuple[str, ...]) -> FeatureSet:
    atoms = tuple(feature for key, feature in _ATOMS.items() if key not in without)
    return FeatureSet(name, atoms, tuple(_BONDS[key] for key in bonds))


_NEW = {"period", "group", "element family", "chiral centre"}
FEATURE_SETS: dict[str, FeatureSet] = {
    made.name: made
    for made in (
        _make_set("original", _NEW, ("bond type", "stereo", "conjugated")),
        _make_set("1", {"chiral tag", "hybridisation"}, ("bond type", "stereo", "in ring")),
        _make_set("2", {"chiral tag", "formal charge"}, ("stereo", "conjugated", "in ring")),
        _make_set("3", {"chiral tag", "aromatic"}, ("stereo", "conjugated", "in ring")),
    )
}
