"""A dense prediction head over any timm backbone.

Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021, section 3:
reassemble feature maps at several strides, fuse them from coarse to fine with residual units,
read depth out. The reassembly here resizes bilinearly, and the convolutions may be separable.
"""

from __future__ import annotations

import math
import re
import warnings
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffrender._backbones import timm_with
from diffrender.blocksparse import SparsityConfig, sparsify_
from diffrender.errors import InputError

__all__ = ["DptConfig", "DptNet"]


@dataclass(frozen=True)
class DptConfig:
    """Everything that is needed to build the network again; saved beside the weights.

    Attributes:
        backbone: timm model name, built without pretrained weights.
        output: "metric": depth z in metres as a camera of `reference_focal` would see it;
            "affine_inverse": inverse depth up to scale and shift.
        size: (height, width) of the input that the network was trained at, multiples of 32.
        channels: width of the fused feature maps.
        separable: depthwise separable convolutions in the head.
        reference_focal: focal length in pixels of the network's input for which "metric" is in
            metres; a camera of focal f sees z = values * f / reference_focal.
        depth_range: nearest and farthest depth that "metric" can express, metres.
        mean, std: of the input, per channel of RGB in [0, 1].
        sparsity: of the backbone's linear layers (a transformer's attention and MLPs) whose
            features are multiples of the block size; None for dense ones.
    """

    backbone: str = "mobilenetv4_conv_small"
    output: Literal["metric", "affine_inverse"] = "metric"
    size: tuple[int, int] = (128, 416)
    channels: int = 48
    separable: bool = True
    reference_focal: float = 240.0
    depth_range: tuple[float, float] = (1.0, 120.0)
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    sparsity: SparsityConfig | None = None

    def __post_init__(self) -> None:
        height, width = self.size
        near, far = self.depth_range
        checks = {
            "backbone": re.fullmatch(r"[\w.-]+", str(self.backbone)) is not None,
            "output": self.output in ("metric", "affine_inverse"),
            "size": all(32 <= s <= 4096 and s % 32 == 0 for s in (height, width)),
            "channels": 4 <= self.channels <= 1024,
            "reference_focal": math.isfinite(self.reference_focal) and self.reference_focal > 0,
            "depth_range": 0 < near < far < math.inf,
            "mean": len(self.mean) == 3 and all(math.isfinite(v) for v in self.mean),
            "std": len(self.std) == 3 and all(math.isfinite(v) and v > 0 for v in self.std),
            "sparsity": self.sparsity is None or isinstance(self.sparsity, SparsityConfig),
        }
        for name, fits in checks.items():
            if not fits:
                raise InputError(
                    f"DptConfig.{name} is {getattr(self, name)!r}; see the class for what it may be"
                )


class _Residual(nn.Module):
    def __init__(self, channels: int, separable: bool) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, separable)
        self.second = _convolution(channels, channels, separable)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(functional.relu(self.first(functional.relu(x))))
        return x + inner


