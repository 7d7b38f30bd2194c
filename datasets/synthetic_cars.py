"""Cars for synthetic streets: which places they take, their shape, and their looks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from diffrender.datasets.synthetic_car_slots import Slot, draw_slots
from diffrender.datasets.synthetic_geometry import Material, Soup, cross, turned
from diffrender.datasets.synthetic_settings import StreetSettings
from diffrender.datasets.synthetic_street import Street
from diffrender.meshes import Mesh
from diffrender.shape_priors import CAR_KINDS, sample_car
from diffrender.shape_priors.car_lattice import PART_NAMES

__all__ = ["PlacedCar", "add_car", "draw_cars"]

_GAP = 0.25  # metres between two footprints at least
_KIND_WEIGHTS = {
    "saloon": 0.19, "hatchback": 0.29, "estate": 0.22, "suv": 0.15, "coupe": 0.1, "pickup": 0.05,
}  # fmt: skip
_PAINTS = np.array(
    [
        [0.02, 0.02, 0.022], [0.05, 0.052, 0.058], [0.18, 0.185, 0.19], [0.42, 0.43, 0.44],
        [0.75, 0.75, 0.74], [0.30, 0.02, 0.02], [0.02, 0.04, 0.16], [0.06, 0.11, 0.22],
        [0.03, 0.08, 0.05], [0.34, 0.28, 0.18], [0.55, 0.33, 0.03], [0.10, 0.05, 0.03],
    ]
)  # fmt: skip
_PAINT_WEIGHTS = np.array([0.17, 0.14, 0.13, 0.2, 0.12, 0.07, 0.06, 0.04, 0.02, 0.03, 0.01, 0.01])


@dataclass(frozen=True)
class PlacedCar:
    """A car on the street, in the road frame.

    Attributes:
        mesh: metric mesh in the object frame.
        size: (length, width, height), metres.
        kind: body style of the procedural family.
        rotation: (3, 3) object frame to road frame.
        foot: (3,) centre of the bottom face, road frame, metres.
    """

    mesh: Mesh
    size: tuple[float, float, float]
    kind: str
    rotation: np.ndarray  # (3, 3)
    foot: np.ndarray  # (3,)

    @property
    def category(self) -> str:
        """KITTI's class name."""
        return "Van" if self.kind == "van" else "Car"

    def footprint(self, margin: float = 0.0) -> np.ndarray:
        """Corners of the bottom face seen from above, x and z, grown by `margin`. (4, 2)."""
        length, width, _ = self.size
        x = np.array([1, 1, -1, -1]) * (length / 2 + margin)
        z = np.array([1, -1, -1, 1]) * (width / 2 + margin)
        points = np.stack([x, 0 * x, z], axis=1) @ self.rotation.T + self.foot
        return points[:, [0, 2]]


def draw_cars(
    draw: np.random.Generator, street: Street, settings: StreetSettings, half_view: float
) -> list[PlacedCar]:
    """Cars on free places of the street, nearest first.

    `half_view` is the tangent of half the horizontal field of view; a car's centre lies within
    it, or outside by less than a metre and a half.
    """
    everything = draw_slots(draw, street)
    if not everything:
        return []
    weights = np.array([slot.weight for slot in everything])
    order = np.argsort(-np.log(draw.random(len(weights))) / weights)  # weighted shuffle
    wanted = int(draw.integers(settings.cars[0], settings.cars[1] + 1))
    shapes = torch.Generator().manual_seed(int(draw.integers(0, 2**31)))
    placed: list[PlacedCar] = []
    for position in order:
        if len(placed) >= wanted:
            break
        slot = everything[position]
        spot = street.place(slot.u, slot.s)
        if not settings.distance[0] + 0.8 <= spot[2] <= settings.distance[1] - 0.8:
            continue  # the camera's small tilt and lever arm move z by less than that
        if abs(spot[0]) > half_view * spot[2] + 1.5 or np.hypot(spot[0], spot[2]) < 4:
            continue
        car = _place(draw, street, slot, settings.van_share, shapes)
        if np.abs(car.footprint(0.3)[:, 0]).min() < 1.0 and car.footprint(0.3)[:, 1].min() < 2.5:
            continue
        if all(_apart(car.footprint(_GAP), other.footprint()) for other in placed):
            placed.append(car)
    return sorted(placed, key=lambda car: float(car.foot[2]))


