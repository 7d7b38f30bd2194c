"""SMILES and SDF records as RDKit molecules, with what cannot be read said in a sentence."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from diffrender._files import readable
from diffrender.errors import InputError, require

__all__ = ["conformer_positions", "parse_smiles"]

_LONGEST = 2_000
_MOST_ATOMS = 512


def parse_smiles(smiles: str) -> Any:
    """RDKit molecule of a SMILES string, stereocentres named; hydrogens are left out as OGB does.

    A name may follow after a space.

    Raises:
        InputError: it cannot be read, is not ASCII, or has no atoms or more than 512.
        MissingExtraError: RDKit is not installed.
    """
    chem = require("rdkit.Chem", "molecules")
    logs = require("rdkit.rdBase", "molecules").BlockLogs()
    try:
        shown = f"'{smiles[:80]}'"
        if len(smiles) > _LONGEST:
            raise InputError(f"{shown}... has {len(smiles)} letters, expected at most {_LONGEST}")
        word = "".join(smiles.split(maxsplit=1)[:1])
        if not word.isascii():  # RDKit would end the molecule there
            odd = next(letter for letter in word if not letter.isascii())
            raise InputError(
                f"{shown} holds U+{ord(odd):04X}, which no SMILES does; expected ASCII letters"
            )
        mol = chem.MolFromSmiles(readable(smiles))
        if mol is None:
            raise InputError(
                f"{shown} cannot be read as SMILES: a letter, bracket or ring number is wrong, or "
                "an atom has more bonds than it can have"
            )
        if not 1 <= mol.GetNumAtoms() <= _MOST_ATOMS:
            raise InputError(f"{shown} has {mol.GetNumAtoms()} atoms, expected 1 to {_MOST_ATOMS}")
        chem.AssignStereochemistry(mol, cleanIt=True, force=True)  # names R and S
        return mol
    finally:
        del logs


def conformer_positions(
    mol: Any,
    block: str,
) -> Tensor:
    """Positions in angstrom of a molecule's atoms, from an SDF record of the same molecule.

    The record may hold hydrogens and another order of atoms.

    Returns:
        (N, 3) float32.

    Raises:
        InputError: the record cannot be read, is flat, or is of another molecule.
        MissingExtraError: RDKit is not installed.
    """
    chem = require("rdkit.Chem", "molecules")
    logs = require("rdkit.rdBase", "molecules").BlockLogs()
    try:
        solid = chem.MolFromMolBlock(block, removeHs=False)
        if solid is None or not solid.GetNumConformers():
            raise InputError("its SDF record cannot be read")
        if not solid.GetConformer().Is3D():
            raise InputError("its SDF record is flat, expected a conformer in space")
        order = _same_order(mol, solid)
        if order is None:
            match = solid.GetSubstructMatch(mol)
            order = list(match) if len(match) == mol.GetNumAtoms() else None
        heavy = sum(atom.GetAtomicNum() > 1 for atom in solid.GetAtoms())
        if order is None or heavy != sum(atom.GetAtomicNum() > 1 for atom in mol.GetAtoms()):
            raise InputError("its SDF record is of another molecule")
        return torch.tensor(solid.GetConformer().GetPositions(), dtype=torch.float32)[order]
    finally:
        del logs


def _same_order(mol: Any, solid: Any) -> list[int] | None:
    """Rows of the record for the molecule's atoms where they come in the same order."""
    rows = [atom.GetIdx() for atom in solid.GetAtoms() if atom.GetAtomicNum() > 1]
    if len(rows) != mol.GetNumAtoms():
        return None
    place = {row: index for index, row in enumerate(rows)}
    same = all(
        atom.GetAtomicNum() == solid.GetAtomWithIdx(row).GetAtomicNum()
        for atom, row in zip(mol.GetAtoms(), rows, strict=True)
    )
    bonds = {
        frozenset((place[bond.GetBeginAtomIdx()], place[bond.GetEndAtomIdx()]))
        for bond in solid.GetBonds()
        if bond.GetBeginAtomIdx() in place and bond.GetEndAtomIdx() in place
    }
    wanted = {frozenset((b.GetBeginAtomIdx(), b.GetEndAtomIdx())) for b in mol.GetBonds()}
    return rows if same and bonds == wanted else None
