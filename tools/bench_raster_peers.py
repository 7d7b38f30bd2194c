"""The peers other than DEODR: in processes of their own, or their published figures.

A peer that is missing or fails gives one row that says so, and its goal counts as not measured.
"""

from __future__ import annotations

import importlib.util
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender.cameras import Camera
from diffrender.meshes import Mesh
from diffrender.raster import soft_silhouette
from diffrender.tools.bench_format import Report, Row, Target, spread
from diffrender.tools.bench_raster_grid import timed
from diffrender.tools.bench_raster_scene import Cell, scene_of, soft_step

__all__ = ["child", "gpu", "llvmpipe", "mitsuba", "pytorch3d", "soft_reference"]

_PUBLISHED_CELL = Cell(1280, 512, 1)
# Forward + backward on two cores of an AMD EPYC, PyTorch3D 0.7.9, sigma 1e-4, 10 faces a pixel.
_PUBLISHED_SECONDS = 25.0


def child(
    module: str, *words: object, seconds: float, threads: int | None = None
) -> dict[str, Any] | str:
    """The JSON that a module prints when it runs in a process of its own, or why there is none."""
    command = [sys.executable, "-P", "-m", f"diffrender.tools.{module}", *map(str, words)]
    own = dict(os.environ)
    if sys.version_info < (3, 11):
        command.remove("-P")
    if threads is not None:
        own |= {"LP_NUM_THREADS": str(threads), "OMP_NUM_THREADS": str(threads)}
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds, env=own)
    except subprocess.TimeoutExpired:
        return f"no result after {seconds:g} s"
    if done.returncode < 0:
        return f"its process was ended by signal {-done.returncode}"
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        return lines[-1][:200] if lines else f"exit code {done.returncode}"
    # Mitsuba's warnings go to standard output too.
    found = [line for line in done.stdout.splitlines() if line.startswith("{")]
    return dict(json.loads(found[-1])) if found else "its process printed no result"


def _rows(report: Report, case: str, words: str, seconds: dict[str, list[float]]) -> None:
    """Rows of "ours" and of each peer in `seconds`, theirs first."""
    ours = statistics.median(seconds["ours"])
    for name, values in seconds.items():
        middle = statistics.median(values)
        row = Row(case, words.format(name), 1e3 * middle, "ms", 1e3 * spread(values))
        report.rows.append(row)
        if name != "ours":
            note = f"{words.format('ours')}, over {name}"
            report.rows.append(Row(case, note, ours / middle, "ratio", peer=name))


def llvmpipe(report: Report, *, quick: bool) -> None:
    """Hard rasterization forward against llvmpipe, on one thread and on two."""
    cell, goal = Cell(1280, 256, 1), "hard rasterize forward, {}, {} thread(s), over llvmpipe"
    for threads in dict.fromkeys((min(2, os.cpu_count() or 1), 1)):
        name = goal.format(cell, threads)
        found: dict[str, Any] | str = "moderngl is not installed"
        if importlib.util.find_spec("moderngl") is not None:
            words = (cell.faces, cell.size, 40 if quick else 300, threads)
            found = child("bench_raster_llvmpipe", *words, seconds=60, threads=threads)
        if isinstance(found, str):
            report.leave_out("llvmpipe", found)
            report.targets.append(Target(name, "<= 1.5", None, False))
            continue
        seconds = found["seconds"]
        peer = str(found["renderer"])
        _rows(report, str(cell), f"rasterize forward, {threads} thread(s), {{}}, {peer}", seconds)
        report.rows.append(
            Row(str(cell), "pixels that see another face", found["differs"], "share", peer=peer)
        )
        ratio = statistics.median(seconds["ours"]) / statistics.median(seconds["finish"])
        report.targets.append(Target(name, "<= 1.5", ratio, ratio <= 1.5))


