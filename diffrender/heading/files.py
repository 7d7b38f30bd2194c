"""Heading networks on disk: safetensors with the configuration in its header."""

from __future__ import annotations

import copy
import dataclasses
import json
from functools import cache
from pathlib import Path

import torch

from diffrender._networks import NetworkFile, shipped_file
from diffrender.heading.network import HeadingConfig, HeadingNet

__all__ = ["load_heading", "save_heading", "shipped_heading"]

_FILE = NetworkFile("diffrender.heading", "a heading network", "save_heading", limit=1 << 28)
_SHIPPED = "heading_street.safetensors"


def save_heading(net: HeadingNet, path: str | Path, *, half: bool = False) -> Path:
    """Write weights and configuration; the file appears whole or not at all.

    `half` stores float16: half the size, values differ by one part in 2000.
    """
    return _FILE.save(net, json.dumps(dataclasses.asdict(net.config)), path, half=half)


def load_heading(path: str | Path) -> HeadingNet:
    """The network of a file that `save_heading` wrote, in evaluation mode.

    Raises:
        InputError: no such file, not safetensors, too large, no configuration in it, or tensors
            that do not fit the network that the configuration describes.
    """
    return _FILE.load(path, lambda values: HeadingConfig(**values), HeadingNet)


def shipped_heading() -> HeadingNet:
    """The network that comes with the package, a copy of the caller's own.

    Raises:
        InputError: this build holds none.
    """
    absent = (
        "this build has no shipped heading network; train one with "
        "`python -m diffrender.heading.train`, or set ReconstructSettings(heading=False)"
    )
    return copy.deepcopy(_read(str(shipped_file("diffrender.heading", _SHIPPED, absent))))


@cache
def _read(path: str) -> HeadingNet:
    with torch.inference_mode(False):  # it may be trained further
        return load_heading(path)
