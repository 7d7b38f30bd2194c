"""The DPT network over several timm backbones, its file, and the focal length."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import diffrender.depth.dpt as dpt
from diffrender.blocksparse import SparsityConfig
from diffrender.blocksparse.layers import SparseLinear
from diffrender.depth import DptConfig, DptNet, create_depth, load_dpt, save_dpt
from diffrender.errors import InputError

SMALL = DptConfig(backbone="test_resnet", size=(64, 96), channels=8)


@pytest.fixture(scope="module")
def net() -> DptNet:
    torch.manual_seed(0)
    return DptNet(SMALL).eval()


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (70, 110, 3), dtype=np.uint8)


@pytest.mark.parametrize(
    ("backbone", "output", "size"),
    [
        ("test_resnet", "metric", (64, 128)),
        ("test_convnext", "affine_inverse", (64, 128)),
        ("test_vit", "metric", (64, 128)),
        ("mobilenetv3_small_050", "affine_inverse", (64, 128)),
    ],
)
def test_any_backbone_with_feature_maps(
    backbone: str, output: Literal["metric", "affine_inverse"], size: tuple[int, int]
) -> None:
    config = DptConfig(backbone=backbone, output=output, size=size, channels=8)
    torch.manual_seed(0)  # one in hundreds of drawn heads has no unit that is on
    model = DptNet(config).eval()
    picture = torch.rand(1, 3, *size, generator=torch.Generator().manual_seed(0))
    values = model(picture)
    assert values.shape == (1, 1, size[0] // 2, size[1] // 2)
    assert torch.isfinite(values).all()
    assert values.min() > 0
    assert values.std() > 0
    values.mean().backward()
    assert all(p.grad is not None for p in model.reassemble.parameters())


def test_plain_transformer_uses_four_maps_as_a_pyramid() -> None:
    model = DptNet(DptConfig(backbone="test_vit", size=(64, 96), channels=8))
    assert model.strides == [4, 8, 16, 32]


def test_maps_with_channels_last_are_turned(monkeypatch: pytest.MonkeyPatch) -> None:
    """Swin and its kin return (B, H, W, C)."""
    config = DptConfig(backbone="test_convnext", size=(64, 96), channels=8)
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    expected = DptNet(config).eval()(picture)
    make = dpt.feature_backbone

    def turned(name: str, size: tuple[int, int]) -> torch.nn.Module:
        backbone = make(name, size)
        backbone.register_forward_hook(lambda *call: [f.permute(0, 2, 3, 1) for f in call[2]])
        return backbone

    monkeypatch.setattr(dpt, "feature_backbone", turned)
    torch.manual_seed(0)
    assert torch.equal(DptNet(config).eval()(picture), expected)


def test_feature_info_is_verified(monkeypatch: pytest.MonkeyPatch) -> None:
    make = dpt.feature_backbone

    def lying(name: str, size: tuple[int, int]) -> object:
        backbone = make(name, size)
        backbone.feature_info.channels = lambda: [3, 8, 12, 16, 20]
        return backbone

    monkeypatch.setattr(dpt, "feature_backbone", lying)
    with pytest.raises(InputError, match="its feature_info"):
        DptNet(SMALL)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"backbone": "no_such_net"}, "has no .*no_such_net"),
        ({"backbone": "../x"}, r"DptConfig.backbone is '../x'"),
        ({"size": (60, 96)}, r"DptConfig.size is \(60, 96\)"),
        ({"depth_range": (2.0, 1.0)}, "DptConfig.depth_range"),
        ({"output": "disparity"}, "DptConfig.output"),
        ({"std": (0.0, 1.0, 1.0)}, "DptConfig.std"),
        ({"sparsity": 0.5}, "DptConfig.sparsity is 0.5"),
        ({"sparsity": SparsityConfig()}, "no layer of the backbone 'test_resnet'.*no linear layer"),
    ],
)
def test_bad_configurations(change: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        DptNet(dataclasses.replace(SMALL, **change))


def test_file_round_trip(net: DptNet, tmp_path: Path) -> None:
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = net(picture)
        exact = load_dpt(save_dpt(net, tmp_path / "full.safetensors"))
        half = load_dpt(save_dpt(net, tmp_path / "half.safetensors", half=True))
        assert torch.equal(exact(picture), before)
        assert exact.config == SMALL
        torch.testing.assert_close(half(picture), before, rtol=2e-2, atol=0)
    sizes = [(tmp_path / f"{name}.safetensors").stat().st_size for name in ("full", "half")]
    assert sizes[1] < 0.6 * sizes[0]
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full.safetensors", "half.safetensors"]


@pytest.mark.parametrize("mode", ["static", "dynamic"])
def test_a_transformer_with_block_sparse_layers(mode: str, tmp_path: Path) -> None:
    sparsity = SparsityConfig(0.25, (16, 4), mode, "torch")
    config = DptConfig(backbone="test_vit", size=(64, 96), channels=8, sparsity=sparsity)
    torch.manual_seed(0)
    net = DptNet(config).eval()
    layers = {n: m for n, m in net.named_modules() if isinstance(m, SparseLinear)}
    # Attention's two and the MLP's two in each block; the head has no linear layer.
    assert len(layers) == 4 * len(net.backbone.model.blocks)
    assert {m.density for m in layers.values()} == {0.25}
    picture = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    values = net(picture)
    values.mean().backward()
    assert all(m.values.grad is not None and m.values.grad.any() for m in layers.values())
    if mode == "dynamic":
        layer = next(iter(layers.values()))
        mask = layer.pattern.current.mask()
        mask[0] = False
        layer.set_mask(mask)
        values = net(picture)
    again = load_dpt(save_dpt(net, tmp_path / "net.safetensors"))
    assert again.config == dataclasses.replace(
        config, sparsity=dataclasses.replace(sparsity, backend=None)
    )
    torch.testing.assert_close(again(picture), values.detach())


def test_a_broken_mask_in_a_file_is_refused(tmp_path: Path) -> None:
    config = DptConfig(
        backbone="test_vit", size=(64, 96), channels=8, sparsity=SparsityConfig(0.25, 16)
    )
    path = save_dpt(DptNet(config), tmp_path / "net.safetensors")
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    name = next(n for n in tensors if n.endswith("column_indices"))
    tensors[name][0] = 10_000
    save_file(tensors, path, metadata)
    with pytest.raises(InputError, match="the weights cannot be used.*column indices run"):
        load_dpt(path)


def test_convention_metric_depth_grows_with_the_focal_length(
    net: DptNet, image: np.ndarray, tmp_path: Path
) -> None:
    path = save_dpt(net, tmp_path / "net.safetensors")
    model = create_depth("dpt-timm", path)
    near, far = model.predict(image, focal=100.0), model.predict(image, focal=200.0)
    assert near.kind == far.kind == "metric"
    np.testing.assert_allclose(far.values, 2 * near.values, rtol=1e-6)
    free = model.predict(image)
    assert free.kind == "relative_depth"
    ratio = near.values / free.values
    np.testing.assert_allclose(ratio, ratio.mean(), rtol=1e-5)
    # In metres as they are where the input's focal length is the reference's.
    own = SMALL.reference_focal * image.shape[1] / 96
    np.testing.assert_allclose(model.predict(image, own).values, free.values, rtol=1e-5)


def test_convention_metric_depth_grows_with_the_height_of_the_camera(
    image: np.ndarray, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    config = dataclasses.replace(SMALL, reference_height=1.5)
    model = create_depth("dpt-timm", save_dpt(DptNet(config), tmp_path / "told.safetensors"))
    low, high = model.predict(image, 100.0, 1.5), model.predict(image, 100.0, 3.0)
    np.testing.assert_allclose(high.values, 2 * low.values, rtol=1e-6)
    usual = model.predict(image, 100.0).values  # KITTI's
    np.testing.assert_allclose(usual, low.values * 1.65 / 1.5, rtol=1e-6)
    own = SMALL.reference_focal * image.shape[1] / 96
    free = model.predict(image, camera_height=7.0)
    assert free.kind == "relative_depth"
    np.testing.assert_allclose(model.predict(image, own, 1.5).values, free.values, rtol=1e-5)


def test_a_network_that_was_not_told_heights_takes_them_alike(
    net: DptNet, image: np.ndarray, tmp_path: Path
) -> None:
    model = create_depth("dpt-timm", save_dpt(net, tmp_path / "net.safetensors"))
    low, high = model.predict(image, 100.0, 1.2), model.predict(image, 100.0, 2.4)
    np.testing.assert_array_equal(low.values, high.values)


def test_a_height_that_is_an_input_changes_what_it_was_learned_to(
    net: DptNet, image: np.ndarray, tmp_path: Path
) -> None:
    told = DptNet(dataclasses.replace(SMALL, height_input=True)).eval()
    told.load_state_dict(told.state_dict() | net.state_dict())
    x = torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():  # nothing was learned yet
        torch.testing.assert_close(told(x, torch.tensor([1.0, 2.6])), net.eval()(x))
        draw = torch.Generator().manual_seed(1)
        for layer in told.told:
            layer.weight.copy_(0.3 * torch.randn(layer.weight.shape, generator=draw))
    model = create_depth("dpt-timm", save_dpt(told, tmp_path / "told.safetensors"))
    assert model.net.config.height_input
    low, usual, high = (model.predict(image, 100.0, h).values for h in (1.0, 1.65, 2.6))
    assert not np.allclose(low / high, np.mean(low / high), rtol=0.01)  # no factor alone
    np.testing.assert_array_equal(model.predict(image, 100.0).values, usual)
    height = torch.tensor([1.2, 1.8], requires_grad=True)
    told(x, height).log().mean().backward()
    assert height.grad is not None
    assert bool((height.grad.abs() > 0).all())


def test_values_mirror_with_the_image(net: DptNet, image: np.ndarray, tmp_path: Path) -> None:
    model = create_depth("dpt-timm", save_dpt(net, tmp_path / "net.safetensors"))
    mirrored = model.predict(np.ascontiguousarray(image[:, ::-1])).values[:, ::-1]
    np.testing.assert_allclose(model.predict(image).values, mirrored, rtol=1e-4)


def test_unfit_files_are_refused(net: DptNet, tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    save_dpt(net, path)
    tensors = load_file(path)
    key = "diffrender.dpt"
    config = json.dumps(dataclasses.asdict(SMALL))

    def refuses(message: str, metadata: dict[str, str] | None, **changed: torch.Tensor) -> None:
        save_file(tensors | changed, tmp_path / "bad.safetensors", metadata=metadata)
        with pytest.raises(InputError, match=message):
            load_dpt(tmp_path / "bad.safetensors")

    refuses("holds no 'diffrender.dpt'", None)
    refuses("configuration cannot be read", {key: "{"})
    refuses("configuration cannot be read", {key: '{"colour": 1}'})
    refuses("1 unknown", {key: config}, extra=torch.zeros(1))
    name = "readout.2.bias"
    refuses(f"'{name}' has shape", {key: config}, **{name: torch.zeros(2)})
    refuses(f"'{name}' holds NaN", {key: config}, **{name: torch.full((1,), torch.nan)})
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 40)
    with pytest.raises(InputError, match="not a safetensors file"):
        load_dpt(tmp_path / "bad.safetensors")
    with pytest.raises(InputError, match="no such file"):
        create_depth("dpt-timm", tmp_path / "absent.safetensors")