def mitsuba(report: Report) -> None:
    """The full step against Mitsuba's path tracer, where its LLVM variant can run."""
    if importlib.util.find_spec("mitsuba") is None:
        report.leave_out("mitsuba", "it is not installed")
        return
    cell = Cell(1280, 256, 1)
    found = child("bench_raster_mitsuba", cell.faces, cell.size, 3, seconds=60)
    if isinstance(found, str):
        report.leave_out("mitsuba", f"llvm_ad_rgb: {found} (DRJIT_LIBLLVM_PATH names another LLVM)")
    else:
        words = "forward + backward, {}, beside 16 samples a pixel of direct_projective"
        _rows(report, str(cell), words, found["seconds"])


def pytorch3d(report: Report, *, quick: bool) -> None:
    """Our soft silhouette, timed, against the published time of PyTorch3D's."""
    cell = _PUBLISHED_CELL
    seconds = timed({"ours": soft_step(scene_of(cell))}, 1.0 if quick else 4.0)["ours"]
    middle = statistics.median(seconds)
    case = f"{cell}, sigma 1e-4, 10 faces a pixel"
    words = "soft silhouette forward + backward"
    width = 1e3 * spread(seconds) if len(seconds) > 1 else None
    peer = "PyTorch3D (published)"
    report.rows.extend(
        [
            Row(case, words, 1e3 * middle, "ms", width, peer, middle / _PUBLISHED_SECONDS),
            Row(case, f"{words}, {peer}, not measured here", 1e3 * _PUBLISHED_SECONDS, "ms"),
        ]
    )
    gain = _PUBLISHED_SECONDS / middle
    name = f"{words}, {case}, against PyTorch3D's published 25 s"
    report.targets.append(Target(name, ">= 100 x faster", gain, gain >= 100))
    there = importlib.util.find_spec("pytorch3d") is not None
    reason = "it is here, but only its published time is compared" if there else "not installed"
    report.leave_out("PyTorch3D", reason)
    soft_reference(report, Path(os.environ.get("DIFFRENDER_SHARED", "")))


def soft_reference(report: Report, folder: Path) -> None:
    """Largest difference of values and gradients from PyTorch3D's own output, if it is there."""
    name = "soft silhouette, values and gradients against PyTorch3D's"
    path = folder / "reference" / "pytorch3d" / "sphere_soft.npz"
    if not path.is_file():
        report.leave_out("PyTorch3D's recorded output", "DIFFRENDER_SHARED names no folder with it")
        report.targets.append(Target(name, "<= 1e-3", None, False))
        return
    with np.load(path, allow_pickle=False) as file:
        data = {key: torch.from_numpy(np.asarray(file[key])) for key in file.files}
    height, width = (int(side) for side in data["size_hw"])
    camera = Camera(data["K"].float(), data["R"].float(), data["t"].float(), (height, width))
    vertices = data["vertices"].clone().requires_grad_()
    alpha = soft_silhouette(
        Mesh(vertices, data["faces"].long()),
        camera,
        sigma=float(data["sigma"]),
        blur_radius=float(data["blur_radius_ndc"]),
        faces_per_pixel=data["pix_to_face"].shape[-1],
    )
    loss = (alpha - data["target"]).square().sum()
    (gradient,) = torch.autograd.grad(loss, vertices)
    wanted = data["grad_vertices"]
    value = float((alpha.detach() - data["silhouette"]).abs().max())
    slope = float((gradient - wanted).abs().max() / wanted.abs().max())
    case, peer = f"{len(data['faces'])} faces, {height} x {width}", "PyTorch3D (recorded)"
    report.rows.extend(
        [
            Row(case, "soft silhouette, largest difference of values", value, "alpha", peer=peer),
            Row(
                case,
                "soft silhouette, largest difference of gradients",
                slope,
                "of largest",
                peer=peer,
            ),
        ]
    )
    worst = max(value, slope)
    report.targets.append(Target(name, "<= 1e-3", worst, worst <= 1e-3))


def gpu(report: Report) -> None:
    """nvdiffrast: the renderer has no kernels for a GPU yet, so there is nothing to compare."""
    device = "no CUDA device here"
    if torch.cuda.is_available():
        device = "the renderer has no kernels of its own for a GPU yet, only the plain-torch twins"
    report.leave_out("nvdiffrast", device)
    name = "512 x 512 x 64 meshes x 5120 faces on a GPU against nvdiffrast"
    report.targets.append(Target(name, ">= 1 x faster", None, False))
