"""What is left of the centre's error with lidar: fitted surfaces against the points, and lengths.

    python benchmarks/lidar_surfaces.py --kitti ROOT --json FILE

The cars, masks and settings of `diffrender bench reconstruct-real` with lidar. For each: how far
the fitted surface is from the lidar points in its mask, how far the labelled box's near end is from
the nearest of them, and the error of the centre as it is and if the length were the true one, the
near end staying where it was found. Truth serves scoring only.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._files import write_text_atomic
from diffrender.cameras import Camera
from diffrender.catalogue.mesh._rays import RayCaster
from diffrender.datasets import KittiObject
from diffrender.datasets.kitti import TRAFFIC
from diffrender.evaluate import pose_error
from diffrender.instances import row_name
from diffrender.predict import load_start
from diffrender.reconstruct import ReconstructedObject, ReconstructSettings, Run, reconstruct
from diffrender.shape_priors import load_prior
from diffrender.tools.bench_format import machine
from diffrender.tools.bench_pose_rows import boxes_of
from diffrender.tools.bench_real_frames import counts
from diffrender.tools.inputs import DepthChoice, from_kitti

FAR = 3.0  # metres: a point further behind the label's near end is of something else


def points_of(
    camera: Camera, depth: np.ndarray, mask: np.ndarray
) -> tuple[torch.Tensor, torch.Tensor]:
    """Lidar points in a mask, (N, 3) in the frame of the labels, and their depths."""
    rows, columns = np.nonzero(mask & (depth > 0))
    z = torch.from_numpy(depth[rows, columns]).double()
    pixels = torch.from_numpy(np.stack([columns + 0.5, rows + 0.5], axis=1)).double()
    return camera.unproject(pixels, z), z


def near_end(box: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Middle of the box's end that is nearer to the camera, and the way from there to the other."""
    forward = np.array([np.cos(box[6]), 0.0, -np.sin(box[6])])
    middle = box[:3] - np.array([0.0, box[5] / 2, 0.0])
    back = forward if middle @ forward > 0 else -forward
    return middle - back * box[3] / 2, back


def of_true_length(box: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The box with the true length, its near end where it was."""
    end, back = near_end(box)
    mended = box.copy()
    mended[3] = truth[3]
    mended[:3] = end + back * truth[3] / 2 + np.array([0.0, box[5] / 2, 0.0])
    return mended


def row(
    camera: Camera,
    depth: np.ndarray,
    found: ReconstructedObject,
    box: np.ndarray,
    truth: np.ndarray,
) -> dict[str, Any]:
    """One car."""
    points, z = points_of(camera, depth, found.instance.mask)
    turned = found.mesh.vertices.double() @ found.pose.object_to_world_rotation.T
    vertices = turned + torch.tensor(found.pose.location, dtype=torch.float64)
    origin = camera.centre.double().reshape(3)
    rays = (points - origin) / z[:, None]  # as long as a depth of one metre
    surface = RayCaster(vertices[found.mesh.faces])
    off = surface.first_hit(origin.expand_as(rays), rays)[1] - z
    end, back = near_end(truth)
    behind = torch.from_numpy((points.numpy() - end) @ back)
    own = (behind.abs() < FAR) & off.isfinite()
    return {
        "distance, m": float(truth[2]), "points": int(own.sum()),
        "surface behind its points, m, median": float(off[own].median()),
        "nearest points behind the label's near end, m": float(torch.quantile(behind[own], 0.05)),
        "length found, m": float(box[3]), "true length, m": float(truth[3]),
        "centre, share of depth": pose_error(box, truth).centre,
        "centre if the length were true": pose_error(of_true_length(box, truth), truth).centre,
    }  # fmt: skip


def cars(root: Path) -> dict[str, dict[str, Any]]:
    """Every car that the benchmark counts, of the frames with lidar."""
    frames, prior, start = KittiObject(root), load_prior("car"), load_start(beside_box_fits=True)
    rows: dict[str, dict[str, Any]] = {}
    for name in frames.names:
        frame = frames[name]
        lidar = (frame.folder / "velodyne" / f"{name}.bin").is_file()
        if not lidar or not any(counts(label) for label in frame.labels):
            continue
        given = from_kitti(root, name, "training", "instance_2", DepthChoice("lidar", None))
        assert given.depth is not None
        scene = reconstruct(
            given.image, given.camera, given.instances, given.depth, prior,
            ReconstructSettings(traffic=TRAFFIC),
            Run(name, depth_source=given.depth_source, start=start),
        )  # fmt: skip
        boxes, objects = boxes_of(scene), {o.name: o for o in scene.objects}
        for index, label in enumerate(frame.labels):
            key = row_name(label, index + 1)
            if counts(label) and key in boxes:
                truth = np.array([*label.location, *label.size_lwh, label.rotation_y])
                camera = given.camera.to(torch.float64)
                rows[f"{name} {key}"] = row(camera, given.depth, objects[key], boxes[key], truth)
    return rows


def main() -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kitti", type=Path, required=True)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    rows = cars(given.kitti)

    def median(name: str) -> float:
        return float(np.median([values[name] for values in rows.values()]))

    names = ("centre, share of depth", "centre if the length were true")
    text = json.dumps(
        {"machine": machine(), "medians": {n: median(n) for n in names}, "cars": rows}, indent=1
    )
    print(text)
    if given.json is not None:
        write_text_atomic(given.json, text + "\n")


if __name__ == "__main__":
    main()
