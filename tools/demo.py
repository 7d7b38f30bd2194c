"""`diffrender demo`: the main job on the shipped sample, compared with its truth."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import typer

from diffrender._files import readable, writable_folder
from diffrender.tools.console import guarded, out, plain_table
from diffrender.tools.given import path_of, refuse_empty
from diffrender.tools.inputs import DepthChoice, from_files
from diffrender.tools.reconstruct_frame import Fit, run
from diffrender.tools.reconstruct_settings import settings_for
from diffrender.tools.scene_table import print_scene, print_written

if TYPE_CHECKING:
    from diffrender.datasets import KittiLabel
    from diffrender.evaluate import PoseError
    from diffrender.reconstruct import Scene

__all__ = ["compare", "demo"]


@guarded
def demo(
    out_dir: Annotated[
        Path,
        typer.Option(
            "--out", metavar="DIR", parser=path_of("--out"), help="Folder for the results."
        ),
    ] = Path("demo_out"),
    depth: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="As of reconstruct; left out, the sample's noisy map."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Reconstruct the shipped synthetic street, compare it with its truth, and name the files.

    The truth is read after the reconstruction, for the table only.
    """
    from diffrender.datasets import load_labels, sample_folder

    refuse_empty({"--depth": depth, "--device": device})
    sample = sample_folder()
    writable_folder(out_dir)
    choice = DepthChoice(depth or str(sample / "depth.png"), device=device)
    inputs = from_files(sample / "image.jpg", sample / "calib.txt", sample / "masks.png", choice)
    inputs = dataclasses.replace(inputs, name="sample")
    scene = run(inputs, Fit("car", settings_for("render", None, None)), device=device)
    files = scene.save(out_dir)
    print_scene(scene)
    _print_comparison(compare(scene, load_labels(sample / "label.txt")))
    out().print(f"{scene.timings['total']:.1f} s", markup=False)
    print_written([Path(readable(str(path))) for path in files])


def compare(scene: Scene, truth: list[KittiLabel]) -> list[tuple[str, PoseError | None]]:
    """Error of every true car whose id is in the masks; None where it was not reconstructed.

    Ids of the masks are rows of the truth: object_3 is row 3.
    """
    from diffrender.evaluate import pose_error

    found = {item.name: item for item in scene.objects}
    asked = set(found) | {item.name for item in scene.rejected}
    errors: list[tuple[str, PoseError | None]] = []
    for row, label in enumerate(truth, start=1):
        name = f"object_{row}"
        if name in asked:
            true_size = (label.length, label.width, label.height)
            true_box = np.array([*label.location, *true_size, label.rotation_y])
            item = found.get(name)
            box = None if item is None else np.array([*item.pose.location, *item.size, item.yaw])
            errors.append((name, None if box is None else pose_error(box, true_box)))
    return errors


def _print_comparison(errors: list[tuple[str, PoseError | None]]) -> None:
    table = plain_table("against the truth", "3D IoU", "centre, % of depth", "yaw, degrees")
    for name, error in errors:
        if error is None:
            table.add_row(name, "not found", "", "")
        else:
            cells = (f"{error.iou:.2f}", f"{100 * error.centre:.1f}", f"{error.yaw:.1f}")
            table.add_row(name, *cells)
    out().print(table)
