"""The `hub` entry: transformers' segmentation models, by name or from a folder."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._hub import find_model, first_line, unreachable
from diffrender.errors import InputError, require
from diffrender.instances.boxes import Box
from diffrender.instances.record import Instance, Rejected, box_of_mask
from diffrender.instances.segmenters.base import (
    Detection,
    Segmenter,
    SegmenterCard,
    SegmenterSettings,
    to_instances,
)
from diffrender.instances.segmenters.geometry import spread

__all__ = ["CARD", "HubSegmenter", "HubSegmenterSettings"]

CARD = SegmenterCard(
    name="hub",
    summary="transformers' Mask2Former and MaskFormer, or SAM, which is prompted by boxes.",
    paper="Cheng et al., Mask2Former, CVPR 2022; Kirillov et al., Segment Anything, ICCV 2023",
    code_licence="transformers: Apache-2.0",
    weights_licence="that of the model; read from its card, non-commercial ones are refused",
    extra="hub",
)

_EXAMPLE = "facebook/mask2former-swin-tiny-coco-instance"
_FINDERS = ("mask2former", "maskformer")
_PROMPTED = ("sam",)


@dataclass(frozen=True)
class HubSegmenterSettings(SegmenterSettings):
    """Attributes:
    allow_non_commercial: run weights whose licence forbids commercial use, or is not stated.
    """

    allow_non_commercial: bool = False


class HubSegmenter(Segmenter):
    """A model and its processor; `card` says the licence, and whether it needs boxes."""

    def __init__(
        self,
        weights: str | Path | None,
        device: torch.device,
        settings: HubSegmenterSettings | None,
    ) -> None:
        self.settings = settings or HubSegmenterSettings()
        model = find_model(
            weights,
            "the segmenter 'hub'",
            _EXAMPLE,
            allowed=self.settings.allow_non_commercial,
            settings="settings=HubSegmenterSettings(allow_non_commercial=True)",
        )
        transformers = require("transformers", "hub")
        from diffrender._torchvision import ensure_torchvision

        ensure_torchvision()  # its image processors ask for torchvision
        kind, self.processor, net = _load(transformers, model.source, model.local)
        self.device = device
        self.net = net.to(device).eval().requires_grad_(False)
        self.card = replace(
            CARD, weights_licence=model.licence or "not stated", needs_boxes=kind in _PROMPTED
        )

    def _segment(
        self,
        image: np.ndarray,  # (H, W, 3)
        boxes: list[Box],
        depth: np.ndarray | None,  # (H, W)
    ) -> tuple[list[Instance], list[Rejected]]:
        size = (image.shape[0], image.shape[1])
        if not self.card.needs_boxes:
            return to_instances(self._find(image), size)
        instances: list[Instance] = []
        rejected: list[Rejected] = []
        for box, mask in zip(boxes, self._prompted(image, boxes), strict=True):
            if mask.any():
                instances.append(Instance(mask, box.box, box.category, box.score, box.name))
            else:
                reason = "the network sees no object in the box"
                rejected.append(Rejected(box.name, box.category, reason))
        return instances, rejected

    def _find(self, image: np.ndarray) -> Iterator[Detection]:
        """What the queries see, the surest first.

        Not by the processor's own post-processing: that squeezes every mask into 384 x 384 pixels
        first, and takes the padding of the input for a part of the image.
        """
        inputs = self.processor(images=image, return_tensors="pt").to(self.device)
        with torch.inference_mode():
            outputs = self.net(**inputs)
        classes = outputs.class_queries_logits[0].float().softmax(dim=-1)[:, :-1]
        sure, labels = classes.max(dim=-1)
        soft = outputs.masks_queries_logits[0].float().sigmoid()
        inside = (soft >= self.settings.mask).float()
        # As Mask2Former scores: the class's probability times the mean one of its pixels.
        quality = (soft * inside).sum(dim=(1, 2)) / inside.sum(dim=(1, 2)).clamp(min=1)
        scores = sure * quality
        scale = _scale(inputs, (image.shape[0], image.shape[1]), tuple(soft.shape[1:]))
        names = self.net.config.id2label
        for index in scores.argsort(descending=True, stable=True)[: self.settings.most].tolist():
            if not float(scores[index]) >= self.settings.score:
                break
            seen = spread(soft[index].cpu().numpy(), scale, (0.0, 0.0), image.shape[:2])
            mask = seen >= self.settings.mask
            if mask.any():
                label = int(labels[index])
                name = str(names.get(label, f"class {label}"))
                yield Detection(box_of_mask(mask), name, float(scores[index]), mask)

    def _prompted(self, image: np.ndarray, boxes: list[Box]) -> list[np.ndarray]:
        """A mask for every box, in their order."""
        if not boxes:
            return []
        prompts = [[list(one.box) for one in boxes]]
        inputs = self.processor(images=image, input_boxes=prompts, return_tensors="pt")
        inputs = inputs.to(self.device)
        sizes = [inputs.pop(key).cpu() for key in ("original_sizes", "reshaped_input_sizes")]
        with torch.inference_mode():
            outputs = self.net(**inputs, multimask_output=False)
        # The probability that a mask starts from is a logit here.
        least = float(np.log(self.settings.mask / (1 - self.settings.mask)))
        (masks,) = self.processor.image_processor.post_process_masks(
            outputs.pred_masks.cpu(), *sizes, mask_threshold=least
        )
        return [np.asarray(mask[0].numpy().astype(bool)) for mask in masks]


def _scale(inputs: Any, image: tuple[int, int], masks: tuple[int, ...]) -> tuple[float, float]:
    """From the image's pixels to those of the masks: across, down.

    Masks cover the whole input, of which the image may be the upper left part (`pixel_mask`).
    """
    height, width = inputs["pixel_values"].shape[-2:]
    filled = (height, width)
    if "pixel_mask" in inputs:
        valid = inputs["pixel_mask"][0] > 0
        filled = (int(valid[:, 0].sum()), int(valid[0].sum()))
    across = filled[1] / image[1] * masks[1] / width
    return across, filled[0] / image[0] * masks[0] / height


def _load(transformers: Any, source: str, local: bool) -> tuple[str, Any, Any]:
    options = {"local_files_only": local, "trust_remote_code": False}
    try:
        kind = str(transformers.AutoConfig.from_pretrained(source, **options).model_type)
        if kind in _FINDERS:
            processor = transformers.AutoImageProcessor.from_pretrained(source, **options)
            auto = transformers.AutoModelForUniversalSegmentation
            if kind == "maskformer":
                auto = transformers.AutoModelForInstanceSegmentation
        elif kind in _PROMPTED:
            processor = transformers.SamProcessor.from_pretrained(source, **options)
            auto = transformers.SamModel
        else:
            raise InputError(
                f"{source} is a '{kind}' model, expected one of {', '.join(_FINDERS + _PROMPTED)}"
            )
        net = auto.from_pretrained(source, use_safetensors=True, **options)
    except InputError:
        raise
    except (OSError, ValueError) as error:
        if local:
            raise InputError(
                f"{source}: not a segmentation model of transformers ({first_line(error)}); "
                "expected config.json, preprocessor_config.json and model.safetensors"
            ) from error
        raise unreachable(source, error) from error
    return kind, processor, net
