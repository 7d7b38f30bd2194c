"""Evaluation: overlaps of boxes, depth metrics."""

from diffrender.evaluate.overlaps import box_overlap_3d as box_overlap_3d
from diffrender.evaluate.overlaps import box_overlap_bev as box_overlap_bev
from diffrender.evaluate.overlaps import rectangle_corners as rectangle_corners
from diffrender.evaluate.poses import PoseError as PoseError
from diffrender.evaluate.poses import PoseSummary as PoseSummary
from diffrender.evaluate.poses import pose_error as pose_error
from diffrender.evaluate.poses import summarise as summarise
