"""Finding cars in a picture: a small network that comes with the package.

net = shipped_street()
for vehicle in find_vehicles(net, image):       # (H, W, 3) uint8
    vehicle.mask, vehicle.score, vehicle.van
"""

from __future__ import annotations

from diffrender.instances.street.files import load_street as load_street
from diffrender.instances.street.files import save_street as save_street
from diffrender.instances.street.files import shipped_street as shipped_street
from diffrender.instances.street.find import FoundVehicle as FoundVehicle
from diffrender.instances.street.find import StreetReading as StreetReading
from diffrender.instances.street.find import find_vehicles as find_vehicles
from diffrender.instances.street.find import read_street as read_street
from diffrender.instances.street.network import StreetConfig as StreetConfig
from diffrender.instances.street.network import StreetMaps as StreetMaps
from diffrender.instances.street.network import StreetNet as StreetNet
from diffrender.instances.street.sharpen import sharpen_masks as sharpen_masks

__all__ = [
    "FoundVehicle",
    "StreetConfig",
    "StreetMaps",
    "StreetNet",
    "StreetReading",
    "find_vehicles",
    "load_street",
    "read_street",
    "save_street",
    "sharpen_masks",
    "shipped_street",
]
