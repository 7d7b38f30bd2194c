"""The cases of `diffrender ablate` on synthetic streets and real frames, a line of JSON a car.

What a file of lines holds already is not done again, so a run goes on where it was stopped. Truth
serves scoring only.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from diffrender.errors import InputError
from diffrender.evaluate import pose_error
from diffrender.instances import Instance, row_name
from diffrender.reconstruct import (
    DepthNoise,
    ReconstructSettings,
    Run,
    depth_noise_of,
    reconstruct,
)
from diffrender.reconstruct.classes import ClassSize
from diffrender.tools.ablate_variants import Change, Variant
from diffrender.tools.bench_accuracy import STREET_NOISE, class_sizes
from diffrender.tools.bench_pose_rows import boxes_of
from diffrender.tools.bench_real_frames import counts

if TYPE_CHECKING:
    from diffrender.datasets import KittiFrame
    from diffrender.datasets.synthetic import SyntheticStreets

__all__ = ["REAL", "Job", "Line", "read_lines", "real_lines", "street_lines", "write_lines"]

REAL = "real frames, lidar"  # where a line of one is; one of a street is at "seed N"
Line = dict[str, Any]
Job = tuple[str, Callable[[], list[Line]]]  # a place and what gives its lines


@dataclass(frozen=True)
class _Truth:
    name: str
    clear: bool  # hardly hidden, hardly cut
    box: np.ndarray  # (7,)


def read_lines(path: Path) -> list[Line]:
    """The finished lines of a file; one that a kill cut short at its end is left out.

    What two processes have written counts once.

    Raises:
        InputError: another line is no JSON of a car.
    """
    if not path.exists():
        return []
    rows = path.read_text(encoding="utf-8").split("\n")
    found: dict[tuple[str, str | None], Line] = {}
    for number, row in enumerate(rows, 1):
        if not row:
            continue
        try:
            line = json.loads(row)
            if not {"case", "place", "name", "error"} <= set(line):
                raise ValueError("fields are missing")
        except (ValueError, TypeError) as error:
            if number == len(rows):
                continue
            raise InputError(f"{path}, line {number}, is no line of an ablation: {error}") from None
        found[line["place"], line["name"]] = line
    return list(found.values())


def write_lines(
    path: Path, jobs: Iterable[tuple[str, Callable[[], list[Line]]]], limit: float
) -> int:
    """Append what the jobs give and the file lacks, for `limit` seconds; how many are left.

    One of a job's lines has no name and marks it as done: it is written last, so that cars of a job
    that a kill or a full disk cut short do not count.

    Raises:
        InputError: a job that its inputs do not allow, by its place, or lines of another file.
        OSError: the file cannot be written; it is named.
    """
    lines = read_lines(path)
    done = {line["place"] for line in lines if line["name"] is None}
    # A last line that was cut short goes away; so do cars of a job that was not finished.
    whole = [line for line in lines if line["place"] in done]
    text = "".join(json.dumps(line) + "\n" for line in whole)
    if path.exists() and path.read_text(encoding="utf-8") != text:
        from diffrender._files import write_text_atomic

        write_text_atomic(path, text)
    started, left = time.monotonic(), 0
    for place, work in jobs:
        if place in done:
            continue
        if time.monotonic() - started > limit:
            left += 1
            continue
        try:
            made = sorted(work(), key=lambda line: line["name"] is None)
        except InputError as error:
            raise InputError(f"{place}: {error}") from error
        try:
            with path.open("a", encoding="utf-8") as file:
                file.write("".join(json.dumps(line) + "\n" for line in made))
        except OSError as error:  # a full disk names no file
            raise OSError(error.errno, error.strerror, str(path)) from error
    return left


def street_lines(cases: list[Variant], seeds: tuple[int, ...], scenes: int) -> Iterator[Job]:
    """Jobs of synthetic streets: every case on every scene of every seed."""
    from diffrender.datasets.synthetic import SyntheticStreets

    sizes = class_sizes()
    for seed in seeds:
        streets = SyntheticStreets(seed, scenes)
        for index in range(scenes):
            for case in cases:
                place = f"street {seed}/{index}, {case.key}"

                work = functools.partial(_street, case, streets, index, seed, place, sizes)
                yield place, work


def _street(
    case: Variant,
    streets: SyntheticStreets,
    index: int,
    seed: int,
    place: str,
    sizes: Mapping[str, ClassSize],
) -> list[Line]:
    frame = streets[index]
    draw = np.random.default_rng([seed, index])
    depth, noise = _depth(case.change, frame, draw)
    given = {instance.name for instance in frame.instances()}
    truth = [
        _Truth(
            car.name,
            car.label.occluded == 0 and car.truncated <= 0.05,
            np.array([*car.pose.location, *car.pose.size, car.pose.yaw]),
        )
        for car in frame.truth
        if car.name in given
    ]
    instances = _masks(case.change, frame.instances(), draw)
    settings = ReconstructSettings(depth_noise=noise, class_sizes=sizes)
    seen = (frame.image, frame.camera, instances, depth)
    return _lines(case, place, f"seed {seed}", seen, settings, truth)


def real_lines(cases: list[Variant], root: Path) -> Iterator[Job]:
    """Jobs of real frames in the KITTI layout that have lidar and instance masks.

    Raises:
        InputError: there is no such frame with a car to score.
    """
    from diffrender.datasets import KittiObject

    frames, used = KittiObject(root), 0
    for name in frames.names:
        frame = frames[name]
        if not (frame.folder / "velodyne" / f"{name}.bin").is_file():
            continue
        if not any((frame.folder / "instance_2").glob(f"{name}.*")):
            continue
        if not any(counts(label) for label in frame.labels):
            continue
        used += 1
        for case in cases:
            if not case.of_real_frames:
                continue
            place = f"frame {name}, {case.key}"

            yield place, functools.partial(_real, case, root, frame, place)
    if not used:
        raise InputError(
            f"{frames.folder} holds no frame with velodyne, instance_2 and a car to score in "
            "label_2; leave --kitti out, or name another folder"
        )


def _real(case: Variant, root: Path, frame: KittiFrame, place: str) -> list[Line]:
    from diffrender.tools.inputs import DepthChoice, from_kitti

    inputs = from_kitti(root, frame.name, "training", "instance_2", DepthChoice("lidar"))
    shown = {instance.name for instance in inputs.instances}
    truth = []
    for index, label in enumerate(frame.labels):
        key = row_name(label, index + 1)
        if counts(label) and key in shown:
            box = np.array([*label.location, *label.size_lwh, label.rotation_y])
            truth.append(_Truth(key, True, box))
    settings = ReconstructSettings(depth_noise=depth_noise_of("lidar"))
    instances = _masks(case.change, inputs.instances, np.random.default_rng(0))
    seen = (inputs.image, inputs.camera, instances, inputs.depth)
    return _lines(case, place, REAL, seen, settings, truth)


def _lines(
    case: Variant,
    place: str,
    where: str,
    seen: tuple[Any, Any, list[Instance], np.ndarray | None],
    settings: ReconstructSettings,
    truth: list[_Truth],
) -> list[Line]:
    from diffrender.predict import load_start
    from diffrender.shape_priors import load_prior

    image, camera, instances, depth = seen
    prior = load_prior(case.change.prior)
    start = load_start(beside_box_fits=True) if case.change.predictor else None
    run = Run("ablation", start=start)
    scene = reconstruct(image, camera, instances, depth, prior, case.settings(settings), run)
    found = boxes_of(scene)
    common = {"case": case.key, "place": place, "where": where}
    lines: list[Line] = [
        {**common, "name": None, "error": None, "seconds": scene.timings["total"],
         "objects": len(scene.objects)}
    ]  # fmt: skip
    for car in truth:
        error = pose_error(found[car.name], car.box) if car.name in found else None
        plain = None if error is None else dataclasses.asdict(error)
        lines.append({**common, "name": car.name, "error": plain, "clear": car.clear})
    return lines


def _depth(
    change: Change, frame: Any, draw: np.random.Generator
) -> tuple[np.ndarray | None, DepthNoise]:
    """The depth map of a case, and what the optimizer is told to believe of it."""
    from diffrender.datasets.synthetic import add_depth_noise

    if change.depth == "none":
        return None, depth_noise_of("none")
    if change.depth == "lidar":
        return frame.lidar_depth(), depth_noise_of("lidar")
    if change.depth == "shipped":
        from diffrender.depth import align_to_scene, create_depth

        focal = float(frame.camera.intrinsics[0, 0])
        seen = create_depth("dpt-timm").predict(frame.image, focal)
        return align_to_scene(seen, frame.camera).depth, depth_noise_of("dpt-timm")
    believed = dataclasses.replace(STREET_NOISE, relative=max(change.noise, 0.01))
    return add_depth_noise(frame.depth, change.noise, draw), believed


def _masks(change: Change, instances: list[Instance], draw: np.random.Generator) -> list[Instance]:
    from diffrender.datasets.synthetic_masks import add_mask_noise, grow_masks

    if change.grow:
        instances = grow_masks(instances, change.grow)
    return add_mask_noise(instances, change.wander, draw) if change.wander else instances
