"""Colours to expect of an object's parts: general knowledge, none fitted to pictures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["PartColour", "part_colour"]


@dataclass(frozen=True)
class PartColour:
    """Mean sRGB in [0, 1] and standard deviation."""

    mean: tuple[float, float, float]
    spread: float


_PALETTE = {
    "glass": PartColour((0.22, 0.24, 0.26), 0.15),
    "wheel": PartColour((0.15, 0.15, 0.15), 0.10),
    "head_light": PartColour((0.70, 0.70, 0.68), 0.20),
    "tail_light": PartColour((0.50, 0.12, 0.12), 0.15),
    "grille": PartColour((0.20, 0.20, 0.20), 0.15),
    "bumper": PartColour((0.35, 0.35, 0.35), 0.25),
    "underside": PartColour((0.08, 0.08, 0.08), 0.06),
    "head": PartColour((0.42, 0.34, 0.29), 0.20),
    "foot": PartColour((0.18, 0.17, 0.16), 0.15),
    "cycle_wheel": PartColour((0.25, 0.25, 0.25), 0.20),
}
_PAINT = PartColour((0.45, 0.45, 0.45), 0.40)


def part_colour(name: str) -> PartColour:
    """What to expect of a part by name; a part without a usual colour may be painted any."""
    return _PALETTE.get(name, _PAINT)
