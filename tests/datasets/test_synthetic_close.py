"""Close places of the synthetic streets, and that settings without them keep their draws."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from diffrender.datasets.depth_frames import VARIED_STREETS
from diffrender.datasets.synthetic import (
    DEVELOPMENT_SEED,
    StreetSettings,
    SyntheticStreets,
    _draw_calibration,
    _draw_tilt,
)
from diffrender.datasets.synthetic_close import across_the_end, draw_close_street, weathered
from diffrender.datasets.synthetic_close_sides import furnish
from diffrender.datasets.synthetic_geometry import Geometry, Material, Soup
from diffrender.datasets.synthetic_ground import draw_palette
from diffrender.datasets.synthetic_layout import draw_layout
from diffrender.datasets.synthetic_light import draw_light
from diffrender.datasets.synthetic_lorries import add_lorries, add_lorry
from diffrender.datasets.synthetic_roadside import Roadside
from diffrender.datasets.synthetic_street import Street, draw_street
from diffrender.errors import InputError

CLOSE = StreetSettings(close=1.0)
NEW_ZONES = ("fronts", "garden", "garages", "thicket", "boards", "blank")


def streets(count: int) -> list[Street]:
    return [draw_close_street(np.random.default_rng(k), 0.012) for k in range(count)]


def roadside(street: Street, seed: int = 0) -> Roadside:
    draw = np.random.default_rng(seed)
    return Roadside(Soup(), street, draw_palette(draw), draw, [], 1.0, 0.9)


# Taken from the generator as it was before it had close places, lorries and hard light: faces,
# cars, mean absolute coordinate, and the number that either stream gives next.
BEFORE = (
    (1, 0, 137522, 4, 29.429, 0.6932936735933287, 0.7115897427797051),
    (1, 7, 156900, 3, 26.741, 0.09532182617936602, 0.11620334641416519),
    (7, 3, 62374, 11, 56.343, 0.99072287590444, 0.9863938203656066),
    (2, 11, 43320, 11, 53.419, 0.2619788961460765, 0.520667993233764),
)


@pytest.mark.parametrize("row", BEFORE)
def test_settings_without_close_places_draw_what_they_always_drew(
    row: tuple[int, int, int, int, float, float, float],
) -> None:
    seed, index, faces, cars, mean, next_plan, next_looks = row
    settings = StreetSettings()
    plan, looks = (np.random.default_rng([seed, index, part]) for part in range(2))
    camera = _draw_calibration(plan, (64, 212), settings).camera((64, 212))
    _draw_tilt(plan, settings)
    layout = draw_layout(plan, settings, 106 / float(camera.intrinsics[0, 0]))
    draw_light(looks, settings.sunny, settings.hard_light)
    assert len(layout.geometry.corners) == faces
    assert len(layout.cars) == cars
    assert float(np.abs(layout.geometry.corners).mean()) == pytest.approx(mean, abs=2e-3)
    assert plan.random() == next_plan
    assert looks.random() == next_looks


def test_close_places_are_repeatable_and_another_draw() -> None:
    first, second, open_ = (
        SyntheticStreets(3, 2, (64, 212), settings)[1]
        for settings in (VARIED_STREETS, VARIED_STREETS, replace(VARIED_STREETS, close=0.0))
    )
    assert np.array_equal(first.image, second.image)
    assert np.array_equal(first.depth, second.depth)
    assert not np.array_equal(first.depth, open_.depth)


def test_close_places_are_closer_than_streets() -> None:
    def median(settings: StreetSettings) -> float:
        frames = SyntheticStreets(DEVELOPMENT_SEED, 10, (48, 160), settings)
        return float(np.median([np.median(np.where(f.depth > 0, f.depth, 200)) for f in frames]))

    assert median(CLOSE) < 0.7 * median(StreetSettings())


def test_plans_have_room_for_the_camera_and_are_of_every_kind() -> None:
    plans = streets(60)
    assert {"lane", "yard"} < {plan.style for plan in plans}
    for plan in plans:
        assert plan.left_edge < -1.0 or plan.style not in ("lane", "yard")
        assert plan.right_edge > 1.0 or plan.style not in ("lane", "yard")
        np.testing.assert_allclose(plan.place(0.0, 0.0), 0, atol=1e-9)
        assert plan.end > 8.9
    assert any(np.isfinite(plan.end) and np.isfinite(plan.crossing[0]) for plan in plans)
    assert any(not np.isfinite(plan.end) for plan in plans)


def test_the_closing_line_crosses_the_end_and_faces_the_camera() -> None:
    for seed, street in enumerate(streets(12)):
        if not np.isfinite(street.end):
            continue
        line = across_the_end(np.random.default_rng(seed), street)
        end = street.place(0.0, street.end)
        np.testing.assert_allclose(line.place(0.0, 55.0), end, atol=1e-6)
        side = line.left
        built = line.place(-(line.edge(side) + side.width + 1.0), 55.0)
        ahead = street.place(0.0, street.end + 5) - end
        assert (built - end) @ ahead > 0  # what stands there is beyond the line


@pytest.mark.parametrize("zone", NEW_ZONES)
def test_every_close_zone_stands_beyond_the_road_and_within_reach(zone: str) -> None:
    street = replace(draw_street(np.random.default_rng(4), 0.0), crossing=(np.inf, np.inf))
    side = replace(street.right, zone=zone, bank=0.0)
    builder = roadside(street)
    furnish(builder, side)
    geometry: Geometry = builder.soup.finish()
    near = geometry.corners[(geometry.corners[..., 2].mean(1) < 12)]
    begin = street.edge(side) + side.width
    aside = near[..., 0].mean(1)
    assert begin - 4.0 < aside.min() < begin + 1.6
    assert np.isfinite(geometry.corners).all()
    assert np.quantile(geometry.corners[..., 1], 0.01) < -1.2  # higher than a kerb


def test_a_crossing_stays_open_in_a_blank_wall() -> None:
    street = replace(draw_street(np.random.default_rng(4), 0.0), crossing=(12.0, 20.0))
    builder = roadside(street)
    furnish(builder, replace(street.right, zone="blank"))
    geometry = builder.soup.finish()
    wall = geometry.coords[geometry.material == Material.WALL]
    assert len(wall)
    along = wall[..., 0]
    assert not ((along > 12) & (along < 20)).any()


@pytest.mark.parametrize("length", [3.0, 6.0, 12.0])
def test_a_lorry_fills_its_length_and_stands_on_the_ground(length: float) -> None:
    soup = Soup()
    add_lorry(soup, np.array([0.0, 0.0, 20.0]), 0.0, length, np.random.default_rng(1))
    corners = soup.finish().corners.reshape(-1, 3)
    assert corners[:, 2].max() - corners[:, 2].min() == pytest.approx(length, abs=0.1)
    assert 1.6 < corners[:, 0].max() - corners[:, 0].min() < 2.7
    assert corners[:, 1].max() == pytest.approx(0.0, abs=0.02)
    assert 1.3 < -corners[:, 1].min() < 4.2


def test_lorries_keep_clear_of_cars() -> None:
    settings = StreetSettings(lorries=6.0, cars=(6, 11))
    lorries = 0
    for seed in range(6):
        with_lorries, without = (
            draw_layout(np.random.default_rng(seed), s, 0.9)
            for s in (settings, replace(settings, lorries=0.0))
        )
        lorries += len(with_lorries.geometry.looks) > len(without.geometry.looks)
        builder = replace(roadside(with_lorries.street, seed), cars=with_lorries.cars)
        add_lorries(builder, 6.0)
        if not builder.soup.pieces:
            continue
        corners = builder.soup.finish().corners.reshape(-1, 3)
        for car in with_lorries.cars:
            local = (corners - car.foot) @ car.rotation
            inside = (np.abs(local[:, 0]) < car.size[0] / 2) & (
                np.abs(local[:, 2]) < car.size[1] / 2
            )
            assert not inside.any()
    assert lorries > 0


def test_hard_light_deepens_the_shade_and_keeps_the_sun() -> None:
    for seed in range(5):
        soft, hard = (draw_light(np.random.default_rng(seed), 1.0, h) for h in (0.0, 1.0))
        np.testing.assert_array_equal(soft.to_sun, hard.to_sun)
        assert (hard.sun >= soft.sun).all()
        assert (hard.ambient < soft.ambient).all()


def test_weathered_grounds_span_dark_and_bleached() -> None:
    draw = np.random.default_rng(0)
    palette = draw_palette(draw)
    road = [weathered(draw, palette).asphalt.mean() for _ in range(50)]
    assert min(road) < 0.12
    assert max(road) > 0.35
    assert np.array_equal(weathered(draw, palette).leaf, palette.leaf)


def test_shares_out_of_range_are_refused() -> None:
    with pytest.raises(InputError, match="close is 2, expected 0 to 1"):
        StreetSettings(close=2)
    with pytest.raises(InputError, match="lorries is -1, expected 0 to 20"):
        StreetSettings(lorries=-1)


def test_no_thicket_grows_into_the_camera() -> None:
    for seed in range(3):
        street = _thicketed(seed)
        builder = roadside(street, seed)
        for side in (street.left, street.right):
            furnish(builder, side)
        corners = builder.soup.finish().corners.reshape(-1, 3)
        eye = np.array([0.0, -1.65, 0.0])
        assert np.linalg.norm(corners - eye, axis=1).min() > 0.8


def _thicketed(seed: int) -> Street:
    street = draw_street(np.random.default_rng(seed), 0.0)
    sides = {
        name: replace(getattr(street, name), zone="thicket", bank=0.0) for name in ("left", "right")
    }
    return replace(street, crossing=(np.inf, np.inf), **sides)