class DptNet(nn.Module):
    """(B, 3, H, W) RGB in [0, 1], sides multiples of 32, to (B, 1, H/2, W/2).

    The values are what `DptConfig.output` says: depth at the reference focal length, or inverse
    depth, both positive. Differentiable to the parameters and the image.

    Raises:
        InputError: timm does not know the backbone, it has no feature maps, what it returns
            is not what its `feature_info` announces, or it has no linear layer to make sparse.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, config: DptConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _make_backbone(config)
        _sparsify(self.backbone, config)
        info = self.backbone.feature_info
        channels, reductions = list(info.channels()), list(info.reduction())
        _check_features(self.backbone, config, channels, reductions)
        # Finer than stride 4 costs most of the time and a stride-2 map shows little of depth.
        kept = [i for i, r in enumerate(reductions) if r >= 4] or list(range(len(channels)))
        self.kept = kept[-4:]
        self.strides = _target_strides([reductions[i] for i in self.kept])
        width, separable = config.channels, config.separable
        self.reassemble = nn.ModuleList(nn.Conv2d(channels[i], width, 1) for i in self.kept)
        self.lateral = nn.ModuleList(_Residual(width, separable) for _ in self.kept)
        self.fuse = nn.ModuleList(_Residual(width, separable) for _ in self.kept)
        self.project = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in self.kept)
        self.readout = nn.Sequential(
            _convolution(width, width // 2, separable),
            nn.ReLU(),
            nn.Conv2d(width // 2, 1, 3, padding=1),
        )
        self.channels = channels
        self.register_buffer("mean", torch.tensor(config.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(config.std).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:  # (B, 3, H, W)
        height, width = image.shape[-2:]
        features = self.backbone((image - self.mean) / self.std)
        x: Tensor | None = None
        for place in reversed(range(len(self.kept))):
            index, stride = self.kept[place], self.strides[place]
            feature = _channels_first(features[index], self.channels[index])
            feature = self.reassemble[place](feature)
            target = (height // stride, width // stride)
            feature = self.lateral[place](_resize(feature, target))
            x = feature if x is None else _resize(x, target) + feature
            x = self.project[place](self.fuse[place](x))
        assert x is not None  # _check_features refused a backbone without maps
        x = self.readout[:-1](_resize(x, (height // 2, width // 2)))
        with torch.autocast(x.device.type, enabled=False):  # bfloat16 steps would show in depth
            return self._to_values(self.readout[-1](x.float()))

    def _to_values(self, raw: Tensor) -> Tensor:  # (B, 1, h, w)
        if self.config.output == "affine_inverse":
            return functional.softplus(raw)
        near, far = self.config.depth_range
        # Log depth is what the loss compares, so equal steps of it should be equally easy to say.
        return near * torch.exp(torch.sigmoid(raw) * math.log(far / near))


def _convolution(inputs: int, outputs: int, separable: bool) -> nn.Module:
    if not separable:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1),
    )


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    if x.shape[-2:] == size:
        return x
    return functional.interpolate(x, size, mode="bilinear", align_corners=False)


def _channels_first(feature: Tensor, channels: int) -> Tensor:
    if feature.shape[1] != channels and feature.shape[-1] == channels:
        return feature.permute(0, 3, 1, 2)  # Swin and its kin return (B, H, W, C)
    return feature


def _target_strides(reductions: list[int]) -> list[int]:
    """A plain ViT has one stride for all its maps; DPT spreads them as a pyramid."""
    if len(set(reductions)) == len(reductions):
        return reductions
    return [4 * 2**place for place in range(len(reductions))]


def _make_backbone(config: DptConfig) -> Any:
    name = config.backbone
    timm = timm_with(name)
    attempts: list[dict[str, Any]] = [{"img_size": config.size}, {}]
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # renamed models say so at every creation
            depth = _blocks(timm, name)
            if depth:
                spread = tuple((depth * (k + 1)) // 4 - 1 for k in range(4))
                attempts = [a | {"out_indices": spread} for a in attempts]
            for arguments in attempts:
                try:
                    return timm.create_model(
                        name, pretrained=False, features_only=True, **arguments
                    )
                except TypeError as error:  # only transformers take an image size
                    if "img_size" not in str(error):
                        raise
    except (RuntimeError, AttributeError, NotImplementedError, TypeError, ValueError) as error:
        raise InputError(f"the backbone '{name}' offers no feature maps: {error}") from error
    raise InputError(f"the backbone '{name}' could not be created with features_only=True")


def _sparsify(backbone: nn.Module, config: DptConfig) -> None:
    if config.sparsity is None:
        return
    done = sparsify_(backbone, config.sparsity)
    if not done.converted:
        reasons = sorted(set(done.left.values())) or ["it has no linear layer"]
        raise InputError(
            f"no layer of the backbone '{config.backbone}' can be block-sparse: "
            f"{'; '.join(reasons)}; choose a transformer such as vit_small_patch16_224, a smaller "
            f"block size, or sparsity=None"
        )


def _blocks(timm: Any, name: str) -> int:
    """Number of blocks of a plain transformer (four of its maps are used), 0 for a pyramid."""
    with torch.device("meta"):
        probe = timm.create_model(name, pretrained=False, features_only=True)
    if len(set(probe.feature_info.reduction())) > 1:
        return 0
    last = getattr(probe.feature_info, "out_indices", None)
    return max(last) + 1 if last and max(last) >= 3 else 0


def _check_features(
    backbone: nn.Module, config: DptConfig, channels: list[int], reductions: list[int]
) -> None:
    height, width = config.size
    was_training = backbone.training
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, height, width))
    backbone.train(was_training)
    if not features or len(features) != len(channels):
        raise InputError(
            f"the backbone '{config.backbone}' gave {len(features)} feature maps, its feature_info "
            f"announces {len(channels)}"
        )
    for k, feature in enumerate(features):
        got = tuple(_channels_first(feature, channels[k]).shape)
        want = (1, channels[k], height // reductions[k], width // reductions[k])
        if got != want:
            raise InputError(
                f"feature map {k} of '{config.backbone}' has shape {got}, its feature_info says "
                f"{want}; choose another backbone"
            )
