"""Wavefront OBJ with its material file and texture."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from diffrender._files import write_bytes_atomic, write_text_atomic
from diffrender.meshes import Mesh
from diffrender.reconstruct.surfaces import (
    Y_UP,
    encode_png,
    finite_values,
    linear_to_srgb,
    texture_bytes,
)

__all__ = ["write_obj"]


def write_obj(mesh: Mesh, path: Path) -> list[Path]:
    """Write `path` (.obj) and, with a texture, the .mtl and .png of the same stem.

    Axes are y-up as in the GLB. Faces keep their vertices (no split at seams). OBJ counts v
    from the bottom, so it is 1 - v of ours; vertex colours, if no texture, follow x y z as sRGB.

    Returns:
        The paths written; the .obj, which names the others, is written last and comes first.

    Raises:
        InputError: a vertex or texture coordinate is not finite; nothing is written then.
    """
    vertices = finite_values("Mesh.vertices", mesh.vertices) @ Y_UP.T
    faces = mesh.faces.cpu().numpy() + 1
    texture = texture_bytes(mesh)
    lines = ["# diffrender; metres; x forward, y up, z to the right"]
    written: list[Path] = []
    columns = vertices
    if texture is None and mesh.colours is not None:
        linear = np.nan_to_num(mesh.colours.detach().cpu().double().numpy())
        colours = linear_to_srgb(linear)
        columns = np.concatenate([vertices, colours], axis=1)
    vertex_lines = [f"v {' '.join(f'{value:.6f}' for value in row)}" for row in columns.tolist()]
    if texture is not None and mesh.uv is not None and mesh.face_uv is not None:
        uv = finite_values("Mesh.uv", mesh.uv)
        image, material = path.with_suffix(".png"), path.with_suffix(".mtl")
        written.append(write_bytes_atomic(image, encode_png(texture)))
        text = f"newmtl body\nKa 0 0 0\nKd 1 1 1\nKs 0 0 0\nillum 1\nmap_Kd {image.name}\n"
        written.append(write_text_atomic(material, text))
        lines += [f"mtllib {material.name}", *vertex_lines]
        lines += [f"vt {u:.6f} {1 - v:.6f}" for u, v in uv.tolist()]
        lines.append("usemtl body")
        corners = np.stack([faces, mesh.face_uv.cpu().numpy() + 1], axis=-1).tolist()
        lines += [f"f {' '.join(f'{v}/{t}' for v, t in face)}" for face in corners]
    else:
        lines += vertex_lines
        lines += [f"f {a} {b} {c}" for a, b, c in faces.tolist()]
    return [write_text_atomic(path, "\n".join(lines) + "\n"), *reversed(written)]
