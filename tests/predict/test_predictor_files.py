"""Network and weight files: shapes, sparse heads, and files that are not what they should be."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from predict_cases import TINY, some

from diffrender.blocksparse import SparsityConfig
from diffrender.blocksparse.layers import SparseLinear
from diffrender.errors import InputError
from diffrender.predict import (
    PredictorConfig,
    PredictorNet,
    load_predictor,
    network_inputs,
    save_predictor,
    shipped_predictor,
)
from diffrender.predict.files import config_text
from diffrender.predict.network import output_sizes
from diffrender.shape_priors import load_prior

SPARSE = dataclasses.replace(TINY, sparsity=SparsityConfig(0.5, 16, mode="dynamic"))


def test_every_object_gets_its_numbers() -> None:
    net = PredictorNet(TINY).eval()
    inputs = network_inputs(some())
    raw = net.see(inputs)
    assert raw.shape == (4, sum(output_sizes(TINY).values()))
    assert output_sizes(TINY)["own"] == 4 * (2 + 2 + 3 + 8)
    # Objects do not see each other.
    one = network_inputs(some()[torch.tensor([2])])
    torch.testing.assert_close(net.see(one), raw[2:3], atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("config", [TINY, SPARSE], ids=["dense", "sparse"])
def test_saved_and_loaded(tmp_path: Path, config: PredictorConfig) -> None:
    torch.manual_seed(3)
    net = PredictorNet(config).eval()
    heads = [m for m in (net.first, net.second, net.last) if isinstance(m, SparseLinear)]
    assert len(heads) == (0 if config.sparsity is None else 3)
    file = save_predictor(net, tmp_path / "p.safetensors")
    back = load_predictor(file)
    assert back.config == config
    assert not any(p.requires_grad for p in back.parameters())
    inputs = network_inputs(some())
    assert torch.equal(back.see(inputs), net.see(inputs))
    small = save_predictor(net, tmp_path / "half.safetensors", half=True)
    assert small.stat().st_size < 0.7 * file.stat().st_size
    torch.testing.assert_close(
        load_predictor(small).see(inputs), net.see(inputs), atol=2e-2, rtol=2e-2
    )


def test_a_file_that_names_no_prior_is_of_the_shipped_car(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    config = dataclasses.replace(TINY, prior="0123456789abcdef")
    file = save_predictor(PredictorNet(config), tmp_path / "p.safetensors")
    assert load_predictor(file).config.prior == "0123456789abcdef"
    values = json.loads(config_text(config))
    del values["prior"]
    older = tmp_path / "older.safetensors"
    save_file(load_file(file), older, {"diffrender.predictor": json.dumps(values)})
    assert load_predictor(older).config.prior == load_prior("car").digest()
    assert load_predictor(shipped_predictor()).config.prior == load_prior("car").digest()


def test_what_is_no_predictor_is_refused(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    with pytest.raises(InputError, match="no such file"):
        load_predictor(tmp_path / "absent.safetensors")
    text = tmp_path / "text.safetensors"
    text.write_text("hello")
    with pytest.raises(InputError, match="not a safetensors file"):
        load_predictor(text)
    other = tmp_path / "other.safetensors"
    save_file({"a": torch.zeros(1)}, other)
    with pytest.raises(InputError, match=r"holds no 'diffrender.predictor'"):
        load_predictor(other)

    good = save_predictor(PredictorNet(TINY), tmp_path / "good.safetensors")
    tensors = load_file(good)

    def write(changed: dict[str, torch.Tensor], config: str) -> Path:
        path = tmp_path / "bad.safetensors"
        save_file(changed, path, {"diffrender.predictor": config})
        return path

    plain = config_text(TINY)
    with pytest.raises(InputError, match="configuration cannot be read"):
        load_predictor(write(tensors, "[1]"))
    with pytest.raises(InputError, match="configuration cannot be read"):
        load_predictor(write(tensors, plain.replace('"hidden": 32', '"hidden": 1e9')))
    less = {n: t for n, t in tensors.items() if n != "last.bias"}
    with pytest.raises(InputError, match=r"1 missing \(last.bias\)"):
        load_predictor(write(less, plain))
    with pytest.raises(InputError, match="'last.bias' has shape"):
        load_predictor(write(tensors | {"last.bias": torch.zeros(3)}, plain))
    broken = tensors["last.bias"].clone()
    broken[0] = float("nan")
    with pytest.raises(InputError, match="NaN"):
        load_predictor(write(tensors | {"last.bias": broken}, plain))


def test_configurations_that_cannot_be() -> None:
    with pytest.raises(InputError, match="PredictorConfig.size is 40"):
        PredictorConfig(size=40)
    with pytest.raises(InputError, match="PredictorConfig.prior is 'car'"):
        PredictorConfig(prior="car")
    with pytest.raises(InputError, match="PredictorConfig.backbone"):
        PredictorConfig(backbone="hf-hub:someone/thing")
    with pytest.raises(InputError, match="no_such_model"):
        PredictorNet(dataclasses.replace(TINY, backbone="no_such_model"))
    with pytest.raises(InputError, match="strides"):
        PredictorNet(dataclasses.replace(TINY, backbone="test_vit"))
    with pytest.raises(InputError, match="multiples of the block"):
        PredictorNet(dataclasses.replace(TINY, sparsity=SparsityConfig(0.5, 64)))