def _place(
    draw: np.random.Generator, street: Street, slot: Slot, van_share: float,
    shapes: torch.Generator,
) -> PlacedCar:  # fmt: skip
    kinds = [kind for kind in CAR_KINDS if kind != "van"]
    weights = np.array([_KIND_WEIGHTS.get(kind, 0.1) for kind in kinds])
    kind = str(draw.choice(kinds, p=weights / weights.sum()))
    if draw.random() < van_share:
        kind = "van"
    sample = sample_car(kind, shapes)
    length, width, height = (float(value) for value in sample.size)
    metric = Mesh(
        sample.mesh.vertices * torch.tensor([length, height, width]),
        sample.mesh.faces,
        uv=sample.mesh.uv,
        face_uv=sample.mesh.face_uv,
        face_parts=sample.mesh.face_parts,
    )
    # stands on the ground at its four wheels
    heading = street.direction(slot.s) + slot.turn
    foot = street.place(slot.u, slot.s)
    c, s = np.cos(slot.turn), np.sin(slot.turn)
    reach, half = 0.3 * length, 0.4 * width

    def ground(along: float, across: float) -> float:
        return float(
            street.ground(
                np.array(slot.u + along * s + across * c), np.array(slot.s + along * c - across * s)
            )
        )

    wheels = [ground(a, b) for a in (reach, -reach) for b in (half, -half)]
    rise_x = (wheels[0] + wheels[1] - wheels[2] - wheels[3]) / (4 * reach)
    rise_z = (wheels[0] + wheels[2] - wheels[1] - wheels[3]) / (4 * half)
    forward = np.array([np.sin(heading), rise_x, np.cos(heading)])
    right = np.array([np.cos(heading), rise_z, -np.sin(heading)])
    forward /= np.linalg.norm(forward)
    right -= forward * (right @ forward)
    right /= np.linalg.norm(right)
    # x forward and y down, so z points to the left
    rotation = np.stack([forward, cross(forward, right), -right], axis=1)
    foot = np.array([foot[0], float(np.mean(wheels)), foot[2]])
    return PlacedCar(metric, (length, width, height), kind, rotation, foot)


def _apart(first: np.ndarray, second: np.ndarray) -> bool:  # (4, 2), (4, 2)
    """Whether two rectangles are disjoint (separating axes)."""
    for one in (first, second):
        for axis in (one[1] - one[0], one[3] - one[0]):
            a, b = first @ axis, second @ axis
            if a.max() < b.min() or b.max() < a.min():
                return True
    return False


@lru_cache(maxsize=4)
def _incident(key: bytes, count: int) -> np.ndarray:
    """(V, K) faces around each vertex, -1 padded."""
    faces = np.frombuffer(key, np.int64).reshape(count, 3)
    around: list[list[int]] = [[] for _ in range(int(faces.max()) + 1)]
    for number, face in enumerate(faces):
        for vertex in face:
            around[vertex].append(number)
    table = np.full((len(around), max(len(a) for a in around)), -1)
    for vertex, some in enumerate(around):
        table[vertex, : len(some)] = some
    return table


