"""What to believe of a depth source, from its published or measured error."""

from __future__ import annotations

from diffrender.reconstruct.observations import DepthNoise

__all__ = ["depth_noise_of"]

# Mean absolute relative error: half is taken as shared by an object's pixels, half as their own.
# The shipped network's is what single cars ask for: on its development streets their depths are off
# by 5 % in the median, a deviation of half of this (docs/depth.md).
_RELATIVE_ERROR = {"rt-monodepth": 0.11, "pydnet": 0.25, "dpt-timm": 0.15, "hub": 0.10}
# Of the variance of single cars' factors on 20 development streets, 0.30 (all cars) to 0.47
# (unoccluded) is common to an image. What others share is not known here.
_SHARED = {"dpt-timm": 0.4}
_LIDAR = DepthNoise(relative=0.002, scale=0.002, floor=0.10)
_FILE = 0.10


def depth_noise_of(source: str) -> DepthNoise:
    """Noise of "lidar", of a network by name, or of a file (taken as a good network's)."""
    if source == "lidar":
        return _LIDAR
    error = _RELATIVE_ERROR.get(source, _FILE)
    shared = _SHARED.get(source, 0.0)
    return DepthNoise(relative=error / 2, scale=error / 2, shared=shared)
