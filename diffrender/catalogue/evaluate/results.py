"""What was measured of a technique, in one file: it can be measured anew without the others."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from diffrender._files import write_text_atomic
from diffrender.catalogue.evaluate.basin import Trial
from diffrender.catalogue.evaluate.cost import Cell
from diffrender.errors import InputError

__all__ = ["ClaimRow", "Measured", "MovePictures", "load_measured"]

SCHEMA = 1
_MOST_BYTES = 8 * 2**20
T = TypeVar("T")


@dataclass(frozen=True)
class MovePictures:
    """One direction of a claim. Pictures are base64 PNG: grey is no change, each to its own scale.

    Attributes:
        move, kind: the direction, and "triangles" or "own".
        cosines, signs: of the image at "all", "interior" and "silhouette" pixels, and of the
            silhouette map as "coverage".
        length: of the gradient picture, in lengths of the reference.
        gradient, reference: of the image.
        gradient_coverage, reference_coverage: of the silhouette map.
    """

    move: str
    kind: str
    cosines: dict[str, float]
    signs: dict[str, float]
    length: float
    gradient: str = field(repr=False)
    reference: str = field(repr=False)
    gradient_coverage: str = field(repr=False)
    reference_coverage: str = field(repr=False)


@dataclass(frozen=True)
class ClaimRow:
    """A claim and whether it holds; cosine and sign are the lowest over what is claimed."""

    parameter: str
    where: str
    exactness: str
    holds: bool
    cosine: float
    sign: float
    stride: int
    moves: tuple[MovePictures, ...]


@dataclass(frozen=True)
class Measured:
    """Everything of one technique; a part that was not measured yet is None.

    Attributes:
        technique: its card's name.
        machine: what the times depend on.
        picture, silhouette, depth: of the standard scene, base64 PNG.
        claims: one a claim of the card at that time.
        trials: descents to the pose; empty where the card does not claim pose.
        cells: time and memory.
    """

    technique: str
    machine: dict[str, Any]
    picture: str | None = field(default=None, repr=False)
    silhouette: str | None = field(default=None, repr=False)
    depth: str | None = field(default=None, repr=False)
    claims: tuple[ClaimRow, ...] | None = None
    trials: tuple[Trial, ...] | None = None
    cells: tuple[Cell, ...] | None = None

    def write(self, folder: Path) -> Path:
        """Write NAME.json into a folder, whole or not at all."""
        text = json.dumps({"schema": SCHEMA, **dataclasses.asdict(self)}, allow_nan=False)
        return write_text_atomic(folder / f"{self.technique}.json", text + "\n")


def load_measured(path: Path) -> Measured:
    """Read one file of `measure`.

    Raises:
        InputError: it is too large, or not of this form.
    """
    if path.stat().st_size > _MOST_BYTES:
        raise InputError(f"{path.name} has {path.stat().st_size} bytes, expected at most 8 MiB")
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values.pop("schema") != SCHEMA:
            raise InputError(f"expected schema {SCHEMA}")
        claims, trials, cells = (values.pop(key) for key in ("claims", "trials", "cells"))
        if claims is not None:
            for claim in claims:
                claim["moves"] = _records(MovePictures, claim["moves"])
        measured = Measured(
            claims=_records(ClaimRow, claims),
            trials=_records(Trial, trials),
            cells=_records(Cell, cells),
            **values,
        )
        _check(measured)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name} is no file of `bench catalogue`: {error}") from error
    return measured


def _records(kind: Callable[..., T], rows: list[dict[str, Any]] | None) -> tuple[T, ...] | None:
    return None if rows is None else tuple(kind(**row) for row in rows)


_NUMBERS = ("cosine", "sign", "length", "degrees", "shift", "seconds", "error", "forward")


def _check(measured: Measured) -> None:
    """Pictures are PNG and numbers are numbers, since both go into pages."""
    pictures = [measured.picture, measured.silhouette, measured.depth]
    rows: list[Any] = [*(measured.claims or ()), *(measured.trials or ()), *(measured.cells or ())]
    for claim in measured.claims or ():
        rows += claim.moves
        for move in claim.moves:
            pictures += [move.gradient, move.reference]
            pictures += [move.gradient_coverage, move.reference_coverage]
            rows += [{"cosine": v} for v in (*move.cosines.values(), *move.signs.values())]
    for picture in pictures:
        if picture is not None and not _decoded(picture).startswith(b"\x89PNG\r\n\x1a\n"):
            raise ValueError("a picture is not a PNG")
    for row in rows:
        named = row if isinstance(row, dict) else vars(row)
        for key in _NUMBERS:
            if key in named and not isinstance(named[key], int | float):
                raise ValueError(f"{key} is {named[key]!r}, expected a number")


def _decoded(picture: str) -> bytes:
    try:
        return base64.b64decode(picture, validate=True)
    except binascii.Error as error:
        raise ValueError(f"a picture is not base64: {error}") from error
