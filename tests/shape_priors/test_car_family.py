"""The procedural cars: closed, outward, symmetric, one topology, a sound atlas, plausible."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch

from diffrender.errors import InputError
from diffrender.meshes import face_normals
from diffrender.shape_priors import CAR_KINDS, sample_car
from diffrender.shape_priors.car_family import car_surface, family_atlas
from diffrender.shape_priors.car_lattice import CHARTS, NX, PART_NAMES, lattice
from diffrender.shape_priors.car_params import draw_parameters, typical_parameters


def _generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def _volume(vertices: np.ndarray, faces: np.ndarray) -> float:
    a, b, c = (vertices[faces[:, i]] for i in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


def test_lattice_is_closed_and_consistently_wound() -> None:
    faces = lattice().faces
    directed = Counter((int(f[i]), int(f[(i + 1) % 3])) for f in faces for i in range(3))
    assert set(directed.values()) == {1}
    assert all((b, a) in directed for a, b in directed)
    vertices = len(lattice().nodes)
    assert vertices - len(directed) // 2 + len(faces) == 2  # a sphere
    assert set(np.unique(faces)) == set(range(vertices))
    assert 700 <= len(faces) <= 1400


def test_lattice_is_mirrored_onto_itself() -> None:
    skin = lattice()
    assert (skin.mirror[skin.mirror] == np.arange(len(skin.nodes))).all()
    mirrored = {tuple(np.roll(f, -int(f.argmin()))) for f in skin.mirror[skin.faces][:, ::-1]}
    assert mirrored == {tuple(np.roll(f, -int(f.argmin()))) for f in skin.faces}


@pytest.mark.parametrize("kind", CAR_KINDS)
def test_every_kind_is_a_sound_car(kind: str) -> None:
    generator, skin = _generator(3), lattice()
    for _ in range(20):
        parameters = draw_parameters(kind, generator)
        surface = car_surface(parameters)
        assert np.isfinite(surface).all()
        low, high = surface.min(0), surface.max(0)
        length, height, width = high - low
        assert length == pytest.approx(parameters.length, abs=0.02)
        assert height == pytest.approx(parameters.height, abs=0.04)
        assert width == pytest.approx(parameters.width, abs=0.05)
        assert high[1] == pytest.approx(0)  # stands on the road
        box = length * height * width
        assert 0.45 * box < _volume(surface, skin.faces) < 0.85 * box
        np.testing.assert_allclose(surface[skin.mirror] * [1, 1, -1], surface, atol=1e-12)


@pytest.mark.parametrize("kind", CAR_KINDS)
def test_sides_face_the_way_they_should(kind: str) -> None:
    """A typical car does not fold: the normals of each side point away from it."""
    skin = lattice()
    vertices = torch.from_numpy(car_surface(typical_parameters(kind)))
    normals = face_normals(vertices, torch.from_numpy(skin.faces))
    outward = {
        "right": (2, -1), "left": (2, 1), "top": (1, -1), "front": (0, 1), "rear": (0, -1),
    }  # fmt: skip
    for name, (axis, sign) in outward.items():
        chart = normals[torch.from_numpy(skin.face_charts == list(CHARTS).index(name))]
        assert (sign * chart[:, axis] > 0).all(), name


def test_convention_front_is_plus_x_and_up_is_minus_y() -> None:
    skin = lattice()
    surface = car_surface(typical_parameters("saloon"))
    middle = surface[skin.faces].mean(1)
    of = {name: middle[skin.face_parts == i] for i, name in enumerate(PART_NAMES)}
    assert of["head_light"][:, 0].min() > 1.0 > -1.0 > of["tail_light"][:, 0].max()
    assert of["glass"][:, 1].max() < of["underside"][:, 1].min()
    assert of["wheel"][:, 1].max() > -0.1  # tyres touch the road at y = 0


def test_wheels_bulge_below_the_sill_and_leave_the_middle_open() -> None:
    skin = lattice()
    car = typical_parameters("hatchback")
    surface = car_surface(car)
    low = surface[:, 1] > -0.5 * car.clearance
    x = surface[low, 0]
    axles = np.array([car.rear_overhang, car.length - car.front_overhang]) - car.length / 2
    assert np.abs(x[:, None] - axles).min(1).max() < car.wheel_radius
    assert np.abs(surface[low, 2]).min() > 0.4  # nothing but tyres that low
    assert set(np.unique(skin.nodes[low, 0])) < set(range(1, NX))


def test_atlas_charts_stay_apart_and_inside() -> None:
    shapely = pytest.importorskip("shapely")
    uv, face_uv = family_atlas()
    assert uv.min() >= 0
    assert uv.max() <= 1
    triangles = uv[face_uv]
    edges = triangles[:, 1:] - triangles[:, :1]
    area = (edges[:, 0, 0] * edges[:, 1, 1] - edges[:, 0, 1] * edges[:, 1, 0]) / 2
    skin = lattice()
    for chart in range(len(CHARTS)):  # one orientation a chart: nothing folds over
        assert len(np.unique(np.sign(area[skin.face_charts == chart]))) == 1
    union = shapely.union_all([shapely.Polygon(t) for t in triangles])
    assert union.area == pytest.approx(np.abs(area).sum(), rel=1e-6)


def test_parts_cover_every_face_and_all_names_are_used() -> None:
    parts = lattice().face_parts
    assert sorted(np.unique(parts)) == list(range(len(PART_NAMES)))


def test_sample_fills_the_unit_box_with_shared_topology() -> None:
    generator = _generator(7)
    first = None
    for kind in CAR_KINDS:
        sample = sample_car(kind, generator)
        vertices = sample.mesh.vertices
        assert vertices.amin(0).tolist() == [-0.5, -1.0, -0.5]
        assert vertices.amax(0).tolist() == [0.5, 0.0, 0.5]
        assert sample.kind == kind
        length, width, height = sample.size.tolist()
        assert 3.2 < length < 6.2
        assert 1.5 < width < 2.1
        assert 1.2 < height < 2.1
        first = first or sample
        assert torch.equal(sample.mesh.faces, first.mesh.faces)
        assert torch.equal(sample.mesh.uv, first.mesh.uv)


def test_samples_follow_the_generator() -> None:
    one, same, other = (sample_car("suv", _generator(seed)) for seed in (5, 5, 6))
    assert torch.equal(one.mesh.vertices, same.mesh.vertices)
    assert not torch.equal(one.mesh.vertices, other.mesh.vertices)


def test_kinds_differ_as_their_names_say() -> None:
    size = {kind: car_surface(typical_parameters(kind)) for kind in CAR_KINDS}
    roof = {kind: -s[:, 1].min() for kind, s in size.items()}
    assert roof["coupe"] < roof["saloon"] < roof["suv"] < roof["van"]
    behind = {k: -s[s[:, 0] < s[:, 0].min() + 0.6, 1].min() / roof[k] for k, s in size.items()}
    assert behind["saloon"] < 0.85 < behind["estate"]  # a boot, and a roof to the tail
    assert behind["pickup"] < 0.75


def test_unknown_kind_is_refused() -> None:
    with pytest.raises(InputError, match=r"unknown kind of car 'tank'.*saloon, hatchback"):
        sample_car("tank", _generator())
