"""A street of one car made of rectangles as files that a user would have; how a command refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from click.testing import Result
from PIL import Image

HEIGHT, WIDTH = 120, 200
FOCAL = 140.0
CALIBRATION = f"P2: {FOCAL} 0 99.5 0 0 {FOCAL} 49.5 0 0 0 1 0\n"
# A car 14 m ahead seen from behind: 1.63 m wide, 1.53 m high, standing 1.65 m below the camera.
LEFT, TOP, RIGHT, BOTTOM = 92, 51, 108, 67
DEPTH = 14.0


def write_street(folder: Path) -> dict[str, str]:
    """Image, calibration, masks and depth; returns option -> path."""
    image = np.full((HEIGHT, WIDTH, 3), 150, dtype=np.uint8)
    image[50:] = 90
    image[TOP:BOTTOM, LEFT:RIGHT] = (160, 30, 30)
    ids = np.zeros((HEIGHT, WIDTH), dtype=np.uint16)
    ids[TOP:BOTTOM, LEFT:RIGHT] = 1
    depth = np.zeros((HEIGHT, WIDTH))
    depth[55:] = 1.65 * FOCAL / (np.arange(55, HEIGHT) + 0.5 - 50)[:, None]
    depth[TOP:BOTTOM, LEFT:RIGHT] = DEPTH
    Image.fromarray(image).save(folder / "street.png")
    Image.fromarray(ids).save(folder / "masks.png")
    Image.fromarray(np.rint(depth * 256).astype(np.uint16)).save(folder / "depth.png")
    (folder / "calib.txt").write_text(CALIBRATION)
    return {
        name: str(folder / name) for name in ("street.png", "masks.png", "depth.png", "calib.txt")
    }


def command_line(files: dict[str, str], *more: str) -> list[str]:
    """A quick `reconstruct` with the files of `write_street`."""
    return [
        "reconstruct", files["street.png"], "--calib", files["calib.txt"],
        "--masks", files["masks.png"], "--depth", files["depth.png"], "--method", "box", *more,
    ]  # fmt: skip


def refused(result: Result, message: str, *, notes: bool = False) -> None:
    """A command's error is one line that says what to mend; `notes` may stand above it."""
    assert result.exit_code == 2, result.output
    *above, line = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    assert message in line
    assert notes or not above
    assert result.stdout == ""
