"""HOMO-LUMO gaps of a conformer in eV: extended Hückel by RDKit, GFN2-xTB by tblite."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator

import numpy as np

from diffrender.errors import require
from diffrender.graph.molecules.conformers import Conformer

__all__ = ["GapError", "huckel_gap", "xtb_gap"]

_EV_PER_HARTREE = 27.211386245988  # CODATA 2018
_ANGSTROM_PER_BOHR = 0.529177210903


class GapError(RuntimeError):
    """No gap could be computed for a conformer; the message says why."""


def huckel_gap(conformer: Conformer) -> float:
    """Gap in eV by the extended Hückel method (Hoffmann 1963), as RDKit's YAeHMOP computes it.

    Raises:
        GapError: an odd number of electrons, or the calculation failed.
        MissingExtraError: RDKit is not installed.
    """
    chem = require("rdkit.Chem", "molecules")
    tools = require("rdkit.Chem.rdEHTTools", "molecules")
    mol = chem.MolFromMolBlock(conformer.block, removeHs=False)
    with _muted():
        done, result = tools.RunMol(mol)
    if not done:
        raise GapError("the extended Hückel calculation failed")
    return _gap(np.asarray(result.GetOrbitalEnergies()), int(result.numElectrons))


def xtb_gap(conformer: Conformer) -> float:
    """Gap in eV of a neutral molecule by GFN2-xTB (Bannwarth, Ehlert, Grimme, JCTC 2019).

    tblite's threads are OpenMP's: OMP_NUM_THREADS has to be set before it is loaded.

    Raises:
        GapError: the self-consistent field does not converge, or an odd number of electrons.
        MissingExtraError: tblite is not installed.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    interface = require("tblite.interface", "xtb")
    exceptions = require("tblite.exceptions", "xtb")
    try:
        calculator = interface.Calculator(
            "GFN2-xTB", conformer.numbers, conformer.positions / _ANGSTROM_PER_BOHR, logger=_quiet
        )
        calculator.set("verbosity", 0)
        result = calculator.singlepoint()
    except (exceptions.TBLiteRuntimeError, exceptions.TBLiteValueError) as error:
        raise GapError(f"GFN2-xTB failed ({' '.join(str(error).split())[:120]})") from error
    electrons = round(float(result.get("orbital-occupations").sum()))
    return _EV_PER_HARTREE * _gap(np.asarray(result.get("orbital-energies")), electrons)


def _gap(energies: np.ndarray, electrons: int) -> float:
    if electrons % 2 or not 0 < electrons // 2 < len(energies):
        raise GapError(f"{electrons} electrons in {len(energies)} orbitals have no gap")
    low = np.sort(energies)
    return float(low[electrons // 2] - low[electrons // 2 - 1])


@contextlib.contextmanager
def _muted() -> Iterator[None]:
    """YAeHMOP writes to the process's own error stream that bonds to hydrogen are short."""
    sys.stderr.flush()
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _quiet(message: str) -> None:
    """tblite's log; what goes wrong is raised."""
