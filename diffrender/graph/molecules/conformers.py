"""One conformer of a molecule: ETKDG, settled in the MMFF94 force field."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from diffrender.errors import require

__all__ = ["Conformer", "ConformerError", "embed"]


class ConformerError(RuntimeError):
    """No conformer could be made of a molecule; the message says why."""


@dataclass(frozen=True)
class Conformer:
    """A molecule in space, hydrogens included.

    Attributes:
        smiles: canonical, with the stereochemistry that the conformer has; its heavy atoms are in
            the order of the rows below.
        numbers: (N,) int64 atomic numbers, heavy atoms first.
        positions: (N, 3) float64 angstrom.
        block: the same as an SDF record without its closing line.
    """

    smiles: str
    numbers: np.ndarray
    positions: np.ndarray
    block: str


def embed(smiles: str, seed: int) -> Conformer:
    """Conformer of a molecule, alike for the same seed and RDKit version.

    ETKDG version 3 (Wang, Witek, Landrum, Riniker, J. Chem. Inf. Model. 2020), then MMFF94 until it
    settles. Stereochemistry that the SMILES leaves open is taken from what the embedding drew, and
    written into the SMILES that comes back.

    Raises:
        ConformerError: the SMILES cannot be read, the embedding fails, MMFF94 has no parameters
            for it or does not settle.
        MissingExtraError: RDKit is not installed.
    """
    chem = require("rdkit.Chem", "molecules")
    all_chem = require("rdkit.Chem.AllChem", "molecules")
    logs = require("rdkit.rdBase", "molecules").BlockLogs()
    try:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            raise ConformerError("the SMILES cannot be read")
        mol = chem.AddHs(mol)
        settings = all_chem.ETKDGv3()
        settings.randomSeed = seed % (2**31 - 1)
        settings.maxIterations = 50
        if all_chem.EmbedMolecule(mol, settings) != 0:
            raise ConformerError("ETKDG found no conformer")
        if not all_chem.MMFFHasAllMoleculeParams(mol):
            raise ConformerError("MMFF94 has no parameters for it")
        if all_chem.MMFFOptimizeMolecule(mol, maxIters=2000) != 0:
            raise ConformerError("MMFF94 did not settle")
        chem.AssignStereochemistryFrom3D(mol)
        every = chem.RemoveHsParameters()
        every.removeDefiningBondStereo = True  # the hydrogen of an imine too
        heavy = chem.RemoveHs(mol, every)
        written = chem.MolToSmiles(heavy)
        order = list(heavy.GetPropsAsDict(True, True)["_smilesAtomOutputOrder"])
        # Heavy atoms come before the hydrogens that AddHs appended, in both molecules alike.
        rest = range(heavy.GetNumAtoms(), mol.GetNumAtoms())
        mol = chem.RenumberAtoms(mol, [*order, *rest])
        numbers = np.array([atom.GetAtomicNum() for atom in mol.GetAtoms()], np.int64)
        positions = np.asarray(mol.GetConformer().GetPositions(), np.float64)
        return Conformer(str(written), numbers, positions, str(chem.MolToMolBlock(mol)))
    finally:
        del logs
