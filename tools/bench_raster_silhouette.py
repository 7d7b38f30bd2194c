"""One silhouette against DEODR, and the frames that the optimizer of cars renders.

DEODR (de La Gorce et al., "Model-based 3D hand pose estimation from monocular video", PAMI 2011)
is the differentiable rasterizer for CPUs that can be installed from the registry. Both render the
coverage of one sphere with antialiased outlines, compare it with the same target by squared
differences, and bring the gradient back to the vertices in space, projection included.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.errors import require
from diffrender.meshes import Mesh, MeshBatch
from diffrender.raster import (
    antialias,
    backends,
    rasterize,
    render_silhouette_depth,
    soft_silhouette,
)
from diffrender.tools.bench_format import Report, Row, Target, spread, threads_set, time_calls

__all__ = ["bench_silhouette"]

Step = Callable[[], tuple[float, np.ndarray]]  # loss, and its gradient to the vertices (V, 3)


def bench_silhouette(*, quick: bool = False) -> Report:
    """Forward and backward of one 1280-face silhouette, and of a batch of cars in crops.

    The plain-torch twins are made to be read: they are timed once, and not at all if `quick`.

    Raises:
        MissingExtraError: DEODR is not installed (extra `bench`).
    """
    require("deodr", "bench")
    rows, ratio = _sphere(20 if quick else 100, quick)
    if backends()["native"] is None:
        rows += _cars(5 if quick else 40, quick)
    name = "1280-face silhouette at 256 x 256, forward + backward on one thread, against DEODR"
    return Report(rows, [Target(name, "<= 2", ratio, ratio <= 2)])


def _sphere(repeats: int, quick: bool) -> tuple[list[Row], float]:
    vertices, faces, intrinsics, target = _scene(subdivisions=3, size=256)
    case = f"{len(faces)} faces, 256 x 256"
    native = backends()["native"] is None
    ours = "native" if native else "torch"
    peer = _deodr(vertices, faces, intrinsics, target)
    step = _ours(vertices, faces, intrinsics, target, ours)
    turns = repeats if native else 1
    with threads_set(1):  # as the peer, which uses one
        seconds = time_calls({ours: step, "deodr": peer}, repeats=turns, warm_up=min(3, turns))
    if native and torch.get_num_threads() > 1:
        name = f"native on {torch.get_num_threads()} threads"
        seconds |= time_calls({name: step}, repeats=turns, warm_up=3)
    base = statistics.median(seconds["deodr"])
    rows = [_row(case, "silhouette", name, seconds[name], "deodr", base) for name in seconds]
    if native and not quick:
        twin = _ours(vertices, faces, intrinsics, target, "torch")
        once = time_calls({"torch": twin}, repeats=1, warm_up=0)["torch"]
        rows.append(_row(case, "silhouette", "torch", once, "deodr", base))
    a, b = (one()[1].astype(np.float64).ravel() for one in (step, peer))
    cosine = float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))
    rows.append(Row(case, f"gradient, {ours}", cosine, "cosine with the peer's", peer="deodr"))
    return rows, statistics.median(seconds[ours]) / base


def _row(case: str, what: str, name: str, seconds: list[float], peer: str, base: float) -> Row:
    """Milliseconds of one back-end, and their ratio to the peer's median."""
    middle = statistics.median(seconds)
    compared = (peer, middle / base) if name != peer else ("", None)
    width = 1e3 * spread(seconds) if len(seconds) > 1 else None
    return Row(case, f"{what} forward + backward, {name}", 1e3 * middle, "ms", width, *compared)


