"""Block-sparse layers stand where nn.Linear stood: values, state, copies, compiling, training."""

from __future__ import annotations

import copy
import io
import math

import pytest
import torch
from torch import Tensor, nn

from diffrender.blocksparse import (
    BlockPattern,
    BlockSparseLinear,
    DynamicBlockSparseLinear,
    SparseLinear,
    SparsityConfig,
    linear,
)
from diffrender.errors import InputError

MODES = ("static", "dynamic")


@pytest.fixture(params=MODES)
def config(request: pytest.FixtureRequest) -> SparsityConfig:
    return SparsityConfig(0.5, (4, 8), request.param)


def _layer(config: SparsityConfig, seed: int = 0, bias: bool = True) -> SparseLinear:
    torch.manual_seed(seed)
    layer = linear(16, 12, config, bias)
    assert isinstance(layer, SparseLinear)
    return layer


def _mlp(config: SparsityConfig, seed: int = 0) -> nn.Sequential:
    torch.manual_seed(seed)
    return nn.Sequential(linear(16, 32, config), nn.ReLU(), linear(32, 8, config), nn.Linear(8, 3))


def test_the_helper_makes_what_the_config_says() -> None:
    assert type(linear(16, 12, None)) is nn.Linear
    assert type(linear(16, 12, SparsityConfig(0.5, 4))) is BlockSparseLinear
    assert type(linear(16, 12, SparsityConfig(0.5, 4, "dynamic"))) is DynamicBlockSparseLinear
    assert linear(16, 12, None, bias=False).bias is None
    layer = linear(16, 12, SparsityConfig(0.5, 4), bias=False, dtype=torch.float64)
    assert layer.bias is None and layer.values.dtype == torch.float64


@pytest.mark.parametrize("bias", [True, False])
def test_the_layer_is_a_linear_layer(config: SparsityConfig, bias: bool) -> None:
    layer = _layer(config, bias=bias)
    for shape in ((16,), (5, 16), (2, 3, 16), (0, 16)):
        x = torch.rand(shape)
        expected = nn.functional.linear(x, layer.weight, layer.bias)
        assert torch.allclose(layer(x), expected, atol=1e-6)
        assert layer(x).shape == expected.shape
    assert layer.in_features == 16 and layer.out_features == 12 and layer.density == 0.5


def test_gradients_are_those_of_the_dense_layer(config: SparsityConfig) -> None:
    layer = _layer(config)
    x = torch.rand(5, 16).requires_grad_()
    weight, bias = layer.weight.detach().requires_grad_(), layer.bias.detach().requires_grad_()
    grads = torch.autograd.grad(layer(x).square().sum(), (layer.values, layer.bias, x))
    expected = nn.functional.linear(x, weight, bias).square().sum()
    dense = torch.autograd.grad(expected, (weight, bias, x))
    stored = layer.pattern.current
    assert torch.allclose(grads[0], stored.to_values(dense[0]), atol=1e-5)
    assert torch.allclose(grads[1], dense[1], atol=1e-5)
    assert torch.allclose(grads[2], dense[2], atol=1e-5)


def test_initial_weights_reach_as_far_as_the_inputs_that_are_left() -> None:
    torch.manual_seed(0)
    layer = BlockSparseLinear(1024, 256, SparsityConfig(1 / 16, 16))
    reach = 1 / math.sqrt(1024 / 16)
    assert 0.98 * reach < float(layer.values.detach().abs().max()) <= reach
    assert float(layer.values.detach().std()) == pytest.approx(reach / math.sqrt(3), rel=0.02)
    torch.manual_seed(0)
    again = BlockSparseLinear(1024, 256, SparsityConfig(1 / 16, 16))
    assert torch.equal(layer.weight, again.weight)


def test_memory_is_that_of_the_blocks_stored(config: SparsityConfig) -> None:
    """Within 10 % of values, bias and lists: 4 bytes an entry, 16 a block."""
    layer = linear(512, 256, SparsityConfig(1 / 8, 16, config.mode))
    blocks = 16 * 32 // 8
    needed = 4 * (blocks * 256 + 256) + 4 * (4 * blocks + 17 + 33)
    held = {
        tensor.untyped_storage().data_ptr(): tensor.untyped_storage().nbytes()
        for tensor in (*layer.parameters(), *layer.buffers(), *layer.pattern.index_tensors)
    }
    assert needed <= sum(held.values()) <= 1.1 * needed


def test_state_dicts_bring_their_pattern(config: SparsityConfig) -> None:
    net, other = _mlp(config, 0), _mlp(config, 1)
    stream = io.BytesIO()
    torch.save(net.state_dict(), stream)
    stream.seek(0)
    assert set(net.state_dict()) == {
        *(f"{i}.{n}" for i in (0, 2) for n in ("values", "bias", "row_offsets", "column_indices")),
        "3.weight",
        "3.bias",
    }
    x = torch.rand(5, 16)
    assert not torch.allclose(other(x), net(x))
    other.load_state_dict(torch.load(stream, weights_only=True))
    assert torch.equal(other(x), net(x))


def test_another_density_is_loaded_into_a_static_layer() -> None:
    net = _layer(SparsityConfig(0.5, 4))
    other = _layer(SparsityConfig(0.25, 4), seed=1)
    parameter = other.values
    other.load_state_dict(net.state_dict())
    assert other.values is parameter and torch.equal(other.weight, net.weight)


