"""Binary glTF 2.0: textured meshes, a ground plane and the camera, with data on every node.

Written directly because the mesh library at hand derives the aspect ratio from the ratio of the
angles rather than of their tangents and names no camera node. Source: Khronos glTF 2.0, sections
3.5 (nodes), 3.6 (buffers), 3.10 (cameras) and 4.4 (GLB).
"""

from __future__ import annotations

import json
import math
import struct
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.reconstruct.surfaces import Y_UP, Surface
from diffrender.rotations import matrix_to_quaternion_wxyz

__all__ = ["GltfBuilder"]

FLOAT, UNSIGNED_INT = 5126, 5125
ARRAY_BUFFER, ELEMENT_ARRAY_BUFFER = 34962, 34963
LINEAR, LINEAR_MIPMAP_LINEAR, CLAMP_TO_EDGE, LINES = 9729, 9987, 33071, 1


@dataclass
class GltfBuilder:
    """Collects nodes and writes one GLB. Poses are given in the OpenCV frame of the labels."""

    nodes: list[dict[str, Any]] = field(default_factory=list)
    meshes: list[dict[str, Any]] = field(default_factory=list)
    materials: list[dict[str, Any]] = field(default_factory=list)
    textures: list[dict[str, Any]] = field(default_factory=list)
    images: list[dict[str, Any]] = field(default_factory=list)
    cameras: list[dict[str, Any]] = field(default_factory=list)
    accessors: list[dict[str, Any]] = field(default_factory=list)
    views: list[dict[str, Any]] = field(default_factory=list)
    data: bytearray = field(default_factory=bytearray)

    def add_mesh(
        self,
        name: str,
        surface: Surface,
        *,
        object_to_world_rotation: np.ndarray | None = None,  # (3, 3)
        location: tuple[float, float, float] = (0.0, 0.0, 0.0),
        base_colour: tuple[float, float, float, float] = (1.0, 1.0, 1.0, 1.0),
        extras: dict[str, Any] | None = None,
    ) -> None:
        """One node with its own mesh and material; `base_colour` is linear RGBA."""
        attributes = {
            "POSITION": self._accessor(surface.positions, ARRAY_BUFFER, bounds=True),
            "NORMAL": self._accessor(surface.normals, ARRAY_BUFFER),
        }
        pbr: dict[str, Any] = {
            "baseColorFactor": list(base_colour),
            "metallicFactor": 0.0,
            "roughnessFactor": 0.9,
        }
        if surface.uv is not None and surface.texture_png is not None:
            attributes["TEXCOORD_0"] = self._accessor(surface.uv, ARRAY_BUFFER)
            view = self._view(surface.texture_png, None)
            self.images.append({"bufferView": view, "mimeType": "image/png", "name": name})
            self.textures.append({"source": len(self.images) - 1, "sampler": 0})
            pbr["baseColorTexture"] = {"index": len(self.textures) - 1}
        elif surface.colours is not None:
            attributes["COLOR_0"] = self._accessor(surface.colours, ARRAY_BUFFER)
        material: dict[str, Any] = {"name": name, "pbrMetallicRoughness": pbr}
        if base_colour[3] < 1:
            material |= {"alphaMode": "BLEND", "doubleSided": True}
        self.materials.append(material)
        primitive = {
            "attributes": attributes,
            "indices": self._accessor(surface.indices.reshape(-1), ELEMENT_ARRAY_BUFFER),
            "material": len(self.materials) - 1,
        }
        self.meshes.append({"name": name, "primitives": [primitive]})
        rotation = np.eye(3) if object_to_world_rotation is None else object_to_world_rotation
        node = {"name": name, "mesh": len(self.meshes) - 1, **_placement(rotation, location)}
        self.nodes.append(node | ({"extras": extras} if extras else {}))

    def add_camera(self, name: str, camera: Camera, extras: dict[str, Any] | None = None) -> None:
        """The camera as a perspective node and, as its child, a frustum of lines 2 m deep.

        glTF has no principal point and no lens: the fields of view are those of K over the image,
        centred; the exact K belongs into `extras`.
        """
        intrinsics = camera.intrinsics.detach().cpu().double().numpy()
        height, width = camera.size
        fx, fy = float(intrinsics[0, 0]), float(intrinsics[1, 1])
        perspective = {
            "yfov": 2 * math.atan(height / (2 * fy)),
            "aspectRatio": (width / fx) / (height / fy),
            "znear": 0.1,
            "zfar": 500.0,
        }
        self.cameras.append({"name": name, "type": "perspective", "perspective": perspective})
        world_to_camera = camera.rotation.detach().cpu().double().numpy()
        centre = tuple(camera.centre.detach().cpu().double().tolist())
        node = {
            "name": name,
            "camera": len(self.cameras) - 1,
            **_placement(world_to_camera.T, centre),
            "children": [len(self.nodes) + 1],
        }
        self.nodes.append(node | ({"extras": extras} if extras else {}))
        self._add_frustum(f"{name}_frustum", camera)

    def _add_frustum(self, name: str, camera: Camera) -> None:
        height, width = camera.size
        pixels = torch.tensor([[0, 0], [width, 0], [width, height], [0, height]]).double()
        inside = camera.to(torch.float64)
        far = inside.unproject(pixels, torch.full((4,), 2.0).double())
        corners = inside.world_to_camera(far).detach().cpu().numpy() @ Y_UP.T
        positions = np.concatenate([np.zeros((1, 3)), corners]).astype(np.float32)
        lines = np.array([0, 1, 0, 2, 0, 3, 0, 4, 1, 2, 2, 3, 3, 4, 4, 1], dtype=np.uint32)
        pbr = {"baseColorFactor": [0.9, 0.5, 0.1, 1.0], "metallicFactor": 0.0}
        self.materials.append({"name": name, "pbrMetallicRoughness": pbr})
        primitive = {
            "attributes": {"POSITION": self._accessor(positions, ARRAY_BUFFER, bounds=True)},
            "indices": self._accessor(lines, ELEMENT_ARRAY_BUFFER),
            "material": len(self.materials) - 1,
            "mode": LINES,
        }
        self.meshes.append({"name": name, "primitives": [primitive]})
        self.nodes.append({"name": name, "mesh": len(self.meshes) - 1})

    def to_bytes(self, extras: dict[str, Any] | None = None) -> bytes:
        """The finished file; `extras` is kept with the scene."""
        children = {c for node in self.nodes for c in node.get("children", [])}
        roots = [i for i in range(len(self.nodes)) if i not in children]
        scene: dict[str, Any] = {"nodes": roots} | ({"extras": extras} if extras else {})
        tree: dict[str, Any] = {
            "asset": {"version": "2.0", "generator": "diffrender"},
            "scene": 0,
            "scenes": [scene],
            "nodes": self.nodes,
            "meshes": self.meshes,
            "materials": self.materials,
            "accessors": self.accessors,
            "bufferViews": self.views,
            "buffers": [{"byteLength": len(self.data)}],
        }
        if self.textures:
            sampler = {"magFilter": LINEAR, "minFilter": LINEAR_MIPMAP_LINEAR}
            sampler |= {"wrapS": CLAMP_TO_EDGE, "wrapT": CLAMP_TO_EDGE}
            tree |= {"textures": self.textures, "images": self.images, "samplers": [sampler]}
        if self.cameras:
            tree["cameras"] = self.cameras
        text = json.dumps(tree, allow_nan=False, separators=(",", ":")).encode("utf-8")
        text += b" " * (-len(text) % 4)
        chunks = struct.pack("<I4s", len(text), b"JSON") + text
        chunks += struct.pack("<I4s", len(self.data), b"BIN\0") + bytes(self.data)
        return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks

    def _view(self, data: bytes, target: int | None) -> int:
        view: dict[str, Any] = {
            "buffer": 0,
            "byteOffset": len(self.data),
            "byteLength": len(data),
        }
        self.views.append(view | ({} if target is None else {"target": target}))
        self.data += data + b"\0" * (-len(data) % 4)
        return len(self.views) - 1

    def _accessor(self, array: np.ndarray, target: int, *, bounds: bool = False) -> int:
        kind = "SCALAR" if array.ndim == 1 else f"VEC{array.shape[1]}"
        accessor: dict[str, Any] = {
            "bufferView": self._view(np.ascontiguousarray(array).tobytes(), target),
            "componentType": UNSIGNED_INT if array.dtype == np.uint32 else FLOAT,
            "count": len(array),
            "type": kind,
        }
        if bounds:
            accessor |= {"min": array.min(axis=0).tolist(), "max": array.max(axis=0).tolist()}
        self.accessors.append(accessor)
        return len(self.accessors) - 1


def _placement(rotation: np.ndarray, location: tuple[float, ...]) -> dict[str, list[float]]:
    """A pose of the OpenCV frame as glTF translation and rotation (quaternion x, y, z, w)."""
    turned = torch.from_numpy(np.ascontiguousarray(Y_UP @ rotation @ Y_UP))
    w, x, y, z = matrix_to_quaternion_wxyz(turned).tolist()
    moved = (Y_UP @ np.asarray(location, dtype=np.float64)).tolist()
    return {"translation": moved, "rotation": [x, y, z, w]}
