"""Evaluation: the KITTI object benchmark, depth errors, overlaps and poses of boxes."""

from diffrender.evaluate.depth_metrics import DepthMetrics as DepthMetrics
from diffrender.evaluate.depth_metrics import depth_metrics as depth_metrics
from diffrender.evaluate.depth_set import DepthSummary as DepthSummary
from diffrender.evaluate.depth_set import summarise_depth as summarise_depth
from diffrender.evaluate.frame_files import read_split as read_split
from diffrender.evaluate.kitti import kitti_average_precision as kitti_average_precision
from diffrender.evaluate.kitti_json import report_json as report_json
from diffrender.evaluate.kitti_json import report_markdown as report_markdown
from diffrender.evaluate.kitti_page import report_html as report_html
from diffrender.evaluate.kitti_page import write_plots as write_plots
from diffrender.evaluate.kitti_report import KittiReport as KittiReport
from diffrender.evaluate.kitti_settings import KittiSettings as KittiSettings
from diffrender.evaluate.overlaps import box_overlap_3d as box_overlap_3d
from diffrender.evaluate.overlaps import box_overlap_bev as box_overlap_bev
from diffrender.evaluate.overlaps import rectangle_corners as rectangle_corners
from diffrender.evaluate.poses import PoseError as PoseError
from diffrender.evaluate.poses import PoseSummary as PoseSummary
from diffrender.evaluate.poses import pose_error as pose_error
from diffrender.evaluate.poses import summarise as summarise
from diffrender.evaluate.submission import SubmissionReport as SubmissionReport
from diffrender.evaluate.submission import lint_submission as lint_submission
