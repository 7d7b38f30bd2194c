"""Pictures with exact depth on disk, for training depth networks.

`python -m diffrender.datasets.depth_frames --help` renders synthetic streets.
A folder of `frames_NNNNN.npz`, each with `image` (N, H, W, 3) uint8 RGB, `depth` (N, H, W) float16
metres (0 = unknown, inf = sky), `focal` (N,) float32 pixels, `height` (N,) float32 metres of the
camera above the road and `owner` (N, H, W) uint8, the vehicles
(`diffrender.datasets.synthetic_owners`). `diffrender.depth.train` reads any such folder, whatever
made it; without `height` cameras are as high as KITTI's, without `owner` no vehicle counts for
itself.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from diffrender._commands import run_module
from diffrender.datasets.numbered_files import NumberedFiles, write_numbered
from diffrender.datasets.synthetic import (
    TRAINING_SEED,
    StreetSettings,
    SyntheticFrame,
    SyntheticStreets,
)
from diffrender.datasets.synthetic_owners import owner_map

__all__ = [
    "STREETS",
    "TRAINING_STREETS",
    "VARIED_STREETS",
    "FrameJob",
    "add_streets",
    "frame_files",
    "frames_of",
    "write_frames",
]

# Wider than the streets that results are reported on: other lenses, mounts and hills.
TRAINING_STREETS = StreetSettings(
    focal=(0.75, 1.3), camera_height=(1.55, 1.75), pitch_degrees=1.0, roll_degrees=0.8
)
# And what those do not have: no horizon, things a metre from the camera, hard shade.
VARIED_STREETS = replace(TRAINING_STREETS, close=0.75, lorries=0.5, hard_light=0.5)
STREETS = {"plain": StreetSettings(), "training": TRAINING_STREETS, "varied": VARIED_STREETS}
_PER_FILE = 8


@dataclass(frozen=True)
class FrameJob:
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
    size: tuple[int, int] = (192, 640)
    seed: int = TRAINING_SEED
    settings: StreetSettings = TRAINING_STREETS


def write_frames(job: FrameJob, workers: int = 1) -> list[Path]:
    """Render the frames that the folder does not hold yet, in `workers` processes.

    Raises:
        InputError: fewer than one frame or worker.
    """
    return write_numbered(_write_file, job, frame_files(job), workers)


def frame_files(job: FrameJob) -> NumberedFiles:
    """Where the frames of a job lie."""
    return NumberedFiles(job.folder, "frames", _PER_FILE)


def frames_of(job: FrameJob, number: int) -> list[SyntheticFrame]:
    """The streets of a file."""
    streets = SyntheticStreets(job.seed, job.count, job.size, job.settings)
    return [streets[k] for k in frame_files(job).items(number, job.count)]


def _write_file(job: FrameJob, number: int, path: Path) -> None:
    import torch

    torch.set_num_threads(1)  # the workers are the parallelism
    some = frames_of(job, number)
    depth = np.stack([np.where(f.depth > 0, f.depth, np.inf) for f in some]).astype(np.float16)
    np.savez(
        path,
        image=np.stack([f.image for f in some]),
        depth=depth,
        focal=np.array([float(f.camera.intrinsics[0, 0]) for f in some], np.float32),
        height=np.array([f.camera_height for f in some], np.float32),
        owner=np.stack([owner_map(f) for f in some]),
    )


def add_streets(parser: argparse.ArgumentParser, default: str) -> None:
    """The option that names one of `STREETS`."""
    parser.add_argument(
        "--streets", choices=list(STREETS), default=default,
        help="plain: those of reported results; training: other lenses, mounts and hills too; "
        "varied: mostly close places, in hard light",
    )  # fmt: skip


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Render synthetic streets with exact depth.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=1600, help="frames")
    parser.add_argument("--size", type=int, nargs=2, default=(192, 640), metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=TRAINING_SEED, help="of the streets")
    add_streets(parser, "training")
    parser.add_argument(
        "--camera-height", type=float, nargs=2, metavar=("LOW", "HIGH"),
        help="metres above the road, in place of the streets' own",
    )  # fmt: skip
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)
    height, width = given.size
    settings = STREETS[given.streets]
    if given.camera_height is not None:
        settings = replace(settings, camera_height=tuple(given.camera_height))
    job = FrameJob(given.out, given.count, (height, width), given.seed, settings)
    paths = write_frames(job, given.workers)
    print(f"{len(paths)} files in {given.out}")


if __name__ == "__main__":
    run_module(main)
