"""A depth network: a dense prediction head over any timm backbone, `diffrender._dense`."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional

from diffrender._dense import DenseNet, DenseShape, feature_backbone
from diffrender.blocksparse import SparsityConfig, sparsify_
from diffrender.errors import InputError
from diffrender.road import CAMERA_HEIGHT

__all__ = ["DptConfig", "DptNet"]

_HEIGHTS = 4.0  # of log height: from a car's to a lorry's is then about -2 to 2


@dataclass(frozen=True)
class DptConfig:
    """Everything that is needed to build the network again; saved beside the weights.

    Attributes:
        backbone: timm model name, built without pretrained weights.
        output: "metric": depth z in metres as a camera of `reference_focal`, at `reference_height`,
            would see it; "affine_inverse": inverse depth up to scale and shift.
        size: (height, width) of the input that the network was trained at, multiples of 32.
        channels: width of the fused feature maps.
        separable: depthwise separable convolutions in the head.
        reference_focal: focal length in pixels of the network's input for which "metric" is in
            metres; a camera of focal f sees z = values * f / reference_focal.
        reference_height: metres above the road of the camera for which "metric" is in metres; a
            camera at h sees z = values * h / reference_height, for a street is as large as the
            height says: all its depths in heights are in the picture. None: of a network that was
            not told heights, or is told them as an input.
        height_input: the network is told the camera's height beside the picture, and may use it
            for what stands on the road or leave it for what has a size that it knows.
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
    reference_height: float | None = None
    height_input: bool = False
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
            "reference_focal": _positive(self.reference_focal),
            "reference_height": self.reference_height is None or _positive(self.reference_height),
            "height_input": isinstance(self.height_input, bool),
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

    def metres(self, focal: float, camera_height: float | None = None) -> float:
        """Metres of z per unit of "metric" for a camera.

        Args:
            focal: horizontal focal length in pixels of the network's input.
            camera_height: metres above the road; None is KITTI's.
        """
        factor = focal / self.reference_focal
        if self.reference_height is None:
            return factor
        height = CAMERA_HEIGHT if camera_height is None else camera_height
        return factor * height / self.reference_height


class DptNet(DenseNet):
    """(B, 3, H, W) RGB in [0, 1], sides multiples of 32, to (B, 1, H/2, W/2).

    The values are what `DptConfig.output` says: depth at the reference focal length, or inverse
    depth, both positive. Differentiable to the parameters, the image and the
    heights.

    Raises:
        InputError: timm does not know the backbone, it has no feature maps, what it returns
            is not what its `feature_info` announces, or it has no linear layer to make sparse.
    """

    def __init__(self, config: DptConfig) -> None:
        backbone = feature_backbone(config.backbone, config.size)
        _sparsify(backbone, config)
        shape = DenseShape(
            config.backbone, config.size, config.channels, config.separable, 1,
            config.mean, config.std, int(config.height_input),
        )  # fmt: skip
        super().__init__(backbone, shape)
        self.config = config

    def forward(
        self,
        image: Tensor,  # (B, 3, H, W)
        height: Tensor | None = None,  # (B,) metres of the cameras above the road; None: KITTI's
    ) -> Tensor:
        return self._to_values(self.raw(image, self._told(image, height)))

    def _told(self, image: Tensor, height: Tensor | None) -> Tensor | None:  # (B, ...), (B,)
        if not self.config.height_input:
            return None
        if height is None:
            height = image.new_full(image.shape[:1], CAMERA_HEIGHT)
        return (height / CAMERA_HEIGHT).log()[:, None] * _HEIGHTS

    def _to_values(self, raw: Tensor) -> Tensor:  # (B, 1, h, w)
        if self.config.output == "affine_inverse":
            return functional.softplus(raw)
        near, far = self.config.depth_range
        # Log depth is what the loss compares, so equal steps of it should be equally easy to say.
        return near * torch.exp(torch.sigmoid(raw) * math.log(far / near))


def _positive(value: float) -> bool:
    return math.isfinite(value) and value > 0


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
