"""DEODR with three colours a vertex, as the peer of rasterize + interpolate + antialias.

DEODR (de La Gorce et al., "Model-based 3D hand pose estimation from monocular video", PAMI 2011)
works on one image and one thread; a batch is a loop. The mesh's neighbours are found once, its
projection and silhouette edges anew in every step, and faces turned away are culled, as ours are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from diffrender.tools.bench_raster_scene import Scene

__all__ = ["deodr_steps"]


def deodr_steps(scene: Scene) -> tuple[Callable[[], Any], Callable[[], Any]]:
    """Forward alone, and forward + backward to vertices in space and colours."""
    from deodr.differentiable_renderer import Camera as PeerCamera
    from deodr.differentiable_renderer import Scene2D
    from deodr.triangulated_mesh import TriMesh

    vertices = scene.vertices.numpy().astype(np.float64)
    colours = scene.colours.numpy().astype(np.float64)
    upstream = scene.upstream.numpy().astype(np.float64)
    faces = scene.faces.numpy().astype(np.uint32)
    height, width = upstream.shape[1:3]
    mesh = TriMesh(faces, vertices[0], clockwise=False)
    intrinsics = scene.intrinsics.numpy().astype(np.float64)
    camera = PeerCamera(np.eye(3, 4), intrinsics, height, width)
    looks = {
        "textured": np.zeros(len(faces), dtype=bool),
        "shaded": np.zeros(len(faces), dtype=bool),
        "uv": np.zeros((vertices.shape[1], 2)),
        "shade": np.zeros(vertices.shape[1]),
        "texture": np.zeros((0, 0, 3)),
        "background_color": np.zeros(3),
    }

    def draw(index: int, store: dict[str, object]) -> tuple[object, np.ndarray]:
        pixels, depths = camera.project_points(vertices[index], store_backward=store)
        flat = Scene2D(
            faces=mesh.faces,
            faces_uv=mesh.faces,
            ij=pixels,
            depths=depths,
            edgeflags=mesh.edge_on_silhouette(pixels),
            height=height,
            width=width,
            nb_colors=3,
            colors=colours[index],
            clockwise=False,
            backface_culling=True,
            integer_pixel_centers=False,
            **looks,
        )
        return flat, flat.render(1.0)[0]

    def forward() -> list[np.ndarray]:
        return [draw(index, {})[1] for index in range(len(vertices))]

    given = np.empty_like(upstream[0])

    def both() -> list[tuple[np.ndarray, np.ndarray]]:
        out = []
        for index in range(len(vertices)):
            store: dict[str, object] = {}
            flat = draw(index, store)[0]
            # The call overwrites what it is given, so it gets a copy, in memory that is kept.
            np.copyto(given, upstream[index])
            flat.render_backward(given)  # type: ignore[attr-defined]
            out.append((camera.project_points_backward(flat.ij_b, store), flat.colors_b))  # type: ignore[attr-defined]
        return out

    return forward, both
