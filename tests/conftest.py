"""Fixtures every test may use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from diffrender.shape_priors import ShapePrior, load_prior


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real frames and reference tensors, named by DIFFRENDER_SHARED; skips without."""
    name = os.environ.get("DIFFRENDER_SHARED", "")
    if not name:
        pytest.skip("DIFFRENDER_SHARED is not set: it names the folder of real reference material")
    folder = Path(name).resolve()
    if not (folder / "data").is_dir():
        pytest.skip(f"DIFFRENDER_SHARED={name} has no data folder")
    return folder


@pytest.fixture(scope="session")
def car() -> ShapePrior:
    """The shipped shape prior of cars."""
    return load_prior("car")
