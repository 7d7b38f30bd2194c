"""Differentiable rendering and monocular 3D reconstruction.

    import diffrender as dr
    scene = dr.reconstruct(image, camera, instances, depth, prior)
    fragments = dr.rasterize(mesh, camera)

Importing this needs torch and numpy only; heavier packages are imported where they are used.
"""

from diffrender import losses as losses
from diffrender.cameras import Camera as Camera
from diffrender.errors import InputError as InputError
from diffrender.errors import MissingExtraError as MissingExtraError
from diffrender.instances import Instance as Instance
from diffrender.meshes import Mesh as Mesh
from diffrender.meshes import MeshBatch as MeshBatch
from diffrender.meshes import pack_meshes as pack_meshes
from diffrender.raster import Fragments as Fragments
from diffrender.raster import antialias as antialias
from diffrender.raster import interpolate as interpolate
from diffrender.raster import rasterize as rasterize
from diffrender.raster import sample_texture as sample_texture
from diffrender.raster import soft_silhouette as soft_silhouette
from diffrender.reconstruct import ReconstructSettings as ReconstructSettings
from diffrender.reconstruct import Run as Run
from diffrender.reconstruct import Scene as Scene
from diffrender.reconstruct import reconstruct as reconstruct

__version__ = "0.1.0"
