"""Object classes, the sizes to expect of them, and which prior describes which.

Car and Van: means and spreads are general knowledge of road vehicles (the Car mean is the class
average that KITTI publishes). The other means are the class averages of KITTI's training labels as
published with monocular and point-cloud detectors, rounded; spreads are estimates. None was fitted
to labels here.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from diffrender.errors import InputError
from diffrender.shape_priors import ShapePrior, load_prior

__all__ = [
    "BY_CLASS",
    "CLASS_SIZES",
    "KITTI_SIZES",
    "OTHER_SIZE",
    "ClassPriors",
    "ClassSize",
    "depth_span",
    "named_prior",
    "priors_by_class",
    "sizes_of",
]

BY_CLASS = "by-class"


@dataclass(frozen=True)
class ClassSize:
    """Mean and standard deviation of (length, width, height), metres."""

    mean: tuple[float, float, float]
    sigma: tuple[float, float, float]

    def __post_init__(self) -> None:
        for name in ("mean", "sigma"):
            sides = getattr(self, name)
            if len(sides) != 3 or not all(0 < side < math.inf for side in sides):
                raise InputError(
                    f"ClassSize.{name} is {tuple(sides)}, expected length, width and height above 0"
                )


CLASS_SIZES = {
    "Car": ClassSize((3.88, 1.63, 1.53), (0.40, 0.10, 0.13)),
    "Van": ClassSize((5.00, 1.90, 2.20), (0.60, 0.15, 0.30)),
}
"""What a single car prior describes: the default of `ReconstructSettings.class_sizes`."""

KITTI_SIZES = {
    **CLASS_SIZES,
    "Truck": ClassSize((10.0, 2.6, 3.3), (3.5, 0.25, 0.5)),
    "Pedestrian": ClassSize((0.84, 0.66, 1.76), (0.24, 0.14, 0.12)),
    "Person_sitting": ClassSize((0.80, 0.60, 1.28), (0.22, 0.10, 0.12)),
    "Cyclist": ClassSize((1.76, 0.60, 1.74), (0.18, 0.12, 0.10)),
    "Tram": ClassSize((16.0, 2.5, 3.5), (7.0, 0.2, 0.3)),
    "Misc": ClassSize((3.6, 1.5, 1.9), (1.5, 0.5, 0.6)),
}
OTHER_SIZE = ClassSize((2.5, 1.5, 1.7), (1.5, 0.6, 0.7))
"""Of a class that nobody has named: anything on a road."""

_PRIOR_OF_CLASS = {
    "Car": "car",
    "Van": "car",
    "Truck": "car",
    "Pedestrian": "pedestrian",
    "Person_sitting": "pedestrian",
    "Cyclist": "cyclist",
}
_REST = "free"


class ClassPriors(Mapping[str, ShapePrior]):
    """A prior for every class: the named ones' own, and one for all the rest.

    Iterating gives the named classes; looking one up never fails.
    """

    def __init__(self, named: Mapping[str, ShapePrior], rest: ShapePrior) -> None:
        self._named, self._rest = dict(named), rest

    def __getitem__(self, category: str) -> ShapePrior:
        return self._named.get(category, self._rest)

    def __contains__(self, category: object) -> bool:
        return isinstance(category, str)

    def __iter__(self) -> Iterator[str]:
        return iter(self._named)

    def __len__(self) -> int:
        return len(self._named)


def priors_by_class(car: ShapePrior | None = None) -> ClassPriors:
    """The shipped priors by KITTI's classes; a class that has none gets the free form.

    Car, Van and Truck: car; Pedestrian and Person_sitting: pedestrian; Cyclist: cyclist.

    Args:
        car: instead of the shipped car prior.
    """
    loaded = {name: load_prior(name) for name in {*_PRIOR_OF_CLASS.values(), _REST} - {"car"}}
    loaded["car"] = car or load_prior("car")
    named = {category: loaded[name] for category, name in _PRIOR_OF_CLASS.items()}
    return ClassPriors(named, loaded[_REST])


def named_prior(name: str) -> ShapePrior | ClassPriors:
    """A prior as the command line names it: "by-class", a shipped one's name, or a file.

    Raises:
        InputError: as `load_prior`.
    """
    return priors_by_class() if name == BY_CLASS else load_prior(name)


def sizes_of(categories: Iterable[str], known: Mapping[str, ClassSize]) -> dict[str, ClassSize]:
    """Sizes of the classes: those that the settings know, else KITTI's, else of anything."""
    return {
        category: known.get(category, KITTI_SIZES.get(category, OTHER_SIZE))
        for category in [*known, *categories]
    }


def depth_span(category: str) -> float:
    """Metres along the ray over which an object's depths may spread, whichever way it stands.

    A car's length with slack, for cars and classes that nobody has named; a person is thinner,
    and what lies farther behind one in its mask is background.
    """
    size = KITTI_SIZES.get(category)
    if size is None or category in CLASS_SIZES:
        return 5.0
    length, width, _ = size.mean
    return max(length, width) + 2 * size.sigma[0]
