"""COCO's class names: by its own ids (1 to 90, with gaps) and as the 80 in a row."""

from __future__ import annotations

__all__ = ["COCO_80", "COCO_91"]

_ROW = (
    "person bicycle car motorcycle airplane bus train truck boat traffic_light fire_hydrant - "
    "stop_sign parking_meter bench bird cat dog horse sheep cow elephant bear zebra giraffe - "
    "backpack umbrella - - handbag tie suitcase frisbee skis snowboard sports_ball kite "
    "baseball_bat baseball_glove skateboard surfboard tennis_racket bottle - wine_glass cup fork "
    "knife spoon bowl banana apple sandwich orange broccoli carrot hot_dog pizza donut cake chair "
    "couch potted_plant bed - dining_table - - toilet - tv laptop mouse remote keyboard "
    "cell_phone microwave oven toaster sink refrigerator - book clock vase scissors teddy_bear "
    "hair_drier toothbrush"
)

COCO_91: tuple[str, ...] = ("", *(word.replace("_", " ").strip("-") for word in _ROW.split()))
"""Name by COCO's id; "" for 0 (background) and for the ids that COCO leaves out."""

COCO_80: tuple[str, ...] = tuple(name for name in COCO_91 if name)
"""The 80 names in the order of their ids, as YOLO's networks count them from 0."""
