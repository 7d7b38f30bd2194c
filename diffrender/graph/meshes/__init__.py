"""The graph network on meshes: a denoising shape prior, and a refiner of free vertices."""

from __future__ import annotations

from diffrender.graph.meshes.denoiser import denoise as denoise
from diffrender.graph.meshes.denoiser import load_denoiser as load_denoiser
from diffrender.graph.meshes.mesh_graph import MeshTopology as MeshTopology
from diffrender.graph.meshes.mesh_graph import batch_meshes as batch_meshes
from diffrender.graph.meshes.network import MeshNetwork as MeshNetwork
from diffrender.graph.meshes.network import MeshSettings as MeshSettings
from diffrender.graph.meshes.network import load_mesh_network as load_mesh_network
from diffrender.graph.meshes.network import save_mesh_network as save_mesh_network
from diffrender.graph.meshes.refiner import depth_evidence as depth_evidence
from diffrender.graph.meshes.refiner import load_refiner as load_refiner
from diffrender.graph.meshes.refiner import propose_displacement as propose_displacement

__all__ = [
    "MeshNetwork",
    "MeshSettings",
    "MeshTopology",
    "batch_meshes",
    "denoise",
    "depth_evidence",
    "load_denoiser",
    "load_mesh_network",
    "load_refiner",
    "propose_displacement",
    "save_mesh_network",
]
