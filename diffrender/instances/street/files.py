"""Street segmenters on disk: safetensors with the configuration in its header."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

from diffrender._networks import NetworkFile, shipped_file
from diffrender.instances.street.network import StreetConfig, StreetNet

__all__ = ["load_street", "save_street", "shipped_street"]

_FILE = NetworkFile("diffrender.street", "a street segmenter", "save_street", limit=1 << 28)
_SHIPPED = "street.safetensors"


def save_street(net: StreetNet, path: str | Path, *, half: bool = False) -> Path:
    """Write weights and configuration; the file appears whole or not at all.

    `half` stores float16: half the size, values differ by one part in 2000.
    """
    return _FILE.save(net, json.dumps(dataclasses.asdict(net.config)), path, half=half)


def load_street(path: str | Path) -> StreetNet:
    """The network of a file that `save_street` wrote, in evaluation mode.

    Raises:
        InputError: no such file, not safetensors, too large, no configuration in it, or tensors
            that do not fit the network that the configuration describes.
    """
    return _FILE.load(path, lambda values: StreetConfig(**values), StreetNet)


@cache
def shipped_street() -> StreetNet:
    """The network that comes with the package, read once a process.

    Raises:
        InputError: this build holds none.
    """
    absent = (
        "this build has no shipped street segmenter; train one with "
        "`python -m diffrender.instances.street.train`, or name another segmenter"
    )
    return load_street(shipped_file("diffrender.instances.street", _SHIPPED, absent))
