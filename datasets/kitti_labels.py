"""KITTI labels; the parser lives with the instance formats, which read the same rows."""

from diffrender.instances.kitti_rows import KITTI_COLUMNS as KITTI_COLUMNS
from diffrender.instances.kitti_rows import KittiLabel as KittiLabel
from diffrender.instances.kitti_rows import load_labels as load_labels
from diffrender.instances.kitti_rows import parse_labels as parse_labels
