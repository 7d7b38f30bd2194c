"""Whole models become block-sparse and dense again, a ViT and an MLP-Mixer of timm among them."""

from __future__ import annotations

import copy
from collections.abc import Callable

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from diffrender._torchvision import ensure_torchvision
from diffrender.blocksparse import (
    BlockSparseLinear,
    DynamicBlockSparseLinear,
    GradientWatch,
    SparsityConfig,
    dense_copy,
    densify_,
    sparse_copy,
    sparsify_,
)
from diffrender.errors import InputError


def _vit() -> nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        img_size=16, patch_size=8, embed_dim=32, depth=2, num_heads=2, num_classes=10
    )


def _mixer() -> nn.Module:
    from timm.models.mlp_mixer import MlpMixer

    return MlpMixer(
        img_size=16, patch_size=4, embed_dim=32, num_blocks=2, num_classes=10, mlp_ratio=(0.5, 4.0)
    )


@pytest.mark.parametrize("mode", ["static", "dynamic"])
@pytest.mark.parametrize("build", [_vit, _mixer])
def test_timm_models_there_and_back(build: Callable[[], nn.Module], mode: str) -> None:
    ensure_torchvision()
    torch.manual_seed(0)
    model = build().eval()
    nn.init.normal_(model.head.weight)  # timm starts some heads at zero
    images = torch.rand(2, 3, 16, 16)
    before = model(images)
    names = set(model.state_dict())

    done = sparsify_(model, SparsityConfig(1.0, 8, mode))
    assert len(done.converted) == 8  # four linear layers a block
    assert set(done.left) == {"head"} and "pad to (16, 32)" in done.left["head"]
    assert torch.allclose(model(images), before, atol=1e-5)  # nothing was cut
    assert set(densify_(model).converted) == set(done.converted)
    assert set(model.state_dict()) == names
    assert torch.allclose(model(images), before, atol=1e-5)

    sparsify_(model, SparsityConfig(0.5, 8, mode))
    after = model(images)
    assert not torch.allclose(after, before, atol=1e-3)
    model.train()
    model(images).square().sum().backward()
    kind = BlockSparseLinear if mode == "static" else DynamicBlockSparseLinear
    layers = [m for m in model.modules() if isinstance(m, kind)]
    assert len(layers) == 8
    assert all(float(m.values.grad.abs().max()) > 0 for m in layers)
    densify_(model.eval())
    assert torch.allclose(model(images), after, atol=1e-5)


def test_the_strongest_blocks_are_kept() -> None:
    layer = nn.Linear(8, 8)
    with torch.no_grad():
        layer.weight.fill_(0.1)
        layer.weight[:4, 4:] = 3.0
    sparse = sparse_copy(layer, SparsityConfig(0.25, 4))
    assert sparse.pattern.current.mask().tolist() == [[False, True], [False, False]]
    assert torch.equal(sparse.weight[:4, 4:], layer.weight[:4, 4:])
    assert torch.equal(sparse.bias, layer.bias)
    assert float(dense_copy(sparse).weight.detach().sum()) == 48.0


def test_the_predicate_chooses() -> None:
    model = nn.ModuleDict({"a": nn.Linear(8, 8), "b": nn.Linear(8, 8), "c": nn.Linear(8, 6)})
    done = sparsify_(model, SparsityConfig(0.5, 4), lambda name, layer: name == "b")
    assert done.converted == ("b",)
    assert done.left == {"a": "not chosen", "c": "not chosen"}
    with pytest.raises(InputError, match=r"c: shape \(6, 8\) is not a multiple"):
        sparsify_(model, SparsityConfig(0.5, 4), lambda name, layer: True)
    assert type(model["a"]) is nn.Linear  # nothing was changed before the refusal


def test_shared_layers_stay_shared_and_flags_are_kept() -> None:
    shared = nn.Linear(8, 8, bias=False, dtype=torch.float64)
    shared.weight.requires_grad_(False)
    model = nn.ModuleDict({"a": shared, "b": shared, "c": nn.Sequential(shared)}).eval()
    assert sparsify_(model, SparsityConfig(0.5, 4)).converted == ("a",)
    assert model["a"] is model["b"] is model["c"][0]
    layer = model["a"]
    assert isinstance(layer, BlockSparseLinear) and not layer.training and layer.bias is None
    assert layer.values.dtype == torch.float64 and not layer.values.requires_grad
    densify_(model)
    assert model["a"] is model["c"][0] and not model["a"].weight.requires_grad


def test_attention_whose_weight_is_read_past_the_layer_stays() -> None:
    model = nn.Sequential(nn.MultiheadAttention(8, 2))
    done = sparsify_(model, SparsityConfig(0.5, 4))
    assert done.converted == () and "NonDynamically" in done.left["0.out_proj"]


