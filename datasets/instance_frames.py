"""Pictures with exact masks of their vehicles on disk, for training the street segmenter.

`python -m diffrender.datasets.instance_frames --help` renders synthetic streets. A folder of
`frames_NNNNN.npz`, each with `image` (N, H, W, 3) uint8 RGB and `owner` (N, H, W) uint8: 0 what is
no car, 1 to 127 the cars of a picture, 128 to 254 its vans, 255 vehicles of which too little shows
to be counted. `diffrender.instances.street.train` reads any such folder, whatever made it.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffrender._commands import run_module
from diffrender.datasets.depth_frames import STREETS, FrameJob, add_streets, frame_files, frames_of
from diffrender.datasets.numbered_files import write_numbered
from diffrender.datasets.synthetic_owners import owner_map

__all__ = ["write_instance_frames"]

_SIZE, _SEED = (375, 1242), 9101


def write_instance_frames(job: FrameJob, workers: int = 1) -> list[Path]:
    """Render the frames that the folder does not hold yet, in `workers` processes.

    Raises:
        InputError: fewer than one frame or worker.
    """
    return write_numbered(_write_file, job, frame_files(job), workers)


def _write_file(job: FrameJob, number: int, path: Path) -> None:
    import torch

    torch.set_num_threads(1)  # the workers are the parallelism
    some = frames_of(job, number)
    np.savez(
        path,
        image=np.stack([f.image for f in some]),
        owner=np.stack([owner_map(f) for f in some]),
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Render synthetic streets with exact masks.")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--count", type=int, default=800, help="frames")
    parser.add_argument("--size", type=int, nargs=2, default=_SIZE, metavar=("H", "W"))
    parser.add_argument("--seed", type=int, default=_SEED, help="of the streets")
    add_streets(parser, "training")
    parser.add_argument("--workers", type=int, default=2, help="processes")
    given = parser.parse_args(arguments)
    height, width = given.size
    job = FrameJob(given.out, given.count, (height, width), given.seed, STREETS[given.streets])
    paths = write_instance_frames(job, given.workers)
    print(f"{len(paths)} files in {given.out}")


if __name__ == "__main__":
    run_module(main)
