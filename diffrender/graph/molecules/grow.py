"""Small molecules grown at random from fragments: distinct, sane, and the same for a seed."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from diffrender.errors import InputError, require

__all__ = ["GrowSettings", "distinct_molecules", "grow_molecule"]

# A fragment is joined by its first atom, a ring by any atom with a hydrogen to give.
RINGS = (
    "c1ccccc1", "c1ccccc1", "c1ccncc1", "c1cncnc1", "c1ccsc1", "c1ccoc1", "c1cc[nH]c1",
    "c1cnc[nH]1", "c1cscn1", "c1cocn1", "C1CCCCC1", "C1CCCC1", "C1CCC1", "C1CC1", "C1CCNCC1",
    "C1COCCN1", "C1CCOC1", "C1CCNC1", "C1CCSC1", "C1=CCCC1", "C1CCCCCC1", "C1CO1",
)  # fmt: skip
CHAINS = ("C", "C", "CC", "CCC", "C(C)C", "C=C", "C#C", "C=CC", "CC=C", "CCCC")
GROUPS = (
    "O", "N", "F", "Cl", "S", "OC", "NC", "SC", "C=O", "C#N", "C(=O)O", "C(=O)N", "C(=O)C",
    "OC(=O)C", "NC(=O)C", "C(F)(F)F", "CO", "CN", "N(C)C", "S(=O)(=O)C", "S(=O)C", "N=C",
    "[N+](=O)[O-]",
)  # fmt: skip


@dataclass(frozen=True)
class GrowSettings:
    """Attributes:
    heavy_atoms: fewest and most atoms other than hydrogen; drawn evenly in between.
    rings, chains: shares of the fragments that are rings and chains; the rest are groups.
    alter: share of the moves that change what is there (a double bond, a closed ring, another
        element) instead of joining a fragment.
    """

    heavy_atoms: tuple[int, int] = (5, 14)
    rings: float = 0.3
    chains: float = 0.35
    alter: float = 0.3

    def __post_init__(self) -> None:
        low, high = self.heavy_atoms
        if not 1 <= low <= high <= 50:
            raise InputError(f"heavy_atoms is {self.heavy_atoms}, expected 1 <= low <= high <= 50")
        if min(self.rings, self.chains, self.alter) < 0 or self.rings + self.chains > 1:
            raise InputError(
                f"rings, chains, alter are {self.rings}, {self.chains}, {self.alter}: expected "
                "shares, of which the first two sum to at most 1"
            )


def distinct_molecules(seed: int, settings: GrowSettings = GrowSettings()) -> Iterator[str]:
    """Canonical SMILES without end, each of them once; the n-th depends on seed and settings only.

    Raises:
        MissingExtraError: RDKit is not installed.
    """
    seen: set[str] = set()
    number = 0
    while True:
        smiles = grow_molecule(random.Random(f"{seed}/{number}"), settings)
        number += 1
        if smiles not in seen:
            seen.add(smiles)
            yield smiles


def grow_molecule(draw: random.Random, settings: GrowSettings = GrowSettings()) -> str:
    """Canonical SMILES of one molecule of C, N, O, F, S, Cl and hydrogen, all charges balanced.

    A move that RDKit's sanitisation refuses is taken back, so every step is a sane molecule.
    """
    chem = require("rdkit.Chem", "molecules")
    logs = require("rdkit.rdBase", "molecules").BlockLogs()
    try:
        low, high = settings.heavy_atoms
        while True:
            target = draw.randint(low, high)
            mol = _fragment(chem, draw, settings, room=target)
            for _ in range(12 * target):
                change = _alter if draw.random() < settings.alter else _join
                changed = change(chem, mol, draw, settings, target - mol.GetNumAtoms())
                mol = mol if changed is None else changed
                if mol.GetNumAtoms() >= target and draw.random() < 0.5:
                    break
            # Written, read and written again: some aromatic systems only settle then.
            settled = chem.MolFromSmiles(chem.MolToSmiles(mol))
            if settled is not None and low <= settled.GetNumAtoms() <= high:
                return str(chem.MolToSmiles(settled))
    finally:
        del logs


Move = Callable[[Any, Any, random.Random, GrowSettings, int], Any]


def _fragment(chem: Any, draw: random.Random, settings: GrowSettings, room: int) -> Any:
    """A random fragment of at most `room` heavy atoms, or one carbon where none fits."""
    for _ in range(20):
        kind = draw.random()
        pool: tuple[str, ...] = GROUPS
        if kind < settings.rings:
            pool = RINGS
        elif kind < settings.rings + settings.chains:
            pool = CHAINS
        mol = chem.MolFromSmiles(draw.choice(pool))
        if mol.GetNumAtoms() <= room:
            return mol
    return chem.MolFromSmiles("C")


def _join(chem: Any, mol: Any, draw: random.Random, settings: GrowSettings, room: int) -> Any:
    """A fragment on a single bond; never heteroatom to heteroatom. None: the move is refused."""
    if room < 1:
        return None
    part = _fragment(chem, draw, settings, room)
    ends = [a.GetIdx() for a in mol.GetAtoms() if a.GetTotalNumHs() > 0]
    ring = part.GetRingInfo().NumRings() > 0
    joints = [a.GetIdx() for a in part.GetAtoms() if a.GetTotalNumHs() > 0] if ring else [0]
    if not ends or not joints:
        return None
    end, joint = draw.choice(ends), mol.GetNumAtoms() + draw.choice(joints)
    both = chem.RWMol(chem.CombineMols(mol, part))
    if both.GetAtomWithIdx(end).GetSymbol() != "C" != both.GetAtomWithIdx(joint).GetSymbol():
        return None
    for index in (end, joint):
        _take_hydrogen(both.GetAtomWithIdx(index))
    both.AddBond(end, joint, chem.BondType.SINGLE)
    return _sane(chem, both)


def _alter(chem: Any, mol: Any, draw: random.Random, settings: GrowSettings, room: int) -> Any:
    """Change one bond, ring or element. None: the move is refused."""
    return draw.choice((_unsaturate, _close, _substitute))(chem, mol, draw)


def _unsaturate(chem: Any, mol: Any, draw: random.Random) -> Any:
    """A single bond between atoms with a hydrogen each becomes a double bond."""
    bonds = [
        b.GetIdx()
        for b in mol.GetBonds()
        if b.GetBondType() == chem.BondType.SINGLE
        and all(_saturated(chem, a) for a in (b.GetBeginAtom(), b.GetEndAtom()))
        and "C" in (b.GetBeginAtom().GetSymbol(), b.GetEndAtom().GetSymbol())
    ]
    if not bonds:
        return None
    changed = chem.RWMol(mol)
    changed.GetBondWithIdx(draw.choice(bonds)).SetBondType(chem.BondType.DOUBLE)
    return _sane(chem, changed)


def _close(chem: Any, mol: Any, draw: random.Random) -> Any:
    """Two atoms at four or five bonds are joined: a ring of five or six."""
    hops = chem.GetDistanceMatrix(mol)
    free = [a.GetIdx() for a in mol.GetAtoms() if a.GetTotalNumHs() > 0]
    pairs = [
        (i, j)
        for i in free
        for j in free
        if i < j
        and hops[i, j] in (4, 5)
        and "C" in (mol.GetAtomWithIdx(i).GetSymbol(), mol.GetAtomWithIdx(j).GetSymbol())
    ]
    if not pairs:
        return None
    changed = chem.RWMol(mol)
    first, second = draw.choice(pairs)
    for index in (first, second):
        _take_hydrogen(changed.GetAtomWithIdx(index))
    changed.AddBond(first, second, chem.BondType.SINGLE)
    return _sane(chem, changed)


def _substitute(chem: Any, mol: Any, draw: random.Random) -> Any:
    """A carbon with hydrogen and with carbon neighbours alone becomes nitrogen, oxygen, sulphur.

    Its bonds must fit the new element's lowest valence: no sulphur of valence four arises here.
    """
    places = [
        a.GetIdx()
        for a in mol.GetAtoms()
        if a.GetSymbol() == "C"
        and a.GetTotalNumHs() > 0
        and all(n.GetSymbol() == "C" for n in a.GetNeighbors())
    ]
    if not places:
        return None
    changed = chem.RWMol(mol)
    atom = changed.GetAtomWithIdx(draw.choice(places))
    bonds = sum(b.GetBondTypeAsDouble() for b in atom.GetBonds())
    element = 7 if atom.GetIsAromatic() else draw.choice((7, 8, 16))
    if bonds > (3 if element == 7 else 2):
        return None
    atom.SetAtomicNum(element)
    return _sane(chem, changed)


def _saturated(chem: Any, atom: Any) -> bool:
    plain = all(b.GetBondType() == chem.BondType.SINGLE for b in atom.GetBonds())
    return plain and atom.GetTotalNumHs() > 0


def _take_hydrogen(atom: Any) -> None:
    """Free a valence; only hydrogens that are written out, as in [nH], are counted by hand."""
    if atom.GetNumExplicitHs() > 0:
        atom.SetNumExplicitHs(atom.GetNumExplicitHs() - 1)


def _sane(chem: Any, mol: Any) -> Any:
    changed = mol.GetMol()
    failed = chem.SanitizeMol(changed, catchErrors=True)
    if failed != chem.SanitizeFlags.SANITIZE_NONE:
        return None
    # A triple bond does not bend into a ring of five or six.
    triple = any(
        b.GetBondType() == chem.BondType.TRIPLE and b.IsInRing() for b in changed.GetBonds()
    )
    return None if triple else changed
