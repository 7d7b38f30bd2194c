"""Discrete moves: other hypotheses near a fitted one that no descent would reach.

Each starts a descent of its own beside the one it came from, and is kept only if it ends lower.
"""

from __future__ import annotations

import dataclasses
import math

import torch
from torch import Tensor

from diffrender.reconstruct.hypotheses import Hypotheses

__all__ = ["turn_between", "with_moves"]

_SAME = math.radians(10)  # headings nearer than this are one hypothesis when a stage starts


def turn_between(first: float, second: float) -> float:
    """Angle between two headings, 0 to pi."""
    return abs((first - second + math.pi) % (2 * math.pi) - math.pi)


def with_moves(
    hypotheses: Hypotheses,
    turns: tuple[float, ...] = (),
    jumps: tuple[float, ...] = (),
    swap: bool = False,
) -> tuple[Hypotheses, list[int]]:
    """The hypotheses followed by what the moves make of them, and which one each came from.

    Args:
        turns: degrees added to the yaw, where no other hypothesis of the object stands yet.
        jumps: shares of the depth by which the object moves along its ray, its size kept; of the
            first hypothesis of each object only.
        swap: also the first one's box with length and width exchanged, turned by 90 degrees either
            way: the same footprint with another heading.
    """
    owner = hypotheses.owner.tolist()
    yaws = hypotheses.angles[:, 0].tolist()
    source, made = list(range(len(owner))), [hypotheses]
    taken = list(zip(owner, yaws, strict=True))

    def add(indices: list[int], moved: Hypotheses) -> None:
        if indices:
            source.extend(indices)
            made.append(moved)

    for degrees in turns:
        chosen = []
        for i in range(len(owner)):
            yaw = yaws[i] + math.radians(degrees)
            if all(o != owner[i] or turn_between(yaw, other) > _SAME for o, other in taken):
                taken.append((owner[i], yaw))
                chosen.append(i)
        picked = hypotheses[_index(chosen, hypotheses)]
        add(chosen, picked.turned(torch.full((len(chosen),), math.radians(degrees))))
    leaders = [owner.index(o) for o in sorted(set(owner))]
    best = hypotheses[_index(leaders, hypotheses)]
    for share in jumps:
        log = math.log1p(share)
        jumped = dataclasses.replace(
            best, log_depth=best.log_depth + log, log_apparent=best.log_apparent - log
        )
        add(leaders, jumped)
    if swap:
        swapped = dataclasses.replace(best, log_apparent=best.log_apparent[:, [1, 0, 2]])
        for sign in (1, -1):
            add(leaders, swapped.turned(torch.full((len(leaders),), sign * math.pi / 2)))
    joined = made[0]
    for part in made[1:]:
        joined = Hypotheses.join(joined, part)
    return joined, source


def _index(numbers: list[int], like: Hypotheses) -> Tensor:
    return torch.tensor(numbers, dtype=torch.int64, device=like.owner.device)
