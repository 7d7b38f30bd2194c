"""Grown molecules, their conformers and gaps, splits by scaffold."""

from __future__ import annotations

import itertools
import math
import random

import numpy as np
import pytest

from diffrender.errors import InputError
from diffrender.graph.molecules import (
    Conformer,
    ConformerError,
    GapError,
    GrowSettings,
    distinct_molecules,
    embed,
    huckel_gap,
    scaffold,
    scaffold_split,
    xtb_gap,
)

chem = pytest.importorskip("rdkit.Chem")


def test_grown_molecules_are_small_sane_and_distinct() -> None:
    grown = list(itertools.islice(distinct_molecules(3), 200))
    assert len(set(grown)) == 200
    sizes = set()
    for smiles in grown:
        mol = chem.MolFromSmiles(smiles)
        assert chem.MolToSmiles(mol) == smiles
        sizes.add(mol.GetNumAtoms())
        assert {a.GetSymbol() for a in mol.GetAtoms()} <= {"C", "N", "O", "F", "S", "Cl"}
        assert sum(a.GetFormalCharge() for a in mol.GetAtoms()) == 0
        assert sum(a.GetNumRadicalElectrons() for a in mol.GetAtoms()) == 0
        assert not any(
            b.GetBondType() == chem.BondType.TRIPLE and b.IsInRing() for b in mol.GetBonds()
        )
    assert sizes == set(range(5, 15))
    ringed = sum(scaffold(smiles) != "" for smiles in grown)
    assert 60 < ringed < 190


def test_the_seed_decides() -> None:
    def first(seed: int) -> list[str]:
        return list(itertools.islice(distinct_molecules(seed), 20))

    assert first(1) == first(1)
    assert first(1) != first(2)
    small = itertools.islice(distinct_molecules(1, GrowSettings(heavy_atoms=(3, 4))), 20)
    assert {chem.MolFromSmiles(s).GetNumAtoms() for s in small} == {3, 4}


def test_settings_that_cannot_be() -> None:
    with pytest.raises(InputError, match=r"heavy_atoms is \(5, 4\)"):
        GrowSettings(heavy_atoms=(5, 4))
    with pytest.raises(InputError, match="shares"):
        GrowSettings(rings=0.8, chains=0.4)


def test_a_conformer_belongs_to_its_smiles() -> None:
    made = embed("CC=CC(F)Cl", seed=5)
    mol = chem.MolFromSmiles(made.smiles)
    count = mol.GetNumAtoms()
    assert [a.GetAtomicNum() for a in mol.GetAtoms()] == made.numbers[:count].tolist()
    assert (made.numbers[count:] == 1).all() and len(made.numbers) == 12
    for bond in mol.GetBonds():
        ends = made.positions[[bond.GetBeginAtomIdx(), bond.GetEndAtomIdx()]]
        assert 1.2 < np.linalg.norm(ends[0] - ends[1]) < 1.9  # angstrom
    # What the drawing left open has been decided, and is written.
    assert "/" in made.smiles and "@" in made.smiles
    again = embed("CC=CC(F)Cl", seed=5)
    assert (again.positions == made.positions).all() and again.smiles == made.smiles


def test_molecules_without_a_conformer() -> None:
    with pytest.raises(ConformerError, match="cannot be read"):
        embed("C1CC", 0)
    with pytest.raises(ConformerError, match="ETKDG|MMFF94"):
        embed("C12C3C1C23C#C[Pt]", 0)


def _hydrogen(distance: float) -> Conformer:
    mol = chem.RWMol(chem.MolFromSmiles("[H][H]"))
    shape = chem.Conformer(2)
    shape.SetAtomPosition(1, (distance, 0.0, 0.0))
    shape.Set3D(True)
    mol.AddConformer(shape)
    positions = np.array([[0.0, 0, 0], [distance, 0, 0]])
    return Conformer("[H][H]", np.array([1, 1]), positions, chem.MolToMolBlock(mol))


@pytest.mark.parametrize("distance", [0.74, 1.1])
def test_the_huckel_gap_of_hydrogen_is_the_formula(distance: float) -> None:
    """Two 1s Slater orbitals: H12 = 1.75 S H11, E = (H11 +- H12) / (1 +- S)."""
    w = 1.3 * distance / 0.529177
    overlap = math.exp(-w) * (1 + w + w * w / 3)
    site, hop = -13.6, 1.75 * overlap * -13.6
    gap = (site - hop) / (1 - overlap) - (site + hop) / (1 + overlap)
    assert huckel_gap(_hydrogen(distance)) == pytest.approx(gap, rel=1e-3)


def test_gaps_close_along_conjugated_chains() -> None:
    pytest.importorskip("tblite")
    chains = [embed(smiles, 1) for smiles in ("C=C", "C=CC=C", "C=CC=CC=C")]
    for gap in (huckel_gap, xtb_gap):
        values = [gap(chain) for chain in chains]
        assert values[0] > values[1] + 0.3 > values[2] + 0.6 > 0
    # A turned molecule is the same molecule; atomic units inside do not show.
    turned = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0]
    made = chains[1]
    other = Conformer(made.smiles, made.numbers, made.positions @ turned + 3, made.block)
    assert xtb_gap(other) == pytest.approx(xtb_gap(made), abs=1e-5)


def test_an_odd_number_of_electrons_has_no_gap() -> None:
    pytest.importorskip("tblite")
    atom = Conformer("[H]", np.array([1]), np.zeros((1, 3)), "")
    with pytest.raises(GapError, match="1 electrons|GFN2-xTB failed"):
        xtb_gap(atom)


def test_scaffolds() -> None:
    assert scaffold("CCc1ccccc1") == scaffold("Clc1ccccc1") == "c1ccccc1"
    assert scaffold("CCCO") == ""
    with pytest.raises(InputError, match="cannot be read"):
        scaffold("C1CC")


def test_parts_share_no_scaffold() -> None:
    draw = random.Random(4)
    names = [str(draw.randint(0, 150)) for _ in range(900)] + [""] * 100
    shares = {"valid": 0.1, "test": 0.15}
    parts = scaffold_split(names, shares, random.Random(0))
    assert sorted(itertools.chain(*parts.values())) == list(range(1000))
    groups = {name: {names[index] for index in indices} for name, indices in parts.items()}
    assert not groups["train"] & groups["valid"]
    assert not groups["train"] & groups["test"]
    assert not groups["valid"] & groups["test"]
    assert 80 < len(parts["valid"]) <= 100 and 130 < len(parts["test"]) <= 150
    assert "" in groups["train"]  # a group of a tenth of all is not held out
    assert parts == scaffold_split(names, shares, random.Random(0))
    assert parts != scaffold_split(names, shares, random.Random(1))
    with pytest.raises(InputError, match="held out"):
        scaffold_split(names, {"valid": 1.0}, draw)
