"""Segmenters behind one door: an image (and boxes, for some) to instances with masks."""

from __future__ import annotations

from diffrender.instances.segmenters.base import Segmenter as Segmenter
from diffrender.instances.segmenters.base import SegmenterCard as SegmenterCard
from diffrender.instances.segmenters.base import SegmenterSettings as SegmenterSettings
from diffrender.instances.segmenters.hub import HubSegmenterSettings as HubSegmenterSettings
from diffrender.instances.segmenters.onnx_file import (
    OnnxSegmenterSettings as OnnxSegmenterSettings,
)
from diffrender.instances.segmenters.registry import create_segmenter as create_segmenter
from diffrender.instances.segmenters.registry import list_segmenters as list_segmenters
from diffrender.instances.segmenters.registry import segmenter_card as segmenter_card

__all__ = [
    "HubSegmenterSettings",
    "OnnxSegmenterSettings",
    "Segmenter",
    "SegmenterCard",
    "SegmenterSettings",
    "create_segmenter",
    "list_segmenters",
    "segmenter_card",
]
