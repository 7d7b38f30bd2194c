"""The plan of a street: its centre line, slope and cross-section, in the road frame.

Road frame: origin on the ground below the camera, x right, y down, z forward, metres. Street
coordinates: s along the centre line, u to the right of it. The camera stands at (0, 0).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Side", "Street", "draw_street"]

_LENGTH = 900


@dataclass(frozen=True)
class Side:
    """One side of the road, widths outward from the road's edge, metres.

    `zone` is what stands beyond: town, houses, woods, field, park, lot or works.
    """

    sign: int  # +1 right, -1 left
    parking: float
    parking_kind: str  # none, parallel, perpendicular
    kerb: float  # height of the step
    verge: float  # grass strip
    path: float  # pavement
    zone: str
    bank: float  # slope of the ground beyond

    @property
    def width(self) -> float:
        """Distance from the road's edge to where the zone starts."""
        return self.parking + self.verge + self.path


@dataclass(frozen=True)
class Street:
    """A street; see the module's text for the frames."""

    centre: np.ndarray  # (S, 2) x and z of the centre line at s = 0, 1, 2 ... from _BACK
    heading: np.ndarray  # (S,) radians to the right of z
    lane: float
    lanes_right: int
    lanes_left: int
    right_edge: float  # u
    left_edge: float  # u
    right: Side
    left: Side
    elevation: np.ndarray  # (S,) height of the road at s, metres, 0 and level at the camera
    crossing: tuple[float, float]  # s range of a crossing street, or (inf, inf)
    style: str
    end: float = np.inf  # s where something closes the street

    def place(self, u: np.ndarray | float, s: np.ndarray | float) -> np.ndarray:
        """Street coordinates to points on the ground, (..., 3)."""
        u, s = np.broadcast_arrays(np.asarray(u, float), np.asarray(s, float))
        x, z, psi = self._line(s)
        return np.stack([x + u * np.cos(psi), self.ground(u, s), z - u * np.sin(psi)], axis=-1)

    def direction(self, s: float) -> float:
        """Heading of the road at s, radians to the right of z."""
        return float(self._line(np.asarray(s, float))[2])

    def _line(self, s: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        grid = np.arange(len(self.heading)) - 10.0
        x = np.interp(s, grid, self.centre[:, 0])
        z = np.interp(s, grid, self.centre[:, 1])
        return x, z, np.interp(s, grid, self.heading)

    def in_crossing(self, s: np.ndarray | float, margin: float = 0.0) -> np.ndarray:
        """Whether s lies within the crossing street."""
        s = np.asarray(s)
        return (s > self.crossing[0] - margin) & (s < self.crossing[1] + margin)

    def step(self, s: np.ndarray) -> np.ndarray:
        """Factor on kerbs and banks: 0 in the crossing, 1 away from it."""
        away = np.maximum(self.crossing[0] - s, s - self.crossing[1])
        return np.clip(np.where(np.isfinite(away), away, 9.0) / 1.5, 0, 1)

    def ground(self, u: np.ndarray | float, s: np.ndarray | float) -> np.ndarray:
        """y of the ground (down), metres; 0 at the camera."""
        u, s = np.asarray(u, float), np.asarray(s, float)
        y = -np.interp(s, np.arange(len(self.elevation)) - 10.0, self.elevation)
        step = self.step(s)
        for side in (self.left, self.right):
            edge = self.right_edge if side.sign > 0 else -self.left_edge
            out = side.sign * u - edge - side.parking
            y = y - np.where(out > 1e-6, side.kerb * step, 0)
            beyond = np.clip(out - side.verge - side.path, 0, 25)
            y = y - side.bank * beyond * step
        return y

    def edge(self, side: Side) -> float:
        """u of the road's edge on that side, unsigned."""
        return self.right_edge if side.sign > 0 else -self.left_edge


_ZONES = {
    "town": (("town", 0.8), ("works", 0.1), ("park", 0.1)),
    "suburb": (("houses", 0.6), ("park", 0.15), ("town", 0.15), ("lot", 0.1)),
    "avenue": (("park", 0.4), ("woods", 0.2), ("houses", 0.2), ("lot", 0.2)),
    "country": (("woods", 0.5), ("field", 0.4), ("park", 0.1)),
    "works": (("works", 0.4), ("field", 0.25), ("lot", 0.35)),
}
_STYLES = (("town", 0.25), ("suburb", 0.27), ("avenue", 0.22), ("country", 0.16), ("works", 0.10))


def _choose(draw: np.random.Generator, options: tuple[tuple[str, float], ...]) -> str:
    names = [name for name, _ in options]
    weights = np.array([weight for _, weight in options])
    return names[int(draw.choice(len(names), p=weights / weights.sum()))]


def _draw_side(draw: np.random.Generator, sign: int, style: str) -> Side:
    zone = _choose(draw, _ZONES[style])
    parked = {"town": 0.7, "suburb": 0.55, "avenue": 0.4, "country": 0.08, "works": 0.25}[style]
    kind = "none"
    if draw.random() < parked:
        kind = "perpendicular" if draw.random() < 0.25 else "parallel"
    parking = {"none": 0.0, "parallel": 2.2, "perpendicular": 5.0}[kind]
    kerbed = draw.random() < (0.15 if style == "country" else 0.85)
    path = 0.0
    if style != "country" and draw.random() < 0.85:
        path = draw.uniform(1.2, 4.0)
    verge = draw.uniform(0.6, 4.0) if draw.random() < 0.45 or path == 0 else 0.0
    if style == "town":
        verge *= draw.random() < 0.2
        path = max(path, 1.4)
    bank = draw.normal(0, 0.02)
    if zone in ("woods", "field", "park") and draw.random() < 0.4:
        bank = draw.normal(0.02, 0.09)
    if zone in ("town", "works", "lot"):
        bank = 0.0
    height = draw.uniform(0.04, 0.15) if kerbed else 0.0
    return Side(sign, parking, kind, height, verge, path, zone, float(bank))


def draw_street(draw: np.random.Generator, road_grade: float) -> Street:
    """Draw the plan of a street."""
    style = _choose(draw, _STYLES)
    lane = draw.uniform(2.7, 3.6)
    wide = {"town": 0.15, "suburb": 0.1, "avenue": 0.5, "country": 0.12, "works": 0.5}[style]
    lanes_right = 2 if draw.random() < wide else 1
    lanes_left = 0 if draw.random() < 0.12 else (2 if draw.random() < wide else 1)
    own = int(draw.integers(0, lanes_right))  # lane of the camera, from the right
    right_edge = lane * (own + 0.5) + draw.normal(0, 0.25) + draw.uniform(0, 0.6)
    left_edge = right_edge - lane * (lanes_right + lanes_left) - draw.uniform(0, 0.8)
    steps = np.arange(_LENGTH + 10) - 10.0
    radius = draw.choice([0, 1 / 400, 1 / 160, 1 / 80], p=[0.45, 0.25, 0.2, 0.1])
    curvature = radius * draw.uniform(0.5, 1.2) * draw.choice([-1, 1])
    begin = draw.uniform(-20, 40)
    start = draw.normal(0, np.deg2rad(2.2))
    heading = start + curvature * (np.clip(steps - begin, 0, 70) - np.clip(-begin, 0, 70))
    x, z = np.cumsum(np.sin(heading)), np.cumsum(np.cos(heading))
    centre = np.stack([x - x[10], z - z[10]], axis=1)
    crossing = (np.inf, np.inf)
    if draw.random() < {"town": 0.45, "suburb": 0.4, "avenue": 0.45}.get(style, 0.2):
        near = draw.uniform(9, 45)
        crossing = (near, near + draw.uniform(6, 16))
    ahead = np.clip(steps, 0, 150)
    grade, wave, phase = draw.normal(0, road_grade), draw.normal(0, road_grade / 2), draw.random()
    slope = grade * np.minimum(ahead / 40, 1)
    slope += wave * (np.sin(ahead / 17 + 6.3 * phase) - np.sin(6.3 * phase))
    elevation = np.cumsum(np.where(steps < 150, slope, 0))
    elevation -= elevation[10]
    right, left = _draw_side(draw, 1, style), _draw_side(draw, -1, style)
    return Street(
        centre, heading, lane, lanes_right, lanes_left, right_edge, left_edge, right, left,
        elevation, crossing, style,
    )  # fmt: skip
