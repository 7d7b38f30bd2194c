"""`diffrender bench catalogue --reconstruct`: street cars by each technique's silhouette.

The largest masks of a few synthetic streets, each fitted by itself from box fits at four yaws, with
Adam on the same short stages for all. Labels are read afterwards, for scoring.
"""

from __future__ import annotations

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from diffrender._files import write_text_atomic
from diffrender.catalogue import list_techniques
from diffrender.errors import InputError
from diffrender.evaluate import PoseError, pose_error, summarise
from diffrender.reconstruct import ReconstructSettings, Run, StageSettings, reconstruct
from diffrender.reconstruct.catalogue_silhouette import check_technique
from diffrender.tools.bench_accuracy import DEPTH_NOISE, STREET_NOISE, class_sizes
from diffrender.tools.bench_choices import TechniqueChoice
from diffrender.tools.bench_format import Report, Row, machine
from diffrender.tools.console import note, warn

__all__ = ["bench_reconstruct"]

# The library's own silhouette on the same stages with Adam, beside the techniques.
OWN = "the library's own"
_SCENES, _CARS_A_SCENE = 3, 2
_STAGES = (
    StageSettings(iterations=20, size=(40, 40), keep=4),
    StageSettings(iterations=20, size=(48, 48), keep=1, turns=(180,)),
)
_QUICK_STAGES = (StageSettings(iterations=6, size=(32, 32), keep=2),)


@dataclass(frozen=True)
class _Car:
    frame: Any  # of SyntheticStreets
    instance: Any
    depth: np.ndarray

    def truth(self) -> np.ndarray:
        pose = next(car.pose for car in self.frame.truth if car.name == self.instance.name)
        return np.array([*pose.location, *pose.size, pose.yaw])


def bench_reconstruct(*, quick: bool, techniques: TechniqueChoice) -> Report:
    """One JSON a technique in the folder; finished ones are read and not measured again.

    Raises:
        InputError: a named technique has no gradient at silhouettes.
    """
    for name in techniques.names:
        check_technique(name)
    names = list(techniques.names) or ([] if quick else _able())
    folder = (techniques.work or Path("out") / "catalogue") / (
        "reconstruct-quick" if quick else "reconstruct"
    )
    folder.mkdir(parents=True, exist_ok=True)
    settings = ReconstructSettings(
        solver="adam", hypotheses=4, stages=_QUICK_STAGES if quick else _STAGES,
        depth_noise=STREET_NOISE, class_sizes=class_sizes(), texture_size=16,
    )  # fmt: skip
    cars = _cars(1 if quick else _SCENES, 1 if quick else _CARS_A_SCENE)
    rows: list[Row] = []
    for name in (OWN, *names):
        path = folder / f"{'own' if name == OWN else name}.json"
        if path.is_file():
            record = _load(path, len(cars))
        else:
            try:
                record = _measure(name, cars, settings)
            except (RuntimeError, MemoryError, InputError) as error:
                warn(f"{name}: {error}")
                continue
            write_text_atomic(path, json.dumps(record) + "\n")
            note().print(f"{name}: {sum(record['seconds']):.0f} s")
        rows += _rows(name, record)
    return Report(rows)


def _able() -> list[str]:
    """Techniques with a gradient at silhouettes."""
    found = []
    for name in list_techniques():
        try:
            check_technique(name)
        except InputError:
            continue
        found.append(name)
    return found


def _cars(scenes: int, each: int) -> list[_Car]:
    """The largest masks of streets, told by the masks alone."""
    from diffrender.datasets.synthetic import (
        DEVELOPMENT_SEED,
        SyntheticStreets,
        add_depth_noise,
    )

    streets, cars = SyntheticStreets(DEVELOPMENT_SEED, scenes), []
    for index in range(scenes):
        frame = streets[index]
        draw = np.random.default_rng([DEVELOPMENT_SEED, index])
        depth = add_depth_noise(frame.depth, DEPTH_NOISE, draw)
        largest = sorted(frame.instances(), key=lambda i: -int(i.mask.sum()))
        cars += [_Car(frame, instance, depth) for instance in largest[:each]]
    return cars


def _measure(name: str, cars: list[_Car], settings: ReconstructSettings) -> dict[str, Any]:
    from diffrender.shape_priors import load_prior

    prior = load_prior("car")
    if name != OWN:
        settings = dataclasses.replace(settings, silhouette=name)
    record: dict[str, Any] = {"technique": name, "machine": machine(), "errors": [], "seconds": []}
    for car in cars:
        torch.manual_seed(0)
        start = time.perf_counter()
        scene = reconstruct(
            car.frame.image, car.frame.camera, [car.instance], car.depth, prior, settings,
            Run(car.frame.name),
        )  # fmt: skip
        record["seconds"].append(time.perf_counter() - start)
        error = None
        for found in scene.objects:
            box = np.array([*found.pose.location, *found.size, found.yaw])
            error = dataclasses.asdict(pose_error(box, car.truth()))
        record["errors"].append(error)
    return record


def _load(path: Path, cars: int) -> dict[str, Any]:
    record = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(record, dict) or len(record.get("errors", ())) != cars:
        raise InputError(f"{path.name} is not of this benchmark; delete it to measure anew")
    return record


def _rows(name: str, record: dict[str, Any]) -> list[Row]:
    errors = [None if e is None else PoseError(**e) for e in record["errors"]]
    found = summarise(errors)
    seconds = sorted(record["seconds"])
    case = f"{name}, {len(errors)} cars"
    rows = [
        Row(case, "yaw within 10 degrees", found.yaw_10, "share"),
        Row(case, "median 3D IoU", found.median_iou, "IoU"),
    ]
    if found.found:
        rows += [
            Row(case, "median yaw error", found.yaw, "degrees"),
            Row(case, "median centre error", found.centre, "share of depth"),
        ]
    spread = seconds[(3 * len(seconds)) // 4] - seconds[len(seconds) // 4]
    rows.append(Row(case, "time a car", float(np.median(seconds)), "s", spread))
    return rows
