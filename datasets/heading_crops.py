"""Crops of vehicles with the direction they face, on disk, for training the heading network.

`python -m diffrender.datasets.heading_crops --help` renders synthetic streets. A folder of
`crops_NNNNN.npz`, each with `image` (N, S, S, 3) uint8 RGB, `mask` (N, S, S) uint8, 0 to 255, and
`alpha` (N,) float32 radians, KITTI's observation angle. `diffrender.heading.train` reads any such
folder, whatever made it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from diffrender._commands import run_module
from diffrender.datasets.depth_frames import STREETS, add_streets
from diffrender.datasets.numbered_files import NumberedFiles, write_numbered
from diffrender.datasets.synthetic import StreetSettings, SyntheticStreets
from diffrender.errors import InputError
from diffrender.heading import object_crops
from diffrender.instances import box_of_mask

__all__ = ["CropJob", "write_crops"]

_PER_FILE = 20  # streets
_LEAST_HEIGHT = 22  # pixels of a mask's box; below it nothing is to be seen
_LEAST_PIXELS = 150


@dataclass(frozen=True)
class CropJob:
    """What to render.

    Attributes:
        folder: where the files go.
        count: streets; file k holds the vehicles of streets 20k to 20k + 19 of the sequence.
        side: of a crop, pixels; from 32 to 512, a multiple of the heading network's stride, 32.
        seed: of the streets.
        settings: of the streets.

    Raises:
        InputError: another side.
    """

    folder: Path
    count: int
    side: int = 128
    seed: int = 6101
    settings: StreetSettings = STREETS["plain"]

    def __post_init__(self) -> None:
        if not 32 <= self.side <= 512 or self.side % 32:
            raise InputError(
                f"side is {self.side}, expected pixels from 32 to 512 in steps of 32, the heading "
                "network's stride"
            )


def write_crops(job: CropJob, workers: int = 1) -> list[Path]:
    """Render the crops that the folder does not hold yet, in `workers` processes.

    Raises:
        InputError: fewer than one street or worker.
    """
    return write_numbered(_write_file, job, _crop_files(job), workers)


def _crop_files(job: CropJob) -> NumberedFiles:
    return NumberedFiles(job.folder, "crops", _PER_FILE)


def _write_file(job: CropJob, number: int, path: Path) -> None:
    import torch

    torch.set_num_threads(1)  # the workers are the parallelism
    streets = SyntheticStreets(job.seed, job.count, settings=job.settings)
    images, masks, alphas = [], [], []
    for k in _crop_files(job).items(number, job.count):
        frame = streets[k]
        shown = {i.name: i.mask for i in frame.instances()}
        cars = [car for car in frame.truth if car.name in shown and _visible(shown[car.name])]
        crops, covers = object_crops(frame.image, [shown[car.name] for car in cars], job.side)
        images.append(crops)
        masks.append(covers)
        alphas += [car.pose.alpha for car in cars]
    np.savez_compressed(
        path,
        image=np.concatenate(images),
        mask=np.concatenate(masks),
        alpha=np.array(alphas, np.float32),
    )


def _visible(mask: np.ndarray) -> bool:
    _, top, _, bottom = box_of_mask(mask)
    return bottom - top >= _LEAST_HEIGHT and int(mask.sum()) >= _LEAST_PIXELS


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Cut vehicles out of synthetic streets.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=600, help="streets")
    parser.add_argument("--seed", type=int, default=CropJob.seed, help="of the streets")
    parser.add_argument("--side", type=int, default=CropJob.side, help="of a crop, pixels")
    add_streets(parser, "plain")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)
    settings = STREETS[given.streets]
    job = CropJob(given.out, given.count, given.side, given.seed, settings)
    paths = write_crops(job, given.workers)
    print(f"{len(paths)} files in {given.out}")


if __name__ == "__main__":
    run_module(main)
