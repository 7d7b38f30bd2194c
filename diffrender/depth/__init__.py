"""Depth networks behind one door, depth files, and the alignment of a prediction's scale."""

from __future__ import annotations

from diffrender.depth.align import Aligned as Aligned
from diffrender.depth.align import Anchor as Anchor
from diffrender.depth.align import align_to_sparse as align_to_sparse
from diffrender.depth.align import apply_alignment as apply_alignment
from diffrender.depth.align_scene import align_to_scene as align_to_scene
from diffrender.depth.dpt import DptConfig as DptConfig
from diffrender.depth.dpt import DptNet as DptNet
from diffrender.depth.dpt_timm import DptSettings as DptSettings
from diffrender.depth.dpt_timm import load_dpt as load_dpt
from diffrender.depth.dpt_timm import save_dpt as save_dpt
from diffrender.depth.files import read_depth as read_depth
from diffrender.depth.files import write_depth_png as write_depth_png
from diffrender.depth.hub import HubSettings as HubSettings
from diffrender.depth.model import DepthCard as DepthCard
from diffrender.depth.model import DepthKind as DepthKind
from diffrender.depth.model import DepthModel as DepthModel
from diffrender.depth.model import DepthPrediction as DepthPrediction
from diffrender.depth.onnx_file import OnnxSettings as OnnxSettings
from diffrender.depth.registry import create_depth as create_depth
from diffrender.depth.registry import depth_card as depth_card
from diffrender.depth.registry import list_depth as list_depth
from diffrender.depth.road import find_road as find_road
from diffrender.depth.scene_anchors import SizePrior as SizePrior

__all__ = [
    "Aligned",
    "Anchor",
    "DepthCard",
    "DepthKind",
    "DepthModel",
    "DepthPrediction",
    "DptConfig",
    "DptNet",
    "DptSettings",
    "HubSettings",
    "OnnxSettings",
    "SizePrior",
    "align_to_scene",
    "align_to_sparse",
    "apply_alignment",
    "create_depth",
    "depth_card",
    "find_road",
    "list_depth",
    "load_dpt",
    "read_depth",
    "save_dpt",
    "write_depth_png",
]
