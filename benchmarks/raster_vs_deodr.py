"""One silhouette of an icosphere, forward and backward to its vertices: this library and DEODR.

python benchmarks/raster_vs_deodr.py [--subdivisions 3] [--size 256] [--threads 1] [--rounds 40]

Both render coverage with antialiased outlines, compare it with the same target by squared
differences, and bring the gradient back to the vertices in space, projection included. They take
turns within one process. DEODR is called through its two-dimensional scene, the leanest way
in: its outline edges are found anew for each pose, as ours are.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable

import numpy as np
import torch
import trimesh

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import antialias, rasterize

__all__ = ["compare"]

Step = Callable[[], tuple[float, np.ndarray]]  # loss and (V, 3) gradient


def ours(vertices: np.ndarray, faces: np.ndarray, k: np.ndarray, target: np.ndarray) -> Step:
    size = target.shape
    leaf = torch.tensor(vertices, dtype=torch.float32, requires_grad=True)
    mesh = Mesh(leaf, torch.tensor(faces, dtype=torch.int64))
    intrinsics = torch.tensor(k, dtype=torch.float32)
    camera = Camera(intrinsics, torch.eye(3), torch.zeros(3), (size[0], size[1]))
    wanted = torch.tensor(target, dtype=torch.float32)

    def step() -> tuple[float, np.ndarray]:
        fragments = rasterize(mesh, camera)
        coverage = antialias(fragments.mask().unsqueeze(-1), fragments, mesh, camera)
        loss = (coverage[..., 0] - wanted).square().sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), gradient.numpy()

    return step


def deodr_step(vertices: np.ndarray, faces: np.ndarray, k: np.ndarray, target: np.ndarray) -> Step:
    from deodr.differentiable_renderer import Camera as DeodrCamera
    from deodr.differentiable_renderer import Scene2D
    from deodr.triangulated_mesh import TriMesh

    height, width = target.shape
    clockwise = False
    mesh = TriMesh(faces.astype(np.uint32), vertices.astype(np.float64), clockwise=clockwise)
    extrinsic = np.eye(3, 4)
    camera = DeodrCamera(extrinsic, k.astype(np.float64), height, width)
    count, total = len(faces), len(vertices)
    wanted = target.astype(np.float64)[..., None]

    def step() -> tuple[float, np.ndarray]:
        store: dict[str, object] = {}
        pixels, depths = camera.project_points(mesh.vertices, store_backward=store)
        scene = Scene2D(
            faces=mesh.faces,
            faces_uv=mesh.faces,
            ij=pixels,
            depths=depths,
            textured=np.zeros(count, dtype=bool),
            uv=np.zeros((total, 2)),
            shade=np.zeros(total),
            colors=np.ones((total, 1)),
            shaded=np.zeros(count, dtype=bool),
            edgeflags=mesh.edge_on_silhouette(pixels),
            height=height,
            width=width,
            nb_colors=1,
            texture=np.zeros((0, 0, 1)),
            background_color=np.zeros(1),
            clockwise=clockwise,
            backface_culling=True,
            integer_pixel_centers=False,
        )
        image, _ = scene.render(1.0)
        difference = image - wanted
        scene.render_backward(2.0 * difference)
        gradient = camera.project_points_backward(scene.ij_b, store)
        return float((difference**2).sum()), gradient

    return step


def scene(subdivisions: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """An icosphere 3 m away, K, and an ellipse as the target."""
    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = np.asarray(ball.vertices) + np.array([0.05, 0.02, 3.0])
    k = np.array([[size * 1.1, 0, size / 2], [0, size * 1.1, size / 2], [0, 0, 1.0]])
    y, x = np.mgrid[0:size, 0:size] + 0.5
    target = ((x / size - 0.52) ** 2 / 0.1 + (y / size - 0.5) ** 2 / 0.14 < 1).astype(np.float64)
    return vertices, np.asarray(ball.faces), k, target


def summary(seconds: list[float]) -> dict[str, float]:
    low, middle, high = np.percentile(np.array(seconds) * 1e3, [25, 50, 75])
    return {"median_ms": round(middle, 3), "iqr_ms": round(high - low, 3)}


def compare(
    subdivisions: int = 3, size: int = 256, threads: int = 1, rounds: int = 40
) -> dict[str, object]:
    """Times of both, their ratio (ours / DEODR's), and how far losses and gradients agree."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        parts = scene(subdivisions, size)
        steps = {"diffrender": ours(*parts), "deodr": deodr_step(*parts)}
        results = {name: step() for name, step in steps.items()}
        times: dict[str, list[float]] = {name: [] for name in steps}
        for round_number in range(rounds + 5):
            for name, step in steps.items():
                start = time.perf_counter()
                step()
                if round_number >= 5:  # the first warm the caches
                    times[name].append(time.perf_counter() - start)
    finally:
        torch.set_num_threads(before)
    mine, theirs = results["diffrender"], results["deodr"]
    flat = [gradient.astype(np.float64).ravel() for _, gradient in (mine, theirs)]
    cosine = flat[0] @ flat[1] / (np.linalg.norm(flat[0]) * np.linalg.norm(flat[1]))
    ours_ms, peer_ms = (summary(times[name]) for name in ("diffrender", "deodr"))
    return {
        "case": f"icosphere of {len(parts[1])} faces at {size} x {size}, forward and backward",
        "threads": {"diffrender": threads, "deodr": 1},
        "rounds": rounds,
        "diffrender": ours_ms,
        "deodr": peer_ms,
        "ratio": round(ours_ms["median_ms"] / peer_ms["median_ms"], 3),
        "loss": {"diffrender": mine[0], "deodr": theirs[0]},
        "gradient_cosine": round(float(cosine), 4),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--subdivisions", type=int, default=3)
    parser.add_argument("--size", type=int, default=256)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=40)
    arguments = parser.parse_args()
    print(json.dumps(compare(**vars(arguments)), indent=2))


if __name__ == "__main__":
    main()
