"""The network: a timm backbone over an object's window, RoIAlign over its box, heads."""

from __future__ import annotations

import math
import warnings
from typing import Any

import torch
from torch import Tensor, nn

from diffrender.blocksparse import SparsityConfig
from diffrender.blocksparse import linear as make_linear
from diffrender.errors import InputError
from diffrender.predict.config import PredictorConfig
from diffrender.predict.inputs import PLANES, SCALARS, NetworkInputs
from diffrender.predict.roi import roi_align

__all__ = ["PredictorNet", "output_sizes"]


def output_sizes(config: PredictorConfig) -> dict[str, int]:
    """Numbers that the last layer gives an object, by what they are, in their order.

    "common" and "own" (for every hypothesis): offset (2), depth (2), size (3), shape latent (D);
    "turn": yaw residual; "belief": logit; "colours": (parts, 3); "trust": logit of the confidence.
    """
    pose = 7 + config.latent_size
    return {
        "common": pose,
        "own": config.hypotheses * pose,
        "turn": config.hypotheses,
        "belief": config.hypotheses,
        "colours": 3 * config.parts,
        "trust": 1,
    }


class PredictorNet(nn.Module):
    """`NetworkInputs` of B objects to (B, outputs) numbers, which `decode` gives their meaning.

    The backbone sees a window of fixed size cut from the image around each object (RoIAlign on the
    image, for which `crop_evidence` stands), so its cost is the objects', not the image's. Its
    feature maps at strides 8 and 16 are pooled by RoIAlign over the object's box. Differentiable to
    parameters and planes.

    Raises:
        InputError: timm does not know the backbone, or it has no such feature maps, or the widths
            are not multiples of the block size.
    """

    def __init__(self, config: PredictorConfig) -> None:
        super().__init__()
        self.config = config
        self.backbone = _make_backbone(config)
        info: Any = self.backbone.feature_info
        self.strides = [int(r) for r in info.reduction()]
        self.project = nn.ModuleList(nn.Conv2d(c, config.channels, 1) for c in info.channels())
        pooled = len(self.strides) * config.channels * config.grid**2
        self.outputs = sum(output_sizes(config).values())
        self.first = _linear(pooled + SCALARS, config.hidden, config.sparsity)
        self.second = _linear(config.hidden, config.hidden, config.sparsity)
        wide = _round_up(self.outputs, config.sparsity)
        self.last = _linear(config.hidden, wide, config.sparsity)
        with torch.no_grad():  # start near the middle of every bin, at the class's mean size
            for parameter in self.last.parameters():
                parameter.mul_(0.1)

    def forward(self, planes: Tensor, boxes: Tensor, scalars: Tensor) -> Tensor:
        """(B, 7, S, S), (B, 4), (B, 16) -> (B, outputs)."""
        maps = self.backbone(planes)
        grid = (self.config.grid, self.config.grid)
        pooled = [
            roi_align(project(m), boxes, grid, scale=m.shape[-1] / planes.shape[-1])
            for project, m in zip(self.project, maps, strict=True)
        ]
        x = torch.cat([*(p.flatten(1) for p in pooled), scalars], dim=1)
        x = torch.relu(self.first(x))
        x = torch.relu(self.second(x))
        y: Tensor = self.last(x)
        return y[:, : self.outputs]

    def see(self, inputs: NetworkInputs) -> Tensor:
        """`forward` of the record."""
        y: Tensor = self(inputs.planes, inputs.boxes, inputs.scalars)
        return y


def _linear(inputs: int, outputs: int, sparsity: SparsityConfig | None) -> nn.Module:
    try:
        return make_linear(inputs, outputs, sparsity)
    except InputError as error:
        raise InputError(
            f"PredictorConfig.sparsity does not fit its widths: {error}; choose channels, grid and "
            "hidden so that 2 x channels x grid^2 + 16 and hidden are multiples of the block"
        ) from error


def _round_up(count: int, sparsity: SparsityConfig | None) -> int:
    side = 1 if sparsity is None else sparsity.block_shape[0]
    return math.ceil(count / side) * side


def _make_backbone(config: PredictorConfig) -> nn.Module:
    from diffrender._torchvision import ensure_torchvision

    ensure_torchvision()
    import timm

    def make(indices: tuple[int, ...] | None) -> Any:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            chosen = {} if indices is None else {"out_indices": indices}
            return timm.create_model(
                config.backbone, pretrained=False, features_only=True, in_chans=PLANES, **chosen
            )

    try:
        reductions = list(make(None).feature_info.reduction())
        # Coarser maps would have one or two cells on an object; finer ones cost most of the time.
        kept = tuple(i for i, r in enumerate(reductions) if r in (8, 16))
        if len(kept) != 2:
            raise InputError(
                f"the backbone '{config.backbone}' has feature maps at strides {reductions}, "
                "expected 8 and 16 among them; choose a convolutional timm model"
            )
        backbone: nn.Module = make(kept)
    except (RuntimeError, AttributeError, TypeError, AssertionError) as error:
        raise InputError(
            f"timm cannot make feature maps of '{config.backbone}' ({error}); choose another "
            "model, such as mobilenetv3_small_100 or resnet18"
        ) from error
    return backbone
