"""Holding cards to their claims: backward's picture of a derivative beside finite differences."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Claim, Parameter
from diffrender.catalogue.evaluate.moves import (
    MOTIONS,
    Move,
    in_double,
    moves_of,
    within_bounds,
)
from diffrender.catalogue.evaluate.pictures import every, gradient_pictures
from diffrender.catalogue.evaluate.reference import (
    difference_of_own,
    difference_of_triangles,
    silhouette_pixels,
)
from diffrender.catalogue.registry import Technique
from diffrender.catalogue.scene import Scene, Triangles
from diffrender.catalogue.standard import standard_camera, standard_scene

__all__ = [
    "BIASED",
    "EXACT",
    "OWN",
    "THRESHOLDS",
    "ClaimResult",
    "MoveResult",
    "Score",
    "Subject",
    "Threshold",
    "check_claim",
    "check_claims",
]


@dataclass(frozen=True)
class Threshold:
    """Least cosine similarity, and least share of pixels whose sign agrees."""

    cosine: float
    sign: float


# Half of an outline pixel's derivative may fall on its neighbour, and the difference itself is a
# mean over 0.6 pixels: two right answers agree to 0.9 and a little more, not to 0.99.
EXACT = Threshold(cosine=0.9, sign=0.8)
# Both are derivatives of one smooth picture in double precision; the hundredth is for kinks.
OWN = Threshold(cosine=0.99, sign=0.95)
# A rule that points the right way more often than not. Random pictures of this many pixels have
# cosines below 0.1 and signs that agree in half of the pixels.
BIASED = Threshold(cosine=0.2, sign=0.6)
THRESHOLDS = {"exact": EXACT, "own": OWN, "biased": BIASED}
# Pixels whose reference is smaller, as a share of its largest value, have no sign to speak of.
_SMALL = 0.02


@dataclass(frozen=True)
class Score:
    """How well two pictures of a derivative agree over some pixels.

    Attributes:
        cosine: similarity of the two as vectors, in [-1, 1]; 0 where one of them vanishes.
        sign: share of values with the same sign, among those whose reference is above 2 % of its
            maximum; 0 where there are none.
        pixels: how many pixels were looked at; without any, nothing agrees.
    """

    cosine: float
    sign: float
    pixels: int

    def reaches(self, threshold: Threshold) -> bool:
        """Whether both numbers are large enough."""
        return self.cosine >= threshold.cosine and self.sign >= threshold.sign


@dataclass(frozen=True)
class MoveResult:
    """One direction: the two pictures and how they agree.

    Attributes:
        move: its name.
        reference_kind: "triangles" (supersampled and hard) or "own" (the technique's picture).
        gradient, reference: (H, W, 4): red, green, blue, silhouette, at every `stride`-th
            pixel of each row and column.
        scores: of the image over "all", "interior" and "silhouette" pixels, and "coverage" of the
            silhouette map over silhouette pixels.
    """

    move: str
    reference_kind: str
    gradient: Tensor = field(repr=False)  # (H, W, 4)
    reference: Tensor = field(repr=False)  # (H, W, 4)
    stride: int
    scores: dict[str, Score]

    def best(self, region: str, threshold: Threshold) -> Score:
        """Of the image; at silhouettes of the silhouette map, where that alone is good enough.

        Some techniques give an outline a gradient in the silhouette map only.
        """
        image, coverage = self.scores[region], self.scores["coverage"]
        by_map = region == "silhouette" and not image.reaches(threshold)
        return coverage if by_map and coverage.reaches(threshold) else image


@dataclass(frozen=True)
class ClaimResult:
    """Whether a claim holds, and the numbers.

    Attributes:
        claim: what was claimed.
        threshold: what its kind of exactness asks for.
        moves: one result a direction; all have to hold.
    """

    claim: Claim
    threshold: Threshold
    moves: tuple[MoveResult, ...]

    @property
    def regions(self) -> tuple[str, ...]:
        """Kinds of pixels that the claim speaks of."""
        both = ("interior", "silhouette")
        return both if self.claim.where == "both" else (self.claim.where,)

    @property
    def holds(self) -> bool:
        """Every direction reaches the threshold in every region that is claimed."""
        return all(
            m.best(r, self.threshold).reaches(self.threshold)
            for m in self.moves
            for r in self.regions
        )

    @property
    def cosine(self) -> float:
        """The lowest over directions and claimed regions."""
        return min(m.best(r, self.threshold).cosine for m in self.moves for r in self.regions)

    @property
    def sign(self) -> float:
        """The lowest over directions and claimed regions."""
        return min(m.best(r, self.threshold).sign for m in self.moves for r in self.regions)

    def __str__(self) -> str:
        rows = [f"{self.claim}: {'holds' if self.holds else 'DOES NOT HOLD'} at {self.threshold}"]
        for m in self.moves:
            said = [f"{r} cos {s.cosine:.3f} sign {s.sign:.3f}" for r, s in m.scores.items()]
            rows.append(f"  {m.move} against {m.reference_kind}: " + ", ".join(said))
        return "\n".join(rows)


@dataclass(frozen=True)
class Subject:
    """A technique with the scene on which it is examined.

    Attributes:
        technique: the one.
        size: (height, width) of the standard camera's picture.
        seconds: patience where pixels must be asked one by one (`gradient_pictures`).
    """

    technique: Technique
    size: tuple[int, int] = (48, 64)
    seconds: float = 60.0

    def scene(self, parameter: Parameter) -> Scene:
        """The standard scene; its floor has a texture where that is asked about.

        A technique that makes textures of its own is shown the scene without.
        """
        if parameter != "texture":
            return standard_scene()
        scene = standard_scene(textured=True)
        drawn = isinstance(self.technique.prepare(scene).content, Triangles)
        return scene if drawn else standard_scene()

    def camera(self) -> Camera:
        """The standard camera at this size."""
        return standard_camera(self.size)


def check_claim(
    technique: Technique, claim: Claim, size: tuple[int, int] = (48, 64)
) -> ClaimResult:
    """Compare one claim of a card with finite differences on the standard scene.

    "exact" and "biased" are held against the supersampled triangles, in float32; where the
    technique draws something of its own and the parameter has no counterpart in the triangles
    (density, its own attributes or textures), against its own picture. "own" is held against the
    technique's own picture, in float64.
    """
    return check_claims(Subject(technique, size), [claim])[0]


def check_claims(subject: Subject, claims: Sequence[Claim] | None = None) -> list[ClaimResult]:
    """The same for several claims (None: all on the card), preparing and drawing once.

    Raises:
        InputError: the prepared scene holds no such parameter.
    """
    claims = subject.technique.card.claims if claims is None else claims
    # What cannot be examined in one picture: another precision, another scene, other bounds.
    groups: dict[tuple[bool, bool, bool], list[Claim]] = {}
    for claim in claims:
        kinds = claim.parameter == "texture", claim.parameter == "density"
        groups.setdefault((claim.exactness == "own", *kinds), []).append(claim)
    found: dict[Claim, ClaimResult] = {}
    for (double, *_), chosen in groups.items():
        found |= dict(zip(chosen, _examine(subject, chosen, double), strict=True))
    return [found[claim] for claim in claims]


def score(gradient: Tensor, reference: Tensor, where: Tensor) -> Score:  # (H, W, C) x 2, (H, W)
    """Agreement of two pictures over the pixels of a mask."""
    g, r = gradient[where].double().reshape(-1), reference[where].double().reshape(-1)
    size = g.norm() * r.norm()
    cosine = (g @ r / size).item() if size > 0 else 0.0
    # The largest value of the whole picture, so that a region without any change has no sign.
    large = r.abs() > _SMALL * reference.abs().max()
    agree = ((g.sign() == r.sign()) & large).sum() / large.sum() if large.any() else 0.0
    return Score(cosine, float(agree), int(where.sum()))


def _examine(subject: Subject, claims: list[Claim], double: bool) -> list[ClaimResult]:
    technique = subject.technique
    scene, camera = subject.scene(claims[0].parameter), subject.camera()
    outline = silhouette_pixels(scene, camera)
    if double:
        scene, camera = in_double(scene, camera)
    prepared = technique.prepare(scene)
    if claims[0].parameter == "density":
        prepared = within_bounds(prepared)
    moves = [moves_of(claim.parameter, prepared) for claim in claims]
    flat = [move for group in moves for move in group]
    backward = gradient_pictures(technique, prepared, camera, flat, seconds=subject.seconds)
    pictures = dict(zip((m.name for m in flat), backward.pictures, strict=True))
    results = []
    for claim, group in zip(claims, moves, strict=True):
        own = claim.exactness == "own" or not _in_triangles(claim.parameter, prepared)
        found = []
        for move in group:
            # The same direction for the triangles, whatever the technique made of them: its length
            # in pixels, and its reference.
            same = None if own and move.parameter not in MOTIONS else _in_scene(move, scene)
            if own:
                reference = difference_of_own(technique, move, same, scene, prepared, camera)
            else:
                assert same is not None
                reference = difference_of_triangles(same, scene, camera, technique)
            pair = pictures[move.name], every(backward.stride, reference)
            found.append(_compare(move, own, pair, outline, backward.stride))
        results.append(ClaimResult(claim, THRESHOLDS[claim.exactness], tuple(found)))
    return results


def _in_triangles(parameter: Parameter, prepared: Scene) -> bool:
    """Whether a move of the parameter means the same for the triangles."""
    if isinstance(prepared.content, Triangles):
        return parameter != "density"
    return parameter in ("pose", "intrinsics", "vertices", "light")


def _in_scene(move: Move, scene: Scene) -> Move:
    return next(m for m in moves_of(move.parameter, scene) if m.name == move.name)


def _compare(
    move: Move, own: bool, pair: tuple[Tensor, Tensor], outline: Tensor, stride: int
) -> MoveResult:
    gradient, reference = pair
    edge = every(stride, outline)
    regions = {"all": torch.ones_like(edge), "interior": ~edge, "silhouette": edge}
    scores = {
        r: score(gradient[..., :3], reference[..., :3], where) for r, where in regions.items()
    }
    scores["coverage"] = score(gradient[..., 3:], reference[..., 3:], edge)
    return MoveResult(
        move.name, "own" if own else "triangles", gradient.detach(), reference, stride, scores
    )
