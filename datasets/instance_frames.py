"""Pictures with exact masks of their vehicles on disk, for training the street segmenter.

`python -m diffrender.datasets.instance_frames --help` renders synthetic streets. A folder of
`frames_NNNNN.npz`, each with `image` (N, H, W, 3) uint8 RGB and `owner` (N, H, W) uint8: 0 what is
no car, 1 to 127 the cars of a picture, 128 to 254 its vans, 255 vehicles of which too little shows
to be counted. `diffrender.instances.street.train` reads any such folder, whatever made it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffrender._commands import run_module
from diffrender._files import atomic_path
from diffrender.datasets.depth_frames import STREETS, add_streets
from diffrender.datasets.numbered_files import write_numbered
from diffrender.datasets.synthetic import StreetSettings, SyntheticFrame, SyntheticStreets
from diffrender.instances import box_of_mask

__all__ = ["InstanceJob", "owner_map", "write_instance_frames"]

_PER_FILE = 8
_LEAST_HEIGHT = 14  # pixels of a mask's box
_LEAST_PIXELS = 100
_FIRST_VAN, _UNCOUNTED = 128, 255


@dataclass(frozen=True)
class InstanceJob:
    """What to render.

    Attributes:
        folder: where the files go.
        count: frames; file k holds frames 8k to 8k + 7 of the sequence.
        size: (height, width) in pixels.
        seed: of the streets.
        settings: of the streets.
    """

    folder: Path
    count: int
    size: tuple[int, int] = (375, 1242)
    seed: int = 9101
    settings: StreetSettings = STREETS["training"]


def write_instance_frames(job: InstanceJob, workers: int = 1) -> list[Path]:
    """Render the frames that the folder does not hold yet, in `workers` processes.

    Raises:
        InputError: fewer than one frame or worker.
    """
    files = -(-job.count // _PER_FILE)
    return write_numbered(_write_file, job, job.folder, files, workers)


def owner_map(frame: SyntheticFrame) -> np.ndarray:
    """Whose pixel it is, (H, W) uint8, as the files have it."""
    owner = np.zeros(frame.size, np.uint8)
    cars, vans = 1, _FIRST_VAN
    for vehicle in frame.truth:
        if not vehicle.mask.any():
            continue
        _, top, _, bottom = box_of_mask(vehicle.mask)
        if bottom - top < _LEAST_HEIGHT or int(vehicle.mask.sum()) < _LEAST_PIXELS:
            owner[vehicle.mask] = _UNCOUNTED
        elif vehicle.category == "Van":
            owner[vehicle.mask] = vans
            vans += 1
        else:
            owner[vehicle.mask] = cars
            cars += 1
    return owner


def _write_file(job: InstanceJob, number: int) -> Path:
    path = job.folder / f"frames_{number:05d}.npz"
    if path.exists():
        return path
    import torch

    torch.set_num_threads(1)  # the workers are the parallelism
    streets = SyntheticStreets(job.seed, job.count, job.size, job.settings)
    some = [streets[k] for k in range(number * _PER_FILE, min((number + 1) * _PER_FILE, job.count))]
    with atomic_path(path) as temporary:
        np.savez(
            temporary,
            image=np.stack([f.image for f in some]),
            owner=np.stack([owner_map(f) for f in some]),
        )
    return path


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Render synthetic streets with exact masks.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=800, help="frames")
    parser.add_argument("--size", type=int, nargs=2, default=InstanceJob.size, metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=InstanceJob.seed, help="of the streets")
    add_streets(parser, "training")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)
    height, width = given.size
    job = InstanceJob(given.out, given.count, (height, width), given.seed, STREETS[given.streets])
    paths = write_instance_frames(job, given.workers)
    print(f"{len(paths)} files in {given.out}")


if __name__ == "__main__":
    run_module(main)
