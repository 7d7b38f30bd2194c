"""Where the Triton back-end of the products can be tested, and small patterns to test it on."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from diffrender._triton import interpreting
from diffrender.blocksparse import BlockPattern

NEEDS_TRITON = "needs a CUDA device, or triton installed and TRITON_INTERPRET=1 in the environment"
_INSTALLED = importlib.util.find_spec("triton") is not None
_FOUND = ("cpu" if interpreting() else "cuda") if _INSTALLED else None
DEVICE = None if _FOUND == "cuda" and not torch.cuda.is_available() else _FOUND
MARKS = [
    pytest.mark.skipif(DEVICE is None, reason=NEEDS_TRITON),
    *([pytest.mark.gpu] if DEVICE == "cuda" else []),
]


def draw_pattern(
    grid: tuple[int, int], block_size: tuple[int, int], density: float, seed: int
) -> BlockPattern:
    """A random pattern on the device under test."""
    generator = torch.Generator().manual_seed(seed)
    shape = (grid[0] * block_size[0], grid[1] * block_size[1])
    pattern = BlockPattern.random(shape, block_size, density, generator=generator)
    return pattern.to(str(DEVICE))
