"""Splits by scaffold: no ring system that is scored on was learned from."""

from __future__ import annotations

import random
from collections.abc import Sequence

from diffrender.errors import InputError, require

__all__ = ["scaffold", "scaffold_split"]

_LARGEST_HELD_OUT = 0.05  # of all molecules; a larger group stays in training


def scaffold(smiles: str) -> str:
    """Canonical SMILES of the rings and what links them (Bemis and Murcko 1996); "" without rings.

    Raises:
        InputError: the SMILES cannot be read.
        MissingExtraError: RDKit is not installed.
    """
    chem = require("rdkit.Chem", "molecules")
    murcko = require("rdkit.Chem.Scaffolds.MurckoScaffold", "molecules")
    logs = require("rdkit.rdBase", "molecules").BlockLogs()
    try:
        mol = chem.MolFromSmiles(smiles)
        if mol is None:
            raise InputError(f"'{smiles[:80]}' cannot be read as SMILES")
        return str(murcko.MurckoScaffoldSmiles(mol=mol, includeChirality=False))
    finally:
        del logs


def scaffold_split(
    scaffolds: Sequence[str], shares: dict[str, float], draw: random.Random
) -> dict[str, list[int]]:
    """Indices of each part: "train", and those that `shares` names, which share no scaffold.

    Groups of one scaffold go whole, in random order, to the first part that is not full yet, then
    to "train"; so do groups of more than 5 % of all (the molecules without rings, as a rule).

    Raises:
        InputError: shares that are not above 0 or leave nothing to train on.
    """
    if any(share <= 0 for share in shares.values()) or sum(shares.values()) >= 1:
        raise InputError(f"shares held out are {shares}, expected above 0 and below 1 together")
    groups: dict[str, list[int]] = {}
    for index, name in enumerate(scaffolds):
        groups.setdefault(name, []).append(index)
    order = list(groups.values())
    draw.shuffle(order)
    parts: dict[str, list[int]] = {name: [] for name in ("train", *shares)}
    for group in order:
        wanting = [
            name
            for name, share in shares.items()
            if len(parts[name]) + len(group) <= share * len(scaffolds)
            and len(group) <= _LARGEST_HELD_OUT * len(scaffolds)
        ]
        parts[wanting[0] if wanting else "train"] += group
    return {name: sorted(indices) for name, indices in parts.items()}