def _scene(subdivisions: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """A sphere 3 m away, (3, 3) intrinsics, and an ellipse as the target coverage."""
    import trimesh

    ball = trimesh.creation.icosphere(subdivisions=subdivisions)
    vertices = np.asarray(ball.vertices) + np.array([0.05, 0.02, 3.0])
    focal = 1.1 * size
    intrinsics = np.array([[focal, 0, size / 2], [0, focal, size / 2], [0, 0, 1]])
    y, x = (np.mgrid[0:size, 0:size] + 0.5) / size
    target = ((x - 0.52) ** 2 / 0.1 + (y - 0.5) ** 2 / 0.14 < 1).astype(np.float64)
    return vertices, np.asarray(ball.faces), intrinsics, target


def _ours(
    vertices: np.ndarray,  # (V, 3)
    faces: np.ndarray,  # (F, 3)
    intrinsics: np.ndarray,  # (3, 3)
    target: np.ndarray,  # (H, W)
    backend: str,
) -> Step:
    leaf = torch.tensor(vertices, dtype=torch.float32, requires_grad=True)
    mesh = Mesh(leaf, torch.tensor(faces, dtype=torch.int64))
    k = torch.tensor(intrinsics, dtype=torch.float32)
    camera = Camera(k, torch.eye(3), torch.zeros(3), (target.shape[0], target.shape[1]))
    wanted = torch.tensor(target, dtype=torch.float32)

    def step() -> tuple[float, np.ndarray]:
        fragments = rasterize(mesh, camera, backend=backend)
        mask = fragments.mask().unsqueeze(-1)
        coverage = antialias(mask, fragments, mesh, camera, backend=backend)
        loss = (coverage[..., 0] - wanted).square().sum()
        (gradient,) = torch.autograd.grad(loss, leaf)
        return float(loss.detach()), gradient.numpy()

    return step


def _deodr(
    vertices: np.ndarray,  # (V, 3)
    faces: np.ndarray,  # (F, 3)
    intrinsics: np.ndarray,  # (3, 3)
    target: np.ndarray,  # (H, W)
) -> Step:
    """DEODR by its two-dimensional scene, the leanest way in; outline edges anew in each step."""
    from deodr.differentiable_renderer import Camera as PeerCamera
    from deodr.differentiable_renderer import Scene2D
    from deodr.triangulated_mesh import TriMesh

    height, width = target.shape
    mesh = TriMesh(faces.astype(np.uint32), vertices.astype(np.float64), clockwise=False)
    camera = PeerCamera(np.eye(3, 4), intrinsics.astype(np.float64), height, width)
    looks = {
        "textured": np.zeros(len(faces), dtype=bool),
        "shaded": np.zeros(len(faces), dtype=bool),
        "uv": np.zeros((len(vertices), 2)),
        "shade": np.zeros(len(vertices)),
        "colors": np.ones((len(vertices), 1)),
        "texture": np.zeros((0, 0, 1)),
        "background_color": np.zeros(1),
    }
    wanted = target[..., None]

    def step() -> tuple[float, np.ndarray]:
        store: dict[str, object] = {}
        pixels, depths = camera.project_points(mesh.vertices, store_backward=store)
        scene = Scene2D(
            faces=mesh.faces,
            faces_uv=mesh.faces,
            ij=pixels,
            depths=depths,
            edgeflags=mesh.edge_on_silhouette(pixels),
            height=height,
            width=width,
            nb_colors=1,
            clockwise=False,
            backface_culling=True,
            integer_pixel_centers=False,
            **looks,
        )
        difference = scene.render(1.0)[0] - wanted
        scene.render_backward(2.0 * difference)
        return float((difference**2).sum()), camera.project_points_backward(scene.ij_b, store)

    return step


def _cars(repeats: int, quick: bool) -> list[Row]:
    """Eight hypotheses of one car in crops, as the optimizer renders them."""
    from diffrender.rotations import yaw_to_matrix
    from diffrender.shape_priors import load_prior

    prior = load_prior("car")
    yaw = torch.arange(8) * (torch.pi / 4)
    placed = prior.place(
        torch.zeros(8, prior.latent_size),
        prior.size_mean.expand(8, 3),
        yaw_to_matrix(yaw),
        torch.tensor([0.0, 0.8, 12.0]).expand(8, 3),
    )
    intrinsics = torch.tensor([[150.0, 0, 32], [0, 150.0, 32], [0, 0, 1]])
    camera = Camera.from_intrinsics(intrinsics, (64, 64), pixel_centres="half")
    case = f"8 cars of {len(prior.faces)} faces, 64 x 64"
    both = _batch_step(placed, prior.faces, camera, _silhouette_depth, "native")
    soft = _batch_step(placed, prior.faces, camera, _soft, "native")
    seconds = time_calls({"both": both, "soft": soft}, repeats=repeats, warm_up=2)
    rows = [
        _row(case, "silhouette and depth", "native", seconds["both"], "native", 1.0),
        _row(case, "soft silhouette", "native", seconds["soft"], "native", 1.0),
    ]
    if not quick:
        twin = _batch_step(placed, prior.faces, camera, _silhouette_depth, "torch")
        once = time_calls({"torch": twin}, repeats=1, warm_up=0)["torch"]
        base = statistics.median(seconds["both"])
        rows.append(_row(case, "silhouette and depth", "torch", once, "native", base))
    return rows


Render = Callable[[MeshBatch, Camera, str], torch.Tensor]


def _silhouette_depth(meshes: MeshBatch, camera: Camera, backend: str) -> torch.Tensor:
    silhouette, depth = render_silhouette_depth(meshes, camera, backend=backend)[:2]
    return silhouette.sum() + depth.sum()


def _soft(meshes: MeshBatch, camera: Camera, backend: str) -> torch.Tensor:
    return soft_silhouette(meshes, camera, backend=backend).sum()


def _batch_step(
    placed: torch.Tensor,  # (B, V, 3)
    faces: torch.Tensor,  # (F, 3)
    camera: Camera,
    render: Render,
    backend: str,
) -> Callable[[], object]:
    leaf = placed.detach().clone().requires_grad_()

    def step() -> object:
        return torch.autograd.grad(render(MeshBatch.shared(leaf, faces), camera, backend), leaf)

    return step
