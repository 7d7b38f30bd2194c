"""Labels of molecules given as SMILES, by one network or a weighted ensemble."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from diffrender.errors import InputError
from diffrender.graph.batching import batch_graphs
from diffrender.graph.ensemble import combine_predictions
from diffrender.graph.molecules.network_files import MoleculeNetwork
from diffrender.graph.molecules.pcqm4m import MoleculeRow
from diffrender.graph.molecules.pipeline import molecule_graphs

__all__ = ["MoleculePrediction", "predict_molecules"]

_BATCH = 256


@dataclass(frozen=True)
class MoleculePrediction:
    """Attributes:
    smiles: as it was given.
    value: in the label's unit, eV for gaps; None where the molecule cannot be read.
    spread: standard deviation of the ensemble's members.
    error: why there is no value.
    """

    smiles: str
    value: float | None = None
    spread: float | None = None
    error: str | None = None


def predict_molecules(
    smiles: Sequence[str],
    members: Sequence[MoleculeNetwork],
    weights: Sequence[float] | None = None,
) -> list[MoleculePrediction]:
    """A prediction for each SMILES, in order; one that cannot be read says why, the rest goes on.

    3D is not asked for: networks that learned from it have learned to do without.

    Args:
        weights: of the members; equal if left out.

    Raises:
        InputError: no members, members of different labels, or weights that do not fit.
        MissingExtraError: RDKit is not installed.
    """
    if not members or len({member.label for member in members}) > 1:
        raise InputError(
            f"{len(members)} networks that predict "
            f"{', '.join(sorted({m.label for m in members})) or 'nothing'}, expected one or more "
            "of one label"
        )
    rows = [MoleculeRow(index, text, None, None) for index, text in enumerate(smiles)]
    found = [_predict(rows, member) for member in members]
    errors = found[0][1]
    good = [row.index for row in rows if row.index not in errors]
    values = torch.stack(
        [torch.stack([one[i] for i in good]) if good else torch.zeros(0) for one, _ in found]
    )
    together = combine_predictions(values.double(), list(weights or [1.0] * len(members)))
    place = {index: number for number, index in enumerate(good)}
    return [
        MoleculePrediction(text, error=errors[index])
        if index in errors
        else MoleculePrediction(
            text, float(together.value[place[index]]), float(together.spread[place[index]])
        )
        for index, text in enumerate(smiles)
    ]  # fmt: skip


def _predict(
    rows: list[MoleculeRow], member: MoleculeNetwork
) -> tuple[dict[int, torch.Tensor], dict[int, str]]:
    """Values and errors by row."""
    items, failures = molecule_graphs(rows, member.features)
    values: dict[int, torch.Tensor] = {}
    with torch.no_grad():
        for start in range(0, len(items), _BATCH):
            some = items[start : start + _BATCH]
            batch = batch_graphs([graph for _, graph, _ in some], [code for _, _, code in some])
            output = member.net(batch).prediction.double() * member.scale.std + member.scale.mean
            values |= {row: value for (row, _, _), value in zip(some, output, strict=True)}
    return values, {failure.row: failure.reason for failure in failures}
