"""Evaluation: overlaps of boxes, depth metrics."""

from diffrender.evaluate.overlaps import box_overlap_3d as box_overlap_3d
from diffrender.evaluate.overlaps import box_overlap_bev as box_overlap_bev
from diffrender.evaluate.overlaps import rectangle_corners as rectangle_corners
