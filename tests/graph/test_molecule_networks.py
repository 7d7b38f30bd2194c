"""Networks on molecules: files, predictions, ensembles."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.graph import (
    GraphNetwork,
    GraphSettings,
    LabelScale,
    combine_predictions,
)
from diffrender.graph.molecules import (
    MoleculeNetwork,
    feature_set,
    load_molecule_network,
    predict_molecules,
    save_molecule_network,
)

pytest.importorskip("rdkit")

SMALL = GraphSettings(layers=2, node_width=32, edge_width=16, global_width=8, heads=4)


@pytest.mark.parametrize("sparsity", [None, SparsityConfig(0.5, 8)])
def test_networks_on_disk(sparsity: SparsityConfig | None, tmp_path: Path) -> None:
    torch.manual_seed(1)
    settings = dataclasses.replace(SMALL, sparsity=sparsity)
    made = MoleculeNetwork(GraphNetwork(settings), "1", "gap", LabelScale(5.0, 1.2))
    path = save_molecule_network(made, tmp_path / "net.safetensors")
    torch.manual_seed(2)
    read = load_molecule_network(path)
    assert read.net.settings == settings
    assert (read.features, read.label, read.scale) == ("1", "gap", LabelScale(5.0, 1.2))
    smiles = ["CCO", "c1ccccc1"]
    assert predict_molecules(smiles, [read]) == predict_molecules(smiles, [made])
    with pytest.raises(InputError, match="no such file"):
        load_molecule_network(tmp_path / "none.safetensors")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"features": "2"}, "not those of feature set '2'"),
        ({"features": "9"}, "no feature set '9'"),
        ({"scale": {"mean": 0.0, "std": 0.0}}, "mean 0.0 and deviation 0.0"),
        ({"layers": 5000}, "5000 layers"),
        ({"unknown": 1}, "cannot be read"),
        ({"dropouts": {"lost": 1}}, "cannot be read"),
        ({"edge_vocabulary": [4, 4, 4]}, "not those of feature set '1'"),
        ({"edge_inputs": -1}, "edge_inputs is -1, expected a whole number"),
        ({"global_width": float("nan")}, "global_width is nan, expected a whole number"),
    ],
)
def test_networks_that_cannot_be_used(
    tmp_path: Path, change: dict[str, object], message: str
) -> None:
    from safetensors.torch import load_file, save_file

    made = MoleculeNetwork(GraphNetwork(SMALL), "1", "gap", LabelScale(5.0, 1.2))
    path = save_molecule_network(made, tmp_path / "net.safetensors")
    values = {
        "network": dataclasses.asdict(SMALL), "features": "1", "label": "gap",
        "scale": {"mean": 5.0, "std": 1.2},
    }  # fmt: skip
    for name, value in change.items():
        target = values if name in values else values["network"]
        target[name] = value  # type: ignore[index]
    save_file(load_file(path), path, metadata={"diffrender.molecules": json.dumps(values)})
    with pytest.raises(InputError, match=message):
        load_molecule_network(path)


@pytest.mark.parametrize("absent", ["network", "features", "scale", "noise", "sparsity"])
def test_a_configuration_that_lacks_something(tmp_path: Path, absent: str) -> None:
    from safetensors import safe_open
    from safetensors.torch import load_file, save_file

    made = MoleculeNetwork(GraphNetwork(SMALL), "1", "gap", LabelScale(5.0, 1.2))
    path = save_molecule_network(made, tmp_path / "net.safetensors")
    with safe_open(path, "pt") as file:
        values = json.loads(file.metadata()["diffrender.molecules"])
    del (values if absent in values else values["network"])[absent]
    save_file(load_file(path), path, metadata={"diffrender.molecules": json.dumps(values)})
    with pytest.raises(InputError, match=f"configuration cannot be read .*'{absent}'"):
        load_molecule_network(path)


def test_ensembles_are_weighted_means() -> None:
    values = torch.tensor([[1.0, 2.0], [4.0, 2.0]], dtype=torch.float64)
    mean = combine_predictions(values, [1.0, 0.5])
    assert torch.allclose(mean.value, torch.tensor([2.0, 2.0], dtype=torch.float64))
    assert torch.allclose(mean.spread, torch.tensor([2.0**0.5, 0.0], dtype=torch.float64))
    values.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: combine_predictions(v, [1.0, 2.0]).value, values)
    for weights in ([1.0], [1.0, 0.0], [1.0, math.nan]):
        with pytest.raises(InputError, match="weight"):
            combine_predictions(values, weights)


def test_predictions_of_an_ensemble() -> None:
    members = []
    for seed, features in ((0, "1"), (1, "2")):
        torch.manual_seed(seed)
        chosen = feature_set(features)
        settings = dataclasses.replace(
            SMALL, node_vocabulary=chosen.node_vocabulary, edge_vocabulary=chosen.edge_vocabulary
        )
        members.append(MoleculeNetwork(GraphNetwork(settings), features, "gap", LabelScale(5, 1)))
    smiles = ["CCO", "C1CC", "CCN"]
    both = predict_molecules(smiles, members, [1.0, 3.0])
    one, other = (predict_molecules(smiles, [member]) for member in members)
    assert both[1].value is None and "cannot be read" in (both[1].error or "")
    for index in (0, 2):
        first, second = one[index].value, other[index].value
        assert first is not None and second is not None
        assert both[index].value == pytest.approx(0.25 * first + 0.75 * second)
        assert both[index].spread == pytest.approx(abs(first - second) * (3 / 16) ** 0.5)
    assert [p.error is None for p in predict_molecules(["C1CC"], members)] == [False]
    with pytest.raises(InputError, match="0 networks"):
        predict_molecules(smiles, [])
    with pytest.raises(InputError, match="expected one or more of one label"):
        predict_molecules(smiles, [members[0], dataclasses.replace(members[1], label="other")])
