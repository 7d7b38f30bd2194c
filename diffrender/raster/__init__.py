"""Rasterization: hard and soft visibility of faces, points, interpolation, textures, antialiasing.

Pure functions over tensors with one immutable record between them, `Fragments` (`PointFragments`
for points). Nearly all have a plain-torch twin and a C++ kernel for the CPU, the core also Triton
kernels for CUDA devices; `backends()` says which are usable and why others are not. Back-ends other
than plain torch on CUDA add up in a fixed order: the same call gives the same bits, forward and
backward. Conversions to PyTorch3D and back are in `diffrender.raster.pytorch3d`.
"""

from __future__ import annotations

from diffrender.raster.antialias import antialias as antialias
from diffrender.raster.backends import backends as backends
from diffrender.raster.crossings import Crossings as Crossings
from diffrender.raster.crossings import find_crossings as find_crossings
from diffrender.raster.derivatives import interpolate_derivatives as interpolate_derivatives
from diffrender.raster.fragments import Fragments as Fragments
from diffrender.raster.interpolate import interpolate as interpolate
from diffrender.raster.memory import MemoryEstimate as MemoryEstimate
from diffrender.raster.memory import estimate_memory as estimate_memory
from diffrender.raster.points import PointFragments as PointFragments
from diffrender.raster.points import rasterize_points as rasterize_points
from diffrender.raster.rasterize import rasterize as rasterize
from diffrender.raster.render import render_attributes as render_attributes
from diffrender.raster.render import render_silhouette_depth as render_silhouette_depth
from diffrender.raster.shade import SoftShading as SoftShading
from diffrender.raster.shade import soft_shade as soft_shade
from diffrender.raster.soft import soft_silhouette as soft_silhouette
from diffrender.raster.texture import sample_texture as sample_texture

__all__ = [
    "Crossings",
    "Fragments",
    "MemoryEstimate",
    "PointFragments",
    "SoftShading",
    "antialias",
    "backends",
    "estimate_memory",
    "find_crossings",
    "interpolate",
    "interpolate_derivatives",
    "rasterize",
    "rasterize_points",
    "render_attributes",
    "render_silhouette_depth",
    "sample_texture",
    "soft_shade",
    "soft_silhouette",
]
