"""Which way a vehicle faces, by its looks: front and rear are told by lights, plates and glass.

net = shipped_heading()
told = net.read(*to_tensors(*object_crops(image, masks, net.config.side)))   # (N, bins)
net.odds(told, alpha)       # (N,) probability of each alpha against the half turn
"""

from __future__ import annotations

from diffrender.heading.crops import object_crops as object_crops
from diffrender.heading.crops import to_tensors as to_tensors
from diffrender.heading.files import load_heading as load_heading
from diffrender.heading.files import save_heading as save_heading
from diffrender.heading.files import shipped_heading as shipped_heading
from diffrender.heading.network import HeadingConfig as HeadingConfig
from diffrender.heading.network import HeadingNet as HeadingNet

__all__ = [
    "HeadingConfig",
    "HeadingNet",
    "load_heading",
    "object_crops",
    "save_heading",
    "shipped_heading",
    "to_tensors",
]
