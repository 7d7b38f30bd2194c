"""Class names of other data sets in KITTI's spelling."""

from __future__ import annotations

__all__ = ["COCO_IDS", "is_known_category", "kitti_category"]

_SPELLING = {
    "car": "Car",
    "van": "Van",
    "truck": "Truck",
    "tram": "Tram",
    "train": "Tram",
    "person": "Pedestrian",
    "pedestrian": "Pedestrian",
    "person_sitting": "Person_sitting",
    "person sitting": "Person_sitting",
    "cyclist": "Cyclist",
    "misc": "Misc",
    "dontcare": "DontCare",
}

COCO_IDS = {
    1: "person",
    2: "bicycle",
    3: "car",
    4: "motorcycle",
    5: "airplane",
    6: "bus",
    7: "train",
    8: "truck",
    9: "boat",
}
"""COCO's own ids of people and vehicles, for result lists, which carry no category table."""


_VEHICLES = {"bike", "motorbike", "rider", "motorcyclist", "trailer", "caravan", "tractor"}
_OTHERS = {
    "traffic light", "fire hydrant", "stop sign", "parking meter", "bench", "bird", "cat", "dog",
    "horse", "sheep", "cow", "elephant", "bear", "zebra", "giraffe", "backpack", "umbrella",
    "handbag", "tie", "suitcase", "frisbee", "skis", "snowboard", "sports ball", "kite",
    "baseball bat", "baseball glove", "skateboard", "surfboard", "tennis racket", "bottle",
    "wine glass", "cup", "fork", "knife", "spoon", "bowl", "banana", "apple", "sandwich",
    "orange", "broccoli", "carrot", "hot dog", "pizza", "donut", "cake", "chair", "couch",
    "potted plant", "bed", "dining table", "toilet", "tv", "laptop", "mouse", "remote",
    "keyboard", "cell phone", "microwave", "oven", "toaster", "sink", "refrigerator", "book",
    "clock", "vase", "scissors", "teddy bear", "hair drier", "toothbrush",
}  # fmt: skip
"""COCO's other classes."""


def kitti_category(name: str) -> str:
    """KITTI's spelling of a class, whatever the case: "car" -> "Car", "person" -> "Pedestrian".

    Classes that KITTI lacks keep their name with a capital: "bus" -> "Bus".
    """
    name = name.strip()
    return _SPELLING.get(name.lower(), name[:1].upper() + name[1:])


def is_known_category(name: str) -> bool:
    """Whether the name, in any case, is a class of KITTI, of COCO or another that streets have."""
    word = name.strip().lower()
    return word in _SPELLING or word in COCO_IDS.values() or word in _VEHICLES | _OTHERS
