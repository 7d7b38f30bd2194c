"""Instances: masks, 2D boxes and classes, and the formats they come in."""

from diffrender.instances.record import Instance as Instance
from diffrender.instances.record import box_of_mask as box_of_mask
