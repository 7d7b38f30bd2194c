"""Where an element stands in the periodic table: period, group and family."""

from __future__ import annotations

__all__ = ["FAMILIES", "GROUPS", "PERIODS", "family_of", "group_of", "period_of"]

NOBLE = (2, 10, 18, 36, 54, 86, 118)  # each ends a period
LANTHANIDES = range(57, 72)
ACTINIDES = range(89, 104)

PERIODS = 9  # 1 to 7 as 0 to 6, 7: lanthanides and actinides, 8: not an element
GROUPS = 18  # 1 to 18 as 0 to 17; lanthanides and actinides count as group 3
FAMILIES = (
    "alkali metal", "alkaline earth metal", "transition metal", "post-transition metal",
    "metalloid", "nonmetal", "halogen", "noble gas", "lanthanide", "actinide",
)  # fmt: skip

_METALLOIDS = {5, 14, 32, 33, 51, 52}
_NONMETALS = {1, 6, 7, 8, 15, 16, 34}
_POST_TRANSITION = {13, 31, 49, 50, 81, 82, 83, 84, 113, 114, 115, 116}


def period_of(
    number: int,  # atomic number
) -> int:
    """Category of the period, below PERIODS."""
    if not 1 <= number <= 118:
        return PERIODS - 1
    if number in LANTHANIDES or number in ACTINIDES:
        return 7
    return next(period for period, last in enumerate(NOBLE) if number <= last)


def group_of(
    number: int,  # atomic number, 1 to 118
) -> int:
    """Category of the group, below GROUPS: the group itself less one."""
    if number in LANTHANIDES or number in ACTINIDES:
        return 2
    if number == 1:
        return 0
    end = next(last for last in NOBLE if number <= last)
    start = NOBLE[NOBLE.index(end) - 1] if end > 2 else 0
    # The first two of a period stand at the left, all others count back from the noble gas.
    left = number - start <= 2 and number != 2
    return number - start - 1 if left else 17 - (end - number)


def family_of(
    number: int,  # atomic number, 1 to 118
) -> int:
    """Category of the family, a position in FAMILIES."""
    if number in LANTHANIDES or number in ACTINIDES:
        name = "lanthanide" if number in LANTHANIDES else "actinide"
    elif number in _NONMETALS:
        name = "nonmetal"
    elif number in _METALLOIDS:
        name = "metalloid"
    elif number in _POST_TRANSITION:
        name = "post-transition metal"
    else:
        names = {0: "alkali metal", 1: "alkaline earth metal", 16: "halogen", 17: "noble gas"}
        name = names.get(group_of(number), "transition metal")
    return FAMILIES.index(name)
