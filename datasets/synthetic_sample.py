"""The shipped sample: one synthetic street with noisy depth, for the demo and the tests.

Made by `python -m diffrender.datasets.synthetic_sample [FOLDER]`; everything in it is this
project's own.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from diffrender._commands import run_module
from diffrender.datasets.synthetic import (
    DEVELOPMENT_SEED,
    StreetSettings,
    SyntheticFrame,
    SyntheticStreets,
    add_depth_noise,
)
from diffrender.datasets.synthetic_export import (
    calibration_text,
    depth_png,
    instance_png,
    label_text,
    write_file,
)

__all__ = ["SAMPLE_DEPTH_NOISE", "sample_folder", "sample_frame", "write_sample"]

SAMPLE_INDEX = 2
SAMPLE_DEPTH_NOISE = {"correlated": 0.03, "correlation_pixels": 40.0, "independent": 0.05}
_LIMIT = 80.0  # metres: farther is left unknown in the depth map


def sample_folder() -> Path:
    """Folder of the shipped sample: image.jpg, calib.txt, masks.png, depth.png, label.txt."""
    return Path(__file__).resolve().parent / "sample"


def sample_frame() -> SyntheticFrame:
    """The frame that the sample shows, with its exact truth."""
    settings = StreetSettings(cars=(4, 6), distance=(6.0, 32.0), sunny=1.0, van_share=0.0)
    return SyntheticStreets(DEVELOPMENT_SEED, SAMPLE_INDEX + 1, settings=settings)[SAMPLE_INDEX]


def write_sample(folder: Path) -> list[Path]:
    """Write the sample's files into `folder`; returns their paths.

    The depth has 3 % of smooth noise (correlated over 40 pixels) and 5 % of independent noise,
    and is unknown beyond 80 m.
    """
    import cv2

    frame = sample_frame()
    draw = np.random.default_rng([DEVELOPMENT_SEED, SAMPLE_INDEX, 2])
    noise = SAMPLE_DEPTH_NOISE
    depth = add_depth_noise(frame.depth, noise["correlated"], draw, noise["correlation_pixels"])
    depth = add_depth_noise(depth, noise["independent"], draw)
    depth[frame.depth > _LIMIT] = 0
    quality = [cv2.IMWRITE_JPEG_QUALITY, 94]
    picture = cv2.imencode(".jpg", np.ascontiguousarray(frame.image[..., ::-1]), quality)[1]
    contents = {
        "image.jpg": picture.tobytes(),
        "calib.txt": calibration_text(frame.calibration).encode(),
        "masks.png": instance_png(frame),
        "depth.png": depth_png(depth),
        "label.txt": label_text(frame.labels).encode(),
    }
    for name, content in contents.items():
        write_file(folder / name, content)
    return [folder / name for name in contents]


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(
        prog="python -m diffrender.datasets.synthetic_sample",
        description="Write the street of `diffrender demo`: picture, calibration, masks, depth.",
    )
    parser.add_argument(
        "folder", type=Path, nargs="?", default=sample_folder(),
        help="where to; left out, the sample that is installed is made anew",
    )  # fmt: skip
    for path in write_sample(parser.parse_args(arguments).folder):
        print(path)


if __name__ == "__main__":
    run_module(main)