def test_broken_state_dicts_are_refused(config: SparsityConfig) -> None:
    net = _mlp(config)
    state = net.state_dict()
    broken = {**state, "0.column_indices": state["0.column_indices"] + 100}
    with pytest.raises(RuntimeError, match="the pattern of 0: column indices run from 100"):
        net.load_state_dict(broken)
    del broken["0.column_indices"]
    with pytest.raises(RuntimeError, match=r"Missing key.*0.column_indices"):
        net.load_state_dict(broken)
    with pytest.raises(RuntimeError, match=r"Unexpected key.*0.weight"):
        net.load_state_dict({**state, "0.weight": torch.ones(1)})


def test_too_many_blocks_are_not_loaded_into_a_dynamic_layer() -> None:
    state = _layer(SparsityConfig(0.5, 4)).state_dict()
    small = _layer(SparsityConfig(0.25, 4, "dynamic"))
    with pytest.raises(RuntimeError, match="keeps 6 blocks, 3 more than the 3"):
        small.load_state_dict(state)


def test_copies_are_independent(config: SparsityConfig) -> None:
    net = _mlp(config)
    twin = copy.deepcopy(net)
    x = torch.rand(5, 16)
    before = net(x)
    assert torch.equal(twin(x), before)
    with torch.no_grad():
        twin[0].values.add_(1)
    if config.mode == "dynamic":
        twin[2].set_mask(~twin[2].pattern.current.mask())
    assert torch.equal(net(x), before)
    assert not torch.allclose(twin(x), before)


def test_dtypes_and_devices_move_along(config: SparsityConfig) -> None:
    layer = _layer(config).double()
    assert layer(torch.rand(3, 16, dtype=torch.float64)).dtype == torch.float64
    layer.bfloat16()
    assert layer(torch.rand(3, 16, dtype=torch.bfloat16)).dtype == torch.bfloat16
    late = linear(16, 12, config, device="meta")
    assert late.values.is_meta and late.pattern.device.type == "cpu"
    late.to_empty(device="cpu").reset_parameters()
    assert late(torch.rand(3, 16)).shape == (3, 12)


@pytest.mark.parametrize("backward", [False, True])
def test_torch_compile_takes_the_whole_graph(config: SparsityConfig, backward: bool) -> None:
    net = _mlp(config)
    x = torch.rand(5, 16)
    compiled = torch.compile(net, fullgraph=True, backend="aot_eager")
    if not backward:
        with torch.no_grad():
            assert torch.allclose(compiled(x), net(x), atol=1e-6)
        return
    expected = torch.autograd.grad(net(x).square().sum(), list(net.parameters()))
    found = torch.autograd.grad(compiled(x).square().sum(), list(net.parameters()))
    for one, two in zip(found, expected, strict=True):
        assert torch.allclose(one, two, atol=1e-5)


def test_autocast_answers_in_its_dtype(config: SparsityConfig) -> None:
    net = _mlp(config)
    x = torch.rand(5, 16)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x)
        y.float().sum().backward()
    assert y.dtype == torch.bfloat16
    assert torch.allclose(y.float(), net(x), atol=0.05)
    assert all(p.grad is not None and p.grad.dtype == torch.float32 for p in net.parameters())


@pytest.mark.parametrize("kind", [torch.optim.SGD, torch.optim.AdamW])
def test_optimizers_train_it(config: SparsityConfig, kind: type) -> None:
    net = _mlp(config)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(64, 16, generator=generator)
    target = x[:, :3] * x[:, 3:6]
    optimizer = kind(net.parameters(), lr=0.1 if kind is torch.optim.SGD else 0.01)
    losses = []
    for _ in range(60):
        loss = (net(x) - target).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_functional_call_maps_over_inputs(config: SparsityConfig) -> None:
    layer = _layer(config)
    parameters = {name: p.detach() for name, p in layer.named_parameters()}

    def loss(parameters: dict[str, Tensor], x: Tensor) -> Tensor:
        return torch.func.functional_call(layer, parameters, (x,)).square().sum()

    x = torch.rand(4, 16)
    each = torch.func.vmap(torch.func.grad(loss), (None, 0))(parameters, x)
    total = torch.autograd.grad(layer(x).square().sum(), layer.values)[0]
    assert torch.allclose(each["values"].sum(0), total, atol=1e-5)


def test_features_that_blocks_do_not_divide_are_refused() -> None:
    with pytest.raises(
        InputError, match=r"shape \(10, 16\) is not a multiple .* pad to \(12, 16\)"
    ):
        linear(16, 10, SparsityConfig(0.5, 4))
    pattern = BlockPattern.from_mask(torch.ones(2, 2, dtype=torch.bool), 4)
    with pytest.raises(InputError, match=r"pattern is for a weight of \(8, 8\), expected"):
        BlockSparseLinear(16, 8, SparsityConfig(0.5, 4), pattern=pattern)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"density": 0.0}, r"density is 0.0, expected a number in \(0, 1\]"),
        ({"block_size": 5}, "block_size is 5, expected sides out of"),
        ({"block_size": (4, 4, 4)}, "expected two whole numbers"),
        ({"mode": "random"}, "mode is 'random', expected one of static, dynamic"),
        ({"backend": "cusparse"}, "backend is 'cusparse'"),
    ],
)
def test_settings_that_are_not_offered_are_refused(options: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        SparsityConfig(**options)