def test_a_bare_layer_is_refused() -> None:
    layer = nn.Linear(8, 8)
    with pytest.raises(InputError, match="use sparse_copy"):
        sparsify_(layer, SparsityConfig(0.5, 4))
    with pytest.raises(InputError, match="use dense_copy"):
        densify_(sparse_copy(layer, SparsityConfig(0.5, 4)))


def test_layers_of_which_a_copy_would_lose_something_stay() -> None:
    tied = nn.Embedding(8, 8)
    head, twin, other = (nn.Linear(8, 8, bias=False) for _ in range(3))
    head.weight, twin.weight = tied.weight, other.weight
    seen, wrapped = nn.Linear(8, 8), nn.Linear(8, 8)
    seen.register_forward_hook(lambda *_: None)
    wrapped.forward = lambda x: x  # type: ignore[method-assign]
    pruned = prune.random_unstructured(nn.Linear(8, 8), "weight", 0.5)
    spectral = nn.utils.parametrizations.spectral_norm(nn.Linear(8, 8))
    layers = {"tied": tied, "head": head, "twin": twin, "other": other, "seen": seen}
    layers |= {"wrapped": wrapped, "pruned": pruned, "spectral": spectral, "plain": nn.Linear(8, 8)}
    model = nn.ModuleDict(layers)
    done = sparsify_(model, SparsityConfig(0.5, 4))
    assert done.converted == ("plain",)
    assert done.left == {
        "head": "its weight is shared with tied.weight",
        "twin": "its weight is shared with other.weight",
        "other": "its weight is shared with twin.weight",
        "seen": "it has hooks, which a new layer would not have",
        "wrapped": "it has hooks, which a new layer would not have",
        "pruned": "its weight is computed at every call (weight_norm, spectral_norm, pruning)",
        "spectral": "it is a ParametrizedLinear",
    }
    assert model["head"] is head and head.weight is tied.weight


def test_models_without_values_are_refused() -> None:
    with torch.device("meta"):
        model = nn.Sequential(nn.Linear(8, 8))
    with pytest.raises(InputError, match="weight is on the meta device"):
        sparsify_(model, SparsityConfig(0.5, 4))
    assert type(model[0]) is nn.Linear


def test_nothing_is_lost_where_layers_become_dense_again() -> None:
    model = nn.Sequential(*(nn.Linear(8, 8) for _ in range(6)))
    sparsify_(model, SparsityConfig(0.5, 4, "dynamic"))
    model[1].register_forward_hook(lambda *_: None)
    prune.identity(model[2], "values")
    model[4].values = model[3].values
    with GradientWatch(model[5]):
        done = densify_(model)
    assert done.converted == ("0",)
    assert {name: reason.split(",")[0] for name, reason in done.left.items()} == {
        "1": "it has hooks",
        "2": "its values is computed at every call (weight_norm",
        "3": "its values is shared with 4.values",
        "4": "its values is shared with 3.values",
        "5": "a GradientWatch looks at it; close that first",
    }
    assert densify_(model).converted == ("5",)


@pytest.mark.parametrize("change", ["buffer", "child", "parameter", "hook", "step", "state"])
def test_a_layer_that_holds_more_than_a_copy_would_is_left(change: str) -> None:
    layer = nn.Linear(32, 32)
    if change == "buffer":
        layer.register_buffer("scale", torch.ones(1))
    elif change == "child":
        layer.adapter = nn.Identity()
    elif change == "parameter":
        layer.gain = nn.Parameter(torch.ones(1))
    elif change == "hook":
        layer.weight.register_hook(lambda grad: grad)
    elif change == "step":
        layer.weight.register_post_accumulate_grad_hook(lambda _: None)
    else:
        layer.register_state_dict_pre_hook(lambda *_: None)
    model = nn.Sequential(layer)
    done = sparsify_(model, SparsityConfig(0.5, 16))
    assert not done.converted
    assert model[0] is layer
    assert "hooks" in done.left["0"] or "beside weight and bias" in done.left["0"]


def test_a_sparse_layer_that_holds_more_is_left_too() -> None:
    model = nn.Sequential(nn.Linear(32, 32))
    sparsify_(model, SparsityConfig(0.5, 16))
    layer = model[0]
    layer.adapter = nn.Identity()
    done = densify_(model)
    assert model[0] is layer
    assert "adapter beside values and bias" in done.left["0"]


def test_nobody_looks_at_a_copy_of_a_watched_layer() -> None:
    model = nn.Sequential(nn.Linear(32, 32))
    sparsify_(model, SparsityConfig(0.5, 16, mode="dynamic"))
    with GradientWatch(model) as watch:
        copied = copy.deepcopy(model)
        copied(torch.rand(2, 32)).sum().backward()
    assert copied[0].watches == ()
    assert not watch.gradients
    densify_(copied)
