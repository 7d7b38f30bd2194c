"""Atoms and bonds as categories: vocabularies, OGB's own features, the periodic table."""

from __future__ import annotations

import pytest
import torch

from diffrender.errors import InputError
from diffrender.graph.molecules import FEATURE_SETS, feature_set, molecule_graph, parse_smiles
from diffrender.graph.molecules.elements import FAMILIES, family_of, group_of, period_of

pytest.importorskip("rdkit")

DRUGS = (
    "O1C=C[C@H]([C@H]1O2)c3c2cc(OC)c4c3OC(=O)C5=C4CCC(=O)5",
    "Cl[C@H](/C=C/C)Br",
    "C/C=C\\C[N+](C)(C)[O-]",
    "[CH3]",
    "N#Cc1ccc2[nH]ccc2c1",
    "FS(F)(F)(F)(F)F",
    "[Na+].[Cl-]",
    "C",
)


def test_vocabularies_of_set_1() -> None:
    chosen = FEATURE_SETS["1"]
    assert (len(chosen.atoms), len(chosen.bonds)) == (11, 3)
    assert chosen.node_vocabulary == (119, 9, 18, 10, 12, 12, 10, 6, 2, 2, 3)
    assert sum(chosen.node_vocabulary) == 203
    assert chosen.edge_vocabulary == (5, 6, 2)
    assert sum(chosen.edge_vocabulary) == 13


def test_the_sets_differ_as_in_the_paper() -> None:
    names = {name: {f.name for f in chosen.atoms} for name, chosen in FEATURE_SETS.items()}
    assert names["1"] ^ names["2"] == {"formal charge", "hybridisation"}
    assert names["1"] ^ names["3"] == {"aromatic", "hybridisation"}
    assert names["original"] - names["1"] == {"chiral tag", "hybridisation"}
    assert {len(chosen.bonds) for chosen in FEATURE_SETS.values()} == {3}
    for chosen in FEATURE_SETS.values():
        assert len({f.name for f in chosen.atoms}) == len(chosen.atoms)
    with pytest.raises(InputError, match="no feature set '4'"):
        feature_set("4")


def test_the_original_set_is_that_of_ogb() -> None:
    features = pytest.importorskip("ogb.utils.features")
    chosen = feature_set("original")
    for smiles in DRUGS:
        mol = parse_smiles(smiles)
        graph = molecule_graph(mol, chosen)
        atoms = [features.atom_to_feature_vector(atom) for atom in mol.GetAtoms()]
        assert graph.node_features.tolist() == atoms, smiles
        bonds = [features.bond_to_feature_vector(bond) for bond in mol.GetBonds()]
        assert graph.edge_features[::2].tolist() == bonds
        assert graph.edge_features[1::2].tolist() == bonds


@pytest.mark.parametrize("name", list(FEATURE_SETS))
def test_categories_are_below_their_vocabulary(name: str) -> None:
    chosen = feature_set(name)
    for smiles in DRUGS:
        graph = molecule_graph(parse_smiles(smiles), chosen)
        assert (graph.node_features < torch.tensor(chosen.node_vocabulary)).all()
        assert (graph.edge_features < torch.tensor(chosen.edge_vocabulary)).all()


def test_set_1_of_a_known_molecule() -> None:
    graph = molecule_graph(parse_smiles("C[C@H](F)Cl"), feature_set("1"), label=1.5)
    names = [feature.name for feature in feature_set("1").atoms]
    centre = dict(zip(names, graph.node_features[1].tolist(), strict=True))
    assert centre["atomic number"] == 5
    assert (centre["period"], centre["group"]) == (1, 13)  # 2 and 14
    assert FAMILIES[centre["element family"]] == "nonmetal"
    assert (centre["degree"], centre["hydrogens"], centre["formal charge"]) == (4, 1, 5)
    assert centre["chiral centre"] in (1, 2)
    mirrored = molecule_graph(parse_smiles("C[C@@H](F)Cl"), feature_set("1"))
    assert {centre["chiral centre"], int(mirrored.node_features[1, -1])} == {1, 2}
    assert FAMILIES[int(graph.node_features[2, 3])] == "halogen"
    assert graph.edge_index.tolist() == [[0, 1, 1, 2, 1, 3], [1, 0, 2, 1, 3, 1]]
    assert graph.label is not None and float(graph.label) == 1.5


def test_renumbered_molecules_are_renumbered_graphs() -> None:
    chem = pytest.importorskip("rdkit.Chem")
    mol = parse_smiles(DRUGS[0])
    order = torch.randperm(mol.GetNumAtoms(), generator=torch.Generator().manual_seed(0))
    other = chem.RenumberAtoms(mol, order.tolist())
    first, second = (molecule_graph(m, feature_set("1")) for m in (mol, other))
    assert torch.equal(first.node_features[order], second.node_features)


@pytest.mark.parametrize(
    ("number", "period", "group", "family"),
    [
        (1, 1, 1, "nonmetal"), (2, 1, 18, "noble gas"), (3, 2, 1, "alkali metal"),
        (4, 2, 2, "alkaline earth metal"), (5, 2, 13, "metalloid"), (9, 2, 17, "halogen"),
        (13, 3, 13, "post-transition metal"), (16, 3, 16, "nonmetal"), (18, 3, 18, "noble gas"),
        (21, 4, 3, "transition metal"), (26, 4, 8, "transition metal"),
        (30, 4, 12, "transition metal"), (35, 4, 17, "halogen"), (53, 5, 17, "halogen"),
        (56, 6, 2, "alkaline earth metal"), (72, 6, 4, "transition metal"),
        (79, 6, 11, "transition metal"), (82, 6, 14, "post-transition metal"),
        (118, 7, 18, "noble gas"),
    ],
)  # fmt: skip
def test_the_periodic_table(number: int, period: int, group: int, family: str) -> None:
    assert (period_of(number) + 1, group_of(number) + 1) == (period, group)
    assert FAMILIES[family_of(number)] == family


def test_every_element_has_its_place() -> None:
    for number in range(1, 119):
        assert 0 <= period_of(number) < 8
        assert 0 <= group_of(number) < 18
        assert 0 <= family_of(number) < 10
    assert period_of(60) == period_of(92) == 7
    assert [FAMILIES[family_of(n)] for n in (60, 92)] == ["lanthanide", "actinide"]


@pytest.mark.parametrize(
    ("smiles", "message"),
    [
        ("C1CC", "cannot be read as SMILES"),
        ("C(C)(C)(C)(C)C", "cannot be read as SMILES"),
        ("", "0 atoms, expected 1 to 512"),
        ("C" * 600, "600 atoms"),
        ("C" * 3000, "3000 letters"),
    ],
)
def test_smiles_that_cannot_be_used(smiles: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_smiles(smiles)


def test_atoms_without_an_element() -> None:
    with pytest.raises(InputError, match="without an element"):
        molecule_graph(parse_smiles("*C"), feature_set("1"))
