"""What the subcommands take from files; the work is done in `diffrender.reconstruct`."""

from __future__ import annotations

from pathlib import Path

from diffrender.reconstruct.input_depth import DEFAULT_NETWORK as DEFAULT_NETWORK
from diffrender.reconstruct.input_depth import Align as Align
from diffrender.reconstruct.input_depth import DepthChoice as DepthChoice
from diffrender.reconstruct.input_depth import create_network as create_network
from diffrender.reconstruct.inputs import CAMERA_HEIGHT as CAMERA_HEIGHT
from diffrender.reconstruct.inputs import Inputs as Inputs
from diffrender.reconstruct.inputs import MaskChoice as MaskChoice
from diffrender.reconstruct.inputs import Sources as Sources

__all__ = [
    "CAMERA_HEIGHT",
    "DEFAULT_NETWORK",
    "Align",
    "DepthChoice",
    "Inputs",
    "MaskChoice",
    "Sources",
    "create_network",
    "from_files",
    "from_kitti",
    "kitti_folders",
]


def kitti_folders(folder: Path, masks: str | None, depth: str) -> list[Path]:
    """What is read of a split: folders, and for masks and depth their name or path there."""
    inside = ("image_2", "calib", "label_2", masks, depth)
    return [folder / name for name in inside if name is not None]


def from_files(image_path: Path, calib: Path, masks: Path, choice: DepthChoice) -> Inputs:
    """Inputs from single files.

    Raises:
        InputError: a file is missing, broken, or does not fit the image.
    """
    return Sources(choice, MaskChoice(str(masks))).of_image(image_path, calib)


def from_kitti(
    root: Path, frame: str, split: str, masks: str | None, choice: DepthChoice
) -> Inputs:
    """Inputs from a frame of a KITTI folder.

    Without `masks`, instance_2 is taken where it is there, else the boxes of label_2.

    Raises:
        InputError: a file is missing, broken, or does not fit the image.
    """
    from diffrender.datasets import KittiObject

    found = KittiObject(root, split=split)[frame]
    return Sources(choice, MaskChoice(masks)).of_kitti(found)
