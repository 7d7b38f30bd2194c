"""A dense prediction head over any timm backbone.

Ranftl, Bochkovskiy, Koltun, "Vision Transformers for Dense Prediction", ICCV 2021, section 3:
reassemble feature maps at several strides, fuse them from coarse to fine with residual units,
read values out. The reassembly here resizes bilinearly, and the convolutions may be separable.
What is told beside the picture scales and shifts the fused maps: Perez et al., "FiLM: Visual
Reasoning with a General Conditioning Layer", AAAI 2018, section 2.
"""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffrender._backbones import timm_with
from diffrender.errors import InputError

__all__ = ["DenseNet", "DenseShape", "feature_backbone"]


@dataclass(frozen=True)
class DenseShape:
    """What the head is built by.

    Attributes:
        backbone: timm model name, for messages.
        size: (height, width) of the input, multiples of 32.
        channels: width of the fused feature maps.
        separable: depthwise separable convolutions in the head.
        outputs: channels that are read out.
        mean, std: of the input, per channel of RGB in [0, 1].
        told: numbers that are told beside the picture.
    """

    backbone: str
    size: tuple[int, int]
    channels: int
    separable: bool
    outputs: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    told: int = 0


class _Residual(nn.Module):
    def __init__(self, channels: int, separable: bool) -> None:
        super().__init__()
        self.first = _convolution(channels, channels, separable)
        self.second = _convolution(channels, channels, separable)

    def forward(self, x: Tensor) -> Tensor:
        inner: Tensor = self.second(functional.relu(self.first(functional.relu(x))))
        return x + inner


class DenseNet(nn.Module):
    """(B, 3, H, W) RGB in [0, 1], sides multiples of 32, to (B, outputs, H/2, W/2) raw values.

    Raises:
        InputError: the backbone has no feature maps, or what it returns is not what its
            `feature_info` announces.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: Any, shape: DenseShape) -> None:
        super().__init__()
        self.backbone = backbone
        info = self.backbone.feature_info
        channels, reductions = list(info.channels()), list(info.reduction())
        _check_features(self.backbone, shape, channels, reductions)
        # Finer than stride 4 costs most of the time and a stride-2 map shows little of an object.
        kept = [i for i, r in enumerate(reductions) if r >= 4] or list(range(len(channels)))
        self.kept = kept[-4:]
        self.strides = _target_strides([reductions[i] for i in self.kept])
        width, separable = shape.channels, shape.separable
        self.reassemble = nn.ModuleList(nn.Conv2d(channels[i], width, 1) for i in self.kept)
        self.lateral = nn.ModuleList(_Residual(width, separable) for _ in self.kept)
        self.fuse = nn.ModuleList(_Residual(width, separable) for _ in self.kept)
        self.project = nn.ModuleList(nn.Conv2d(width, width, 1) for _ in self.kept)
        self.readout = nn.Sequential(
            _convolution(width, width // 2, separable),
            nn.ReLU(),
            nn.Conv2d(width // 2, shape.outputs, 3, padding=1),
        )
        self.told = nn.ModuleList(_zeros(shape.told, 2 * width) for _ in self.kept if shape.told)
        self.channels = channels
        self.register_buffer("mean", torch.tensor(shape.mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(shape.std).view(1, 3, 1, 1), persistent=False)

    def raw(
        self,
        image: Tensor,  # (B, 3, H, W)
        told: Tensor | None = None,  # (B, T)
    ) -> Tensor:
        """What is read out, (B, outputs, H/2, W/2), in float32 under autocast too."""
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
            x = self.fuse[place](x)
            if told is not None:
                scale, shift = self.told[place](told)[:, :, None, None].chunk(2, dim=1)
                x = x * (1 + scale) + shift
            x = self.project[place](x)
        assert x is not None  # _check_features refused a backbone without maps
        x = self.readout[:-1](_resize(x, (height // 2, width // 2)))
        with torch.autocast(x.device.type, enabled=False):  # steps of bfloat16 would show
            found: Tensor = self.readout[-1](x.float())
        return found


def _convolution(inputs: int, outputs: int, separable: bool) -> nn.Module:
    if not separable:
        return nn.Conv2d(inputs, outputs, 3, padding=1)
    return nn.Sequential(
        nn.Conv2d(inputs, inputs, 3, padding=1, groups=inputs, bias=False),
        nn.Conv2d(inputs, outputs, 1),
    )


def _zeros(inputs: int, outputs: int) -> nn.Linear:
    """What is told through it changes nothing until it is learned."""
    layer = nn.Linear(inputs, outputs)
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


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


def feature_backbone(name: str, size: tuple[int, int]) -> Any:
    """timm's model of that name with random weights, giving its feature maps.

    Raises:
        InputError: timm does not know it, or it has no feature maps.
    """
    timm = timm_with(name)
    attempts: list[dict[str, Any]] = [{"img_size": size}, {}]
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


def _blocks(timm: Any, name: str) -> int:
    """Number of blocks of a plain transformer (four of its maps are used), 0 for a pyramid."""
    with torch.device("meta"):
        probe = timm.create_model(name, pretrained=False, features_only=True)
    if len(set(probe.feature_info.reduction())) > 1:
        return 0
    last = getattr(probe.feature_info, "out_indices", None)
    return max(last) + 1 if last and max(last) >= 3 else 0


def _check_features(
    backbone: nn.Module, shape: DenseShape, channels: list[int], reductions: list[int]
) -> None:
    height, width = shape.size
    was_training = backbone.training
    with torch.no_grad():
        features = backbone.eval()(torch.zeros(1, 3, height, width))
    backbone.train(was_training)
    if not features or len(features) != len(channels):
        raise InputError(
            f"the backbone '{shape.backbone}' gave {len(features)} feature maps, its feature_info "
            f"announces {len(channels)}"
        )
    for k, feature in enumerate(features):
        got = tuple(_channels_first(feature, channels[k]).shape)
        want = (1, channels[k], height // reductions[k], width // reductions[k])
        if got != want:
            raise InputError(
                f"feature map {k} of '{shape.backbone}' has shape {got}, its feature_info says "
                f"{want}; choose another backbone"
            )