def _crease_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """Corner normals (F, 3, 3), smooth except over edges sharper than about 40 degrees."""
    a, b, c = (vertices[faces[:, i]].astype(np.float32) for i in range(3))
    weighted = cross(b - a, c - a)
    unit = weighted / np.maximum(np.linalg.norm(weighted, axis=1, keepdims=True), 1e-12)
    near = _incident(faces.tobytes(), len(faces))[faces]  # (F, 3, K)
    alike = np.einsum("fikc,fc->fik", unit[near], unit) > 0.77
    total = np.einsum("fikc,fik->fic", weighted[near], (alike & (near >= 0)).astype(np.float32))
    return total / np.maximum(np.linalg.norm(total, axis=2, keepdims=True), 1e-12)


def add_car(soup: Soup, car: PlacedCar, draw: np.random.Generator) -> slice:
    """Add a car's faces; returns their range in the soup.

    Texture coordinates are the object frame in metres (wheels: relative to the hub).
    """
    vertices = car.mesh.vertices.double().numpy()
    faces = car.mesh.faces.numpy()
    parts = np.zeros(len(faces), np.int64)
    if car.mesh.face_parts is not None:
        parts = car.mesh.face_parts.numpy()
    normals = turned(_crease_normals(vertices, faces), car.rotation)
    corners = vertices[faces]
    placed = turned(corners, car.rotation) + car.foot
    paint = _PAINTS[draw.choice(len(_PAINTS), p=_PAINT_WEIGHTS / _PAINT_WEIGHTS.sum())]
    paint = np.clip(paint * draw.uniform(0.7, 1.3) + draw.normal(0, 0.01, 3), 0.008, 0.8)
    half = car.size[0] / 2
    seams = half * np.array([0.38, -0.05, -0.45])
    strip = draw.uniform(0.4, 0.6) if draw.random() < 0.25 else 0.0
    plain_bumper = draw.random() < 0.25
    shared = (*draw.uniform(0, 9, 2), draw.uniform(0.04, 0.12), strip, *seams, half, car.size[2])
    dark = (0.03, 0.03, 0.032)
    wheels = parts == PART_NAMES.index("wheel")
    radius = 0.31
    centres = corners.mean(1)
    if wheels.any():
        radius = float(np.clip(-corners[wheels][..., 1].min() / 2, 0.25, 0.42))
    rim = draw.uniform(0.08, 0.5)
    rows = {
        "body": (Material.PAINT, soup.add_looks(*paint, *dark, *shared)),
        "glass": (Material.GLASS, soup.add_looks(*dark, *dark, *shared)),
        "wheel": (
            Material.TYRE,
            soup.add_looks(
                *paint,
                0.02,
                0.02,
                0.02,
                *shared[:2],
                radius,
                rim,
                float(draw.integers(4, 8)),
                draw.uniform(0.5, 0.72),
            ),
        ),
        "head_light": (
            Material.LAMP,
            soup.add_looks(0.6, 0.6, 0.62, *paint, *shared[:2], 0.2, 0.1),
        ),
        "tail_light": (
            Material.LAMP,
            soup.add_looks(0.4, 0.015, 0.015, *paint, *shared[:2], 0, 0.15),
        ),
        "grille": (Material.TRIM, soup.add_looks(*dark, *dark, *shared)),
        "bumper": (
            Material.PAINT,
            soup.add_looks(*(dark if plain_bumper else paint), *dark, *shared),
        ),
        "underside": (Material.TRIM, soup.add_looks(0.01, 0.01, 0.01, *dark, *shared[:3])),
    }
    begin = soup.face_count()
    for number, name in enumerate(PART_NAMES):
        chosen = parts == number
        if not chosen.any():
            continue
        coords = corners[chosen]
        if name == "wheel":  # relative to the hub, front and rear apart
            coords = coords.copy()
            for end in (centres[chosen, 0] > 0, centres[chosen, 0] <= 0):
                if end.any():
                    x = coords[end][..., 0]
                    coords[end, :, 0] -= (x.min() + x.max()) / 2
            coords[..., 1] += radius
        material, owner = rows[name]
        soup.add(placed[chosen], coords, material, owner, normals[chosen])
    return slice(begin, soup.face_count())
