"""`diffrender demo`: the main job on the shipped sample, compared with its truth."""

from __future__ import annotations

from diffrender.tools.console import guarded

__all__ = ["demo"]


@guarded
def demo() -> None:
    """Reconstruct the shipped sample and compare it with its truth."""
    raise NotImplementedError
