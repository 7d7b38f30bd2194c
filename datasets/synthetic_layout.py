"""A whole street as triangles: its plan, its cars on free places, and what stands along it."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from diffrender.datasets.synthetic_cars import PlacedCar, add_car, draw_cars
from diffrender.datasets.synthetic_close import across_the_end, draw_close_street, weathered
from diffrender.datasets.synthetic_close_sides import add_canopy, add_clutter, furnish
from diffrender.datasets.synthetic_geometry import Geometry, Soup
from diffrender.datasets.synthetic_ground import add_ground, draw_palette
from diffrender.datasets.synthetic_lorries import add_lorries
from diffrender.datasets.synthetic_roadside import Roadside
from diffrender.datasets.synthetic_settings import StreetSettings
from diffrender.datasets.synthetic_street import Side, Street, draw_street

__all__ = ["Layout", "draw_layout"]


@dataclass(frozen=True)
class Layout:
    """A street in the road frame.

    Attributes:
        street: its plan.
        cars: nearest first.
        geometry: everything, cars last.
        car_faces: range of the geometry's faces that each car owns.
    """

    street: Street
    cars: list[PlacedCar]
    geometry: Geometry
    car_faces: list[slice]


def draw_layout(draw: np.random.Generator, settings: StreetSettings, half_view: float) -> Layout:
    """Draw a street. `half_view` is the tangent of half the horizontal field of view."""
    # nothing is drawn for a share of 0, so that settings without it keep their bits
    close = settings.close > 0 and draw.random() < settings.close
    if close:
        street = draw_close_street(draw, settings.road_grade)
        settings = _with_room(settings, street)
    else:
        street = draw_street(draw, settings.road_grade)
    cars = draw_cars(draw, street, settings, half_view)
    palette = draw_palette(draw)
    if close:
        palette = weathered(draw, palette)
    soup = Soup()
    add_ground(soup, street, palette, draw)
    builder = Roadside(soup, street, palette, draw, cars, settings.clutter, half_view)
    for side in (street.left, street.right):
        builder.kerbside(side)
        furnish(builder, side)
        if close:
            _crowd(builder, side)
    if np.isfinite(street.end):
        closing = replace(builder, street=across_the_end(draw, street))
        furnish(closing, closing.street.left)
    if settings.lorries > 0:
        add_lorries(builder, settings.lorries)
    builder.backdrop()
    ranges = [add_car(soup, car, draw) for car in cars]
    return Layout(street, cars, soup.finish(), ranges)


def _with_room(settings: StreetSettings, street: Street) -> StreetSettings:
    """Fewer cars where there is less room, and none beyond what closes the street."""
    low, high = settings.distance
    cars = settings.cars if street.style not in ("lane", "yard") else (0, min(4, settings.cars[1]))
    last = max(low, min(high, street.end - 5))
    return replace(settings, cars=(min(cars), max(cars)), distance=(low, last))


def _crowd(builder: Roadside, side: Side) -> None:
    if builder.draw.random() < 0.3:
        add_canopy(builder, side)
    if builder.draw.random() < 0.5:
        add_clutter(builder, side)
