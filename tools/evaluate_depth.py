"""`diffrender evaluate depth`: depth maps against lidar or KITTI's depth PNGs."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer

from diffrender._files import readable, write_text_atomic
from diffrender.errors import InputError
from diffrender.tools.console import guarded, out, plain_table, warn
from diffrender.tools.given import check_places, keep_inputs, path_of

if TYPE_CHECKING:
    from diffrender.evaluate import DepthMetrics, DepthSummary
    from diffrender.evaluate.depth_metrics import Crop

__all__ = ["depth"]

_PRED = (".png", ".npy", ".pfm")
_TRUTH = (".png", ".bin", ".npy")
_IMAGE = (".png", ".jpg", ".jpeg")
_KITTI_UNITS = 256.0
_CROPS: dict[str, Crop | None] = {"garg": "garg", "eigen": "eigen", "none": None}


@dataclass(frozen=True)
class _Truth:
    """Where the truth comes from: depth maps, or velodyne scans with calibration and images."""

    files: dict[str, Path]
    calib: Path
    images: Path


@guarded
def depth(
    pred: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=path_of("--pred"),
            help="Depth maps NAME.png (16 bit), .npy or .pfm.",
        ),
    ],
    truth: Annotated[
        Path,
        typer.Option(
            metavar="DIR",
            parser=path_of("--truth"),
            help="KITTI depth NAME.png, or velodyne NAME.bin.",
        ),
    ],
    split: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--split"),
            help="Frames to evaluate, one a line; else all predicted.",
        ),
    ] = None,
    crop: Annotated[str, typer.Option(help="garg, eigen or none.")] = "garg",
    cap: Annotated[float, typer.Option(help="Metres; truth at or beyond is left out.")] = 80.0,
    median_scaling: Annotated[
        bool, typer.Option("--median-scaling", help="Scale each map to the truth's median.")
    ] = False,
    resize: Annotated[
        bool, typer.Option("--resize", help="Bring predictions to the truth's size.")
    ] = False,
    units: Annotated[
        float, typer.Option(help="Value of one metre in a PNG that was predicted.")
    ] = _KITTI_UNITS,
    calib: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", parser=path_of("--calib"), help="For velodyne; else ../calib beside it."
        ),
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="A missing file is an error, not a warning.")
    ] = False,
    json_file: Annotated[
        Path | None,
        typer.Option(
            "--json", metavar="FILE", parser=path_of("--json"), help="Write every frame as JSON."
        ),
    ] = None,
) -> None:
    """Errors of depth maps: abs-rel, sq-rel, RMSE, RMSE-log, δ; the mean over frames."""
    from diffrender.depth import read_depth
    from diffrender.evaluate import depth_metrics, summarise_depth
    from diffrender.evaluate.depth_set import resize_inverse

    if crop not in _CROPS:
        raise InputError(f"--crop is {crop!r}, expected garg, eigen or none")
    if not math.isfinite(cap):
        raise InputError(
            f"--cap is {cap:g}, expected finite metres; a large number such as 1e6 leaves no truth "
            "out"
        )
    keep_inputs([json_file], [pred, truth, calib, split])
    check_places({"--json": json_file})
    source = _Truth(
        _named(truth, _TRUTH), calib or truth.parent / "calib", truth.parent / "image_2"
    )
    predicted = _named(pred, _PRED)
    names = _choose(predicted, source.files, split, strict)
    frames: dict[str, DepthMetrics] = {}
    resized: set[tuple[int, ...]] = set()
    for name in names:
        path = predicted[name]
        values = read_depth(path, units if path.suffix == ".png" else None)
        wanted = _truth(source, name)
        if values.shape != wanted.shape:
            if not resize:
                raise InputError(
                    f"{path} has {values.shape} (height, width) and its truth {wanted.shape}; "
                    "--resize brings it to that size"
                )
            resized.add(values.shape)
            values = resize_inverse(values, (wanted.shape[0], wanted.shape[1]))
        try:
            frames[name] = depth_metrics(values, wanted, _CROPS[crop], cap, median_scaling)
        except InputError as error:
            raise InputError(f"frame {name}: {error}") from error
    summary = summarise_depth(list(frames.values()))
    _print(summary, source, sorted(resized))
    if json_file is not None:
        record = {"schema": 1, "benchmark": "depth", "summary": dataclasses.asdict(summary)}
        record["frames"] = {name: dataclasses.asdict(one) for name, one in frames.items()}
        write_text_atomic(json_file, json.dumps(record, indent=1, allow_nan=False) + "\n")
        out().print(f"wrote {readable(str(json_file))}", markup=False, soft_wrap=True)


def _named(folder: Path, suffixes: tuple[str, ...]) -> dict[str, Path]:
    """Files of a folder by name without suffix."""
    expected = f"NAME{' or NAME'.join(suffixes)}"
    if not folder.is_dir():
        raise InputError(f"{folder} is not a folder, expected files {expected}")
    found: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in suffixes:
            if path.stem in found:
                raise InputError(f"{folder} has both {found[path.stem].name} and {path.name}")
            found[path.stem] = path
    if not found:
        raise InputError(f"{folder} holds no file {expected}")
    return found


def _choose(
    predicted: dict[str, Path], truths: dict[str, Path], split: Path | None, strict: bool
) -> list[str]:
    from diffrender.evaluate import read_split

    wanted = list(predicted) if split is None else read_split(split)
    names = [name for name in wanted if name in predicted and name in truths]
    lost = [name for name in wanted if name not in names]
    if not names:
        raise InputError("no frame has both a prediction and a truth; are the names the same?")
    if lost:
        message = f"{len(lost)} frames lack a prediction or a truth, the first is {lost[0]}"
        if strict:
            raise InputError(message)
        warn(f"{message}; they are left out")
    return names


def _truth(source: _Truth, name: str) -> np.ndarray:
    """(H, W) metres; a scan is projected into the frame's image."""
    from diffrender.datasets import load_calibration
    from diffrender.datasets.kitti import load_velodyne, project_velodyne
    from diffrender.depth import read_depth
    from diffrender.instances.reading import read_image

    path = source.files[name]
    if path.suffix != ".bin":
        return read_depth(path, _KITTI_UNITS if path.suffix == ".png" else None)
    # The calibration is in pixels of the image: on a canvas of another size, such as that of a
    # small prediction, a scan would show another part of the street.
    images = [source.images / f"{name}{suffix}" for suffix in _IMAGE]
    image = next((one for one in images if one.is_file()), None)
    if image is None:
        raise InputError(
            f"frame {name} has no image {name}.png, .jpg or .jpeg in {source.images}: its size is "
            "needed to project the scan; put the image there"
        )
    height, width = read_image(image).shape[:2]
    calibration = load_calibration(source.calib / f"{name}.txt")
    return project_velodyne(load_velodyne(path), calibration, (height, width))


def _print(summary: DepthSummary, source: _Truth, resized: list[tuple[int, ...]]) -> None:
    console = out()
    kinds = {path.suffix for path in source.files.values()}
    what = "velodyne scans" if kinds == {".bin"} else "depth maps"
    scaling = "none"
    if summary.median_scaling:
        scaling = (
            f"by the median of each frame (factors {summary.factor_median:.3f} "
            f"± {100 * summary.factor_spread:.1f} %)"
        )
    facts: dict[str, Any] = {
        "frames": f"{summary.frames}, against {what}",
        "pixels": f"{summary.pixels} compared, {summary.missing} more without a prediction",
        "crop": summary.crop or "none",
        "cap": f"{summary.cap:g} m",
        "scaling": scaling,
    }
    if resized:
        facts["resized"] = "from " + ", ".join(f"{h} x {w}" for h, w in resized)
    for name, value in facts.items():
        console.print(f"{name:<8} {value}", markup=False)
    table = plain_table("abs rel", "sq rel", "RMSE m", "RMSE log", "δ < 1.25", "< 1.25²", "< 1.25³")
    table.add_row(*(f"{value:.4f}" for value in summary.mean.values()))
    console.print(table)
