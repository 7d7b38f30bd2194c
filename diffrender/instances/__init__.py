"""Instances: masks, 2D boxes and classes, and the formats they come in."""

from diffrender.instances.boxes import Box as Box
from diffrender.instances.boxes import boxes_from_json as boxes_from_json
from diffrender.instances.boxes import boxes_from_rows as boxes_from_rows
from diffrender.instances.boxes import row_name as row_name
from diffrender.instances.categories import kitti_category as kitti_category
from diffrender.instances.coco import instances_from_coco as instances_from_coco
from diffrender.instances.grabcut import GrabCutSettings as GrabCutSettings
from diffrender.instances.grabcut import masks_from_boxes as masks_from_boxes
from diffrender.instances.kitti_rows import KITTI_COLUMNS as KITTI_COLUMNS
from diffrender.instances.kitti_rows import KittiLabel as KittiLabel
from diffrender.instances.kitti_rows import load_labels as load_labels
from diffrender.instances.kitti_rows import parse_labels as parse_labels
from diffrender.instances.load import load_instances as load_instances
from diffrender.instances.png import instances_from_ids as instances_from_ids
from diffrender.instances.png import load_instance_png as load_instance_png
from diffrender.instances.polygons import mask_of_polygons as mask_of_polygons
from diffrender.instances.reading import read_id_image as read_id_image
from diffrender.instances.reading import read_image as read_image
from diffrender.instances.record import Instance as Instance
from diffrender.instances.record import Rejected as Rejected
from diffrender.instances.record import box_of_mask as box_of_mask
from diffrender.instances.rle import decode_rle as decode_rle
from diffrender.instances.rle import encode_rle as encode_rle
