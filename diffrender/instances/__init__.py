"""Instances: masks, 2D boxes and classes, and the formats they come in."""

from diffrender.instances.kitti_rows import KittiLabel as KittiLabel
from diffrender.instances.kitti_rows import load_labels as load_labels
from diffrender.instances.kitti_rows import parse_labels as parse_labels
from diffrender.instances.load import load_instances as load_instances
from diffrender.instances.png import instances_from_ids as instances_from_ids
from diffrender.instances.record import Instance as Instance
from diffrender.instances.record import Rejected as Rejected
from diffrender.instances.record import box_of_mask as box_of_mask
