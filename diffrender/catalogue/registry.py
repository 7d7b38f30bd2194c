"""Finding techniques: every module of a family's folder that defines TECHNIQUE is one."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil
from typing import Protocol

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card
from diffrender.catalogue.scene import Rendering, Scene
from diffrender.errors import InputError

__all__ = ["Technique", "find_technique", "list_techniques"]

# One folder a family of representations. A file whose name starts with _ is shared code.
_FOLDERS = ("mesh", "light", "voxels", "points", "implicit", "neural")


class Technique(Protocol):
    """A way to draw a scene with gradients: a frozen dataclass of settings with three members."""

    @property
    def card(self) -> Card:
        """Names, paper, idea, and the claims that the tests hold it to."""
        ...

    def prepare(self, scene: Scene) -> Scene:
        """The scene in the technique's own representation; the same scene where it is in that.

        Made once, then drawn often. A technique that draws triangles returns what it got. The
        docstring says whether the conversion is differentiable to the triangles.
        """
        ...

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Draw for one camera. A scene that is not prepared yet is prepared first."""
        ...


@functools.cache
def _techniques() -> dict[str, Technique]:
    found: dict[str, Technique] = {}
    for folder in _FOLDERS:
        package = importlib.import_module(f"diffrender.catalogue.{folder}")
        for module in sorted(pkgutil.iter_modules(package.__path__), key=lambda m: m.name):
            if module.name.startswith("_"):
                continue
            loaded = importlib.import_module(f"{package.__name__}.{module.name}")
            technique: Technique = loaded.TECHNIQUE
            name = technique.card.name
            if name in found:
                raise InputError(f"two techniques are named {name!r}; {loaded.__name__} is one")
            found[name] = technique
    return found


def list_techniques() -> list[str]:
    """Names of all techniques, by family folder and file name, for `find_technique`."""
    return list(_techniques())


def find_technique(name: str) -> Technique:
    """A technique with its usual settings, by its card's name.

    Raises:
        InputError: no such technique; the nearest names are listed.
    """
    known = _techniques()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3) or list(known)
        raise InputError(f"no technique named {name!r}, did you mean {', '.join(near)}?")
    return known[name]
