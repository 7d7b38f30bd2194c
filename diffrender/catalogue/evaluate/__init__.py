"""Examining techniques: derivatives against finite differences, basins of attraction, cost."""

from __future__ import annotations

from diffrender.catalogue.evaluate.basin import BasinSettings as BasinSettings
from diffrender.catalogue.evaluate.basin import Level as Level
from diffrender.catalogue.evaluate.basin import Trial as Trial
from diffrender.catalogue.evaluate.basin import bias_of as bias_of
from diffrender.catalogue.evaluate.basin import find_pose as find_pose
from diffrender.catalogue.evaluate.basin import levels_of as levels_of
from diffrender.catalogue.evaluate.basin import starts as starts
from diffrender.catalogue.evaluate.cost import Cell as Cell
from diffrender.catalogue.evaluate.cost import CostSettings as CostSettings
from diffrender.catalogue.evaluate.cost import measure_cost as measure_cost
from diffrender.catalogue.evaluate.gradients import ClaimResult as ClaimResult
from diffrender.catalogue.evaluate.gradients import MoveResult as MoveResult
from diffrender.catalogue.evaluate.gradients import Score as Score
from diffrender.catalogue.evaluate.gradients import Subject as Subject
from diffrender.catalogue.evaluate.gradients import check_claim as check_claim
from diffrender.catalogue.evaluate.gradients import check_claims as check_claims
from diffrender.catalogue.evaluate.measurement import Plan as Plan
from diffrender.catalogue.evaluate.measurement import measure as measure
from diffrender.catalogue.evaluate.moves import Move as Move
from diffrender.catalogue.evaluate.moves import in_double as in_double
from diffrender.catalogue.evaluate.moves import moves_of as moves_of
from diffrender.catalogue.evaluate.pictures import GradientPictures as GradientPictures
from diffrender.catalogue.evaluate.pictures import gradient_pictures as gradient_pictures
from diffrender.catalogue.evaluate.reference import DrawsMore as DrawsMore
from diffrender.catalogue.evaluate.reference import difference_of_own as difference_of_own
from diffrender.catalogue.evaluate.reference import (
    difference_of_triangles as difference_of_triangles,
)
from diffrender.catalogue.evaluate.reference import silhouette_pixels as silhouette_pixels
from diffrender.catalogue.evaluate.reference import supersampled as supersampled
from diffrender.catalogue.evaluate.results import ClaimRow as ClaimRow
from diffrender.catalogue.evaluate.results import Measured as Measured
from diffrender.catalogue.evaluate.results import MovePictures as MovePictures
from diffrender.catalogue.evaluate.results import load_measured as load_measured

__all__ = [
    "BasinSettings",
    "Cell",
    "ClaimResult",
    "ClaimRow",
    "CostSettings",
    "DrawsMore",
    "GradientPictures",
    "Level",
    "Measured",
    "Move",
    "MovePictures",
    "MoveResult",
    "Plan",
    "Score",
    "Subject",
    "Trial",
    "bias_of",
    "check_claim",
    "check_claims",
    "difference_of_own",
    "difference_of_triangles",
    "find_pose",
    "gradient_pictures",
    "in_double",
    "levels_of",
    "load_measured",
    "measure",
    "measure_cost",
    "moves_of",
    "silhouette_pixels",
    "starts",
    "supersampled",
]
