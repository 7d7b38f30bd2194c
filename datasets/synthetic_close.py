"""Plans of close places: lanes between walls, paved yards, streets that something closes ahead.

Ordinary synthetic streets are open: the road runs to the horizon between wide margins. Here there
is often no horizon at all, and what stands beside the camera is a metre or two from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from diffrender.datasets.synthetic_ground import Palette
from diffrender.datasets.synthetic_street import Side, Street, draw_street

__all__ = ["across_the_end", "draw_close_street", "weathered"]

_LENGTH = 910  # samples of a centre line, from s = -10
_BESIDE_LANE = (
    "fronts", "fronts", "garden", "garden", "garages", "thicket", "thicket", "boards", "blank",
    "houses", "town",
)  # fmt: skip
_BESIDE_YARD = ("town", "works", "fronts", "park", "garages", "blank", "garden", "houses")
_AHEAD = (
    "fronts", "fronts", "town", "works", "blank", "garages", "garden", "thicket", "woods", "houses",
    "boards",
)  # fmt: skip


def draw_close_street(draw: np.random.Generator, road_grade: float) -> Street:
    """A lane, a yard, or an ordinary street that ends ahead at a crossing street."""
    kind = draw.choice(["lane", "yard", "blocked"], p=[0.5, 0.25, 0.25])
    if kind == "lane":
        return _draw_lane(draw, road_grade)
    if kind == "yard":
        return _draw_yard(draw)
    street = draw_street(draw, road_grade)
    end = draw.uniform(18, 65)
    return replace(street, crossing=(end - draw.uniform(5, 12), end), end=end)


def _draw_lane(draw: np.random.Generator, road_grade: float) -> Street:
    """One lane of 2.8 to 6 m, walls and hedges at its edge or behind a narrow path."""
    width = draw.uniform(2.8, 6.0)
    right_edge = draw.uniform(1.3, width - 1.3)
    end, crossing = np.inf, (np.inf, np.inf)
    if draw.random() < 0.5:
        end = draw.uniform(12, 60)
    if end > 35 and draw.random() < 0.3:
        near = draw.uniform(10, 25)
        crossing = (near, near + draw.uniform(3.5, 8))
    bend = draw.choice([0, 1 / 120, 1 / 60, 1 / 35], p=[0.4, 0.2, 0.2, 0.2])
    bend = bend * draw.choice([-1, 1]) * draw.uniform(0.6, 1.0)
    turn = np.deg2rad(draw.normal(0, 4)) + bend * np.clip(_along() - draw.uniform(-5, 20), 0, 40)
    sides = _lane_side(draw, 1), _lane_side(draw, -1)
    return _straightened(
        draw, turn, road_grade, (width, right_edge), sides, crossing, end, style="lane"
    )


def _lane_side(draw: np.random.Generator, sign: int) -> Side:
    zone = str(draw.choice(_BESIDE_LANE))
    path = draw.uniform(0.5, 2.5) if draw.random() < 0.6 else 0.0
    verge = draw.uniform(0.3, 1.5) if draw.random() < 0.25 else 0.0
    parked = draw.random() < 0.2
    bank = abs(draw.normal(0, 0.3)) if zone == "thicket" else 0.0
    kerb = draw.uniform(0.03, 0.14) if draw.random() < 0.6 else 0.0
    return Side(
        sign, 2.1 if parked else 0.0, "parallel" if parked else "none", kerb, verge, path, zone,
        float(bank),
    )  # fmt: skip


def _draw_yard(draw: np.random.Generator) -> Street:
    """A paved place that the camera looks across, at some angle, to what closes it."""
    width = draw.uniform(2.8, 9.0)
    turn = np.full(_LENGTH, np.deg2rad(draw.normal(0, 14)))
    sides = _yard_side(draw, 1), _yard_side(draw, -1)
    edges = (width, draw.uniform(1.3, width - 1.3))
    end = 9 + 40 * draw.random() ** 1.5
    return _straightened(draw, turn, 0.004, edges, sides, (np.inf, np.inf), end, style="yard")


def _yard_side(draw: np.random.Generator, sign: int) -> Side:
    kerb, verge = draw.choice([0.0, 0.0, 0.06]), draw.choice([0.0, 0.0, 2.0])
    path, zone = draw.uniform(2, 22), str(draw.choice(_BESIDE_YARD))
    return Side(sign, 0.0, "none", kerb, verge, path, zone, 0.0)


def _along() -> np.ndarray:
    return np.arange(_LENGTH) - 10.0


def _straightened(
    draw: np.random.Generator, heading: np.ndarray, grade: float, edges: tuple[float, float],
    sides: tuple[Side, Side], crossing: tuple[float, float], end: float, style: str,
) -> Street:  # fmt: skip
    """A street of one lane whose centre line follows `heading` and passes the camera."""
    width, right_edge = edges
    slope = draw.normal(0, grade) * np.clip(_along() / 30, 0, 1) * (_along() < 150)
    rise = np.cumsum(slope)
    x, z = np.cumsum(np.sin(heading)), np.cumsum(np.cos(heading))
    centre = np.stack([x - x[10], z - z[10]], axis=1)
    return Street(
        centre, heading, width, 1, 0, right_edge, right_edge - width, *sides, rise - rise[10],
        crossing, style, end,
    )  # fmt: skip


def across_the_end(draw: np.random.Generator, street: Street) -> Street:
    """The line that closes a street, as a street of its own that runs from left to right there;
    what stands on its left side faces the camera."""
    heading = street.direction(street.end) + np.pi / 2 + draw.normal(0, 0.12)
    spot = street.place(0.0, street.end)
    direction = np.array([np.sin(heading), np.cos(heading)])
    centre = spot[[0, 2]] + (_along() - 55.0)[:, None] * direction
    zone = str(draw.choice(_AHEAD))
    path = draw.uniform(0.5, 3) if draw.random() < 0.6 else 0.0
    bank = abs(draw.normal(0, 0.2)) if zone in ("thicket", "woods") else 0.0
    far = Side(-1, 0.0, "none", 0.0, 0.0, path, zone, float(bank))
    return Street(
        centre, np.full(_LENGTH, heading), 3.0, 1, 0, 0.0, 0.0, replace(far, sign=1), far,
        np.full(_LENGTH, -spot[1]), (np.inf, np.inf), street.style,
    )  # fmt: skip


def weathered(draw: np.random.Generator, palette: Palette) -> Palette:
    """The palette with other grounds: from fresh asphalt to bleached concrete and pale stone."""
    road, stone = draw.uniform(0.06, 0.45), draw.uniform(0.12, 0.6)
    warm = np.array([1.0, 1 - draw.uniform(0, 0.06), 1 - draw.uniform(0, 0.14)])
    return replace(palette, asphalt=road * warm, stone=stone * warm)
