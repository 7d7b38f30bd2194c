"""Examining techniques: derivatives against finite differences, basins of attraction, cost."""

from __future__ import annotations

from diffrender.catalogue.evaluate.gradients import ClaimResult as ClaimResult
from diffrender.catalogue.evaluate.gradients import MoveResult as MoveResult
from diffrender.catalogue.evaluate.gradients import Score as Score
from diffrender.catalogue.evaluate.gradients import Subject as Subject
from diffrender.catalogue.evaluate.gradients import check_claim as check_claim
from diffrender.catalogue.evaluate.gradients import check_claims as check_claims
from diffrender.catalogue.evaluate.moves import Move as Move
from diffrender.catalogue.evaluate.moves import in_double as in_double
from diffrender.catalogue.evaluate.moves import moves_of as moves_of
from diffrender.catalogue.evaluate.pictures import GradientPictures as GradientPictures
from diffrender.catalogue.evaluate.pictures import gradient_pictures as gradient_pictures
from diffrender.catalogue.evaluate.reference import difference_of_own as difference_of_own
from diffrender.catalogue.evaluate.reference import (
    difference_of_triangles as difference_of_triangles,
)
from diffrender.catalogue.evaluate.reference import silhouette_pixels as silhouette_pixels
from diffrender.catalogue.evaluate.reference import supersampled as supersampled

__all__ = [
    "ClaimResult",
    "GradientPictures",
    "Move",
    "MoveResult",
    "Score",
    "Subject",
    "check_claim",
    "check_claims",
    "difference_of_own",
    "difference_of_triangles",
    "gradient_pictures",
    "in_double",
    "moves_of",
    "silhouette_pixels",
    "supersampled",
]
