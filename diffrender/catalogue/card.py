"""The card of a technique: who, when, where, the idea, and what it claims about its gradients."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

from diffrender.errors import InputError

__all__ = ["FAMILIES", "PARAMETERS", "Card", "Claim", "Exactness", "Family", "Parameter", "Where"]

Family = Literal[
    "mesh, analytic",
    "mesh, approximate gradient",
    "mesh, approximate rendering",
    "global illumination",
    "voxels",
    "points",
    "implicit",
    "neural rendering",
]
Parameter = Literal["vertices", "attributes", "texture", "pose", "intrinsics", "light", "density"]
Where = Literal["interior", "silhouette", "both"]
Exactness = Literal["exact", "own", "biased"]

FAMILIES: tuple[Family, ...] = get_args(Family)
PARAMETERS: tuple[Parameter, ...] = get_args(Parameter)


@dataclass(frozen=True)
class Claim:
    """One thing that a technique says it is differentiable to. Tests hold it to that.

    Attributes:
        parameter: "vertices" are positions of any primitive (corners, centres), "attributes" their
            colours or features, "density" opacity, occupancy, signed distance or a field's weights,
            "pose" the camera's rotation and translation.
        where: inside surfaces, at silhouettes, or both.
        exactness: "exact" is the derivative of the scene's anti-aliased picture; "own" the exact
            derivative of the picture that the technique draws, which is not quite the scene's
            (blurred, or of another representation); "biased" is a rule that is neither.
    """

    parameter: Parameter
    where: Where
    exactness: Exactness


@dataclass(frozen=True)
class Card:
    """What a reader wants to know of a technique before using it.

    Attributes:
        name: the key, lower case with hyphens.
        title: as the field calls it.
        authors: "Family, I. and Family, I.", in the paper's order.
        year: of publication.
        paper: its title.
        venue: where it appeared.
        arxiv: its number there, or "" where it has none.
        sections: sections and equations of the paper that the file follows, and of the survey.
        equations: the heart of it, one formula a line.
        family: of the survey's taxonomy, brought up to date.
        idea: three sentences.
        claims: what it is differentiable to; empty where it only draws.
        memory: its order, in pixels P, primitives N, samples S and so on, each letter explained.
        time: its order.
        limits: where it fails.
        use_when: when to choose it.
    """

    name: str
    title: str
    authors: str
    year: int
    paper: str
    venue: str
    arxiv: str
    sections: str
    equations: tuple[str, ...]
    family: Family
    idea: tuple[str, str, str]
    claims: tuple[Claim, ...]
    memory: str
    time: str
    limits: str
    use_when: str

    def __post_init__(self) -> None:
        if self.family not in FAMILIES:
            raise InputError(
                f"card {self.name!r} has family {self.family!r}, expected one of {FAMILIES}"
            )
        asked = [claim.parameter for claim in self.claims]
        if len(set(asked)) != len(asked):
            raise InputError(f"card {self.name!r} claims a parameter twice: {asked}")

    def claim(self, parameter: Parameter) -> Claim | None:
        """The claim about a parameter, or None."""
        return next((claim for claim in self.claims if claim.parameter == parameter), None)

    def bibtex(self) -> str:
        """The paper as a BibTeX entry, keyed by the card's name."""
        journal = any(word in self.venue for word in ("Transactions", "Journal", "Forum"))
        kind = "misc" if not self.venue else "article" if journal else "inproceedings"
        place = {"misc": "howpublished", "article": "journal", "inproceedings": "booktitle"}[kind]
        rows = {
            "author": self.authors,
            "title": "{" + self.paper + "}",
            place: self.venue or "arXiv",
            "year": str(self.year),
        }
        if self.arxiv:
            rows |= {"eprint": self.arxiv, "archiveprefix": "arXiv"}
        body = ",\n".join(f"  {key} = {{{value}}}" for key, value in rows.items())
        return f"@{kind}{{{self.name},\n{body}\n}}"
