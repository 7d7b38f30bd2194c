"""The doors of the package: the public names, so that none comes or goes unnoticed."""

from __future__ import annotations

import configparser
import inspect
import types
from pathlib import Path

import diffrender

ROOT = Path(__file__).resolve().parents[1]

PUBLIC = {
    "Camera", "Fragments", "InputError", "Instance", "Mesh", "MeshBatch", "MissingExtraError",
    "ReconstructSettings", "Run", "Scene", "antialias", "interpolate", "losses", "pack_meshes",
    "rasterize", "reconstruct", "sample_texture", "soft_silhouette",
}  # fmt: skip


def _names() -> set[str]:
    """Public names, without the subpackages that Python sets as attributes when it loads them."""
    return {
        name
        for name, value in vars(diffrender).items()
        if not name.startswith("_") and (name in PUBLIC or not isinstance(value, types.ModuleType))
    }


def test_public_names() -> None:
    assert _names() == PUBLIC


def test_public_callables_are_documented_and_short() -> None:
    for name in sorted(PUBLIC - {"losses"}):
        value = getattr(diffrender, name)
        assert inspect.getdoc(value), name
        if inspect.isfunction(value):
            assert len(inspect.signature(value).parameters) <= 8, name


def test_versions_agree() -> None:
    parser = configparser.ConfigParser()
    parser.read(ROOT / "setup.cfg")
    version = parser["metadata"]["version"]
    assert diffrender.__version__ == version
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
