"""`diffrender reconstruct`: one image in, a scene of posed textured meshes out."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffrender.errors import InputError
from diffrender.tools.console import guarded, note, print_json, warn
from diffrender.tools.inputs import (
    DEFAULT_NETWORK,
    Align,
    DepthChoice,
    Inputs,
    from_files,
    from_kitti,
)
from diffrender.tools.scene_table import print_scene, print_written

if TYPE_CHECKING:
    from diffrender.reconstruct import ReconstructSettings, Scene, Starter

__all__ = ["reconstruct", "run", "settings_for"]

_DEPTH_HELP = (
    "A network's name (rt-monodepth, pydnet, onnx, hub, dpt-timm), a depth map (.png, .npy, "
    ".pfm), lidar (with --kitti) or none. Left out: the shipped network."
)


@guarded
def reconstruct(
    image: Annotated[Path | None, typer.Argument(help="The image, unless --kitti.")] = None,
    calib: Annotated[
        Path | None, typer.Option(help="Calibration: KITTI text (its P2) or JSON with intrinsics.")
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="Instances: PNG of ids, COCO JSON, boxes as JSON or KITTI rows, or a folder of "
            "such files. With --kitti also a folder's name; left out, instance_2 or label_2.",
        ),
    ] = None,
    kitti: Annotated[
        Path | None, typer.Option(metavar="ROOT", help="A folder in the KITTI object layout.")
    ] = None,
    frame: Annotated[str | None, typer.Option(help="Frame of --kitti, such as 000003.")] = None,
    split: Annotated[str, typer.Option(help="Split of --kitti.")] = "training",
    depth: Annotated[str, typer.Option(metavar="SOURCE", help=_DEPTH_HELP)] = DEFAULT_NETWORK,
    depth_weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights of the network; for hub a model's name."),
    ] = None,
    depth_units_per_metre: Annotated[
        float | None,
        typer.Option(help="Stored value of one metre in a depth map. Left out: 256 for PNG."),
    ] = None,
    align: Annotated[
        Align | None,
        typer.Option(help="Fit the network's scale to the scene (road, sizes) or to lidar."),
    ] = None,
    allow_non_commercial: Annotated[
        bool, typer.Option("--allow-non-commercial", help="Run weights of the hub so licensed.")
    ] = False,
    prior: Annotated[
        str,
        typer.Option(
            metavar="NAME_OR_FILE",
            help="Shape prior of cars and vans: car, car-autoencoder, or a file. by-class: one "
            "for every class (car, pedestrian, cyclist, free).",
        ),
    ] = "by-class",
    method: Annotated[
        Literal["render", "box"], typer.Option(help="Optimize by rendering, or boxes alone.")
    ] = "render",
    init: Annotated[
        Literal["box", "predictor"],
        typer.Option(help="First hypotheses: box fits, or a network's in a fifth of the steps."),
    ] = "box",
    predictor: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Weights of --init predictor; else the shipped ones."),
    ] = None,
    hypotheses: Annotated[
        int | None, typer.Option(help="Yaws that each object starts from.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Gradient steps in all, shared by the stages.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of every random draw.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for the results.")] = Path("out"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print result.json instead of tables.")
    ] = False,
) -> None:
    """One image with masks and depth to a scene of posed, textured meshes in metres.

    Instances that cannot be used are listed with their reasons. Without any usable one the scene
    is written all the same, empty, with a warning; the exit code stays 0. A bad or missing input
    gives one line and exit code 2.
    """
    settings = settings_for(method, hypotheses, iterations)
    start = _starter(init, predictor, method, (hypotheses, iterations), device)
    choice = DepthChoice(
        depth, depth_weights, depth_units_per_metre, align, device, allow_non_commercial
    )
    out.mkdir(parents=True, exist_ok=True)  # a folder that cannot be made is refused at once
    inputs = _inputs(image, calib, masks, (kitti, frame, split), choice)
    scene = run(inputs, prior, settings, device=device, seed=seed, start=start)
    files = scene.save(out)
    if as_json:
        print_json(json.loads((out / "result.json").read_text(encoding="utf-8")))
    else:
        print_scene(scene)
        print_written(files)


def settings_for(
    method: Literal["render", "box"], hypotheses: int | None, iterations: int | None
) -> ReconstructSettings:
    """The default settings with what the command line changes.

    Raises:
        InputError: fewer iterations than stages, or fewer than one hypothesis.
    """
    from diffrender.reconstruct import ReconstructSettings

    settings = ReconstructSettings(method=method)
    if hypotheses is not None:
        settings = dataclasses.replace(settings, hypotheses=hypotheses)
    if iterations is not None:
        count = len(settings.stages)
        if iterations < count:
            raise InputError(
                f"--iterations is {iterations}, expected at least {count}, one for each stage"
            )
        shares = [iterations // count + (i < iterations % count) for i in range(count)]
        stages = tuple(
            dataclasses.replace(stage, iterations=share)
            for stage, share in zip(settings.stages, shares, strict=True)
        )
        settings = dataclasses.replace(settings, stages=stages)
    return settings


def _starter(
    init: str,
    weights: Path | None,
    method: str,
    counts: tuple[int | None, int | None],  # hypotheses and iterations that were asked for
    device: str,
) -> Starter | None:
    if init == "box":
        if weights is not None:
            raise InputError("--predictor goes with --init predictor")
        return None
    if method == "box":
        raise InputError("--init predictor goes with --method render: boxes alone start nothing")
    from diffrender.depth.model import pick_device
    from diffrender.predict import load_start

    hypotheses, iterations = counts
    count = 4 if hypotheses is None else hypotheses
    start = load_start(weights, count, short=iterations is None)
    start.net.to(pick_device(device))
    return start


def run(
    inputs: Inputs,
    prior: str,
    settings: ReconstructSettings,
    *,
    device: str,
    seed: int,
    start: Starter | None = None,
) -> Scene:
    """Reconstruct with a progress bar on standard error, and warn of what was refused."""
    from diffrender.depth.model import pick_device
    from diffrender.reconstruct import Run, iteration_limit
    from diffrender.reconstruct import reconstruct as reconstruct_scene
    from diffrender.reconstruct.classes import named_prior

    pick_device(device)  # an unusable one is refused before anything is computed
    settings = dataclasses.replace(settings, camera_height=inputs.camera_height)
    steps = iteration_limit(settings, inputs.camera)
    with _progress(steps) as progress:
        scene = reconstruct_scene(
            inputs.image,
            inputs.camera,
            inputs.instances,
            inputs.depth,
            named_prior(prior),
            settings,
            Run(
                name=inputs.name,
                depth_source=inputs.depth_source,
                device=device,
                seed=seed,
                rejected=tuple(inputs.rejected),
                progress=progress,
                start=start,
            ),
        )
    if not scene.objects:
        warn(f"nothing could be reconstructed: {len(scene.rejected)} instances, none usable")
    return scene


def _inputs(
    image: Path | None,
    calib: Path | None,
    masks: str | None,
    kitti: tuple[Path | None, str | None, str],
    choice: DepthChoice,
) -> Inputs:
    root, frame, split = kitti
    if root is not None:
        if image is not None or calib is not None:
            raise InputError("give either IMAGE with --calib and --masks, or --kitti with --frame")
        if frame is None:
            raise InputError("--kitti needs --frame NAME, such as --frame 000003")
        return from_kitti(root, frame, split, masks, choice)
    if image is None:
        raise InputError("expected IMAGE with --calib and --masks, or --kitti ROOT with --frame")
    if frame is not None:
        raise InputError("--frame goes with --kitti ROOT")
    if calib is None or masks is None:
        missing = " and ".join(
            name for name, value in (("--calib", calib), ("--masks", masks)) if value is None
        )
        raise InputError(f"IMAGE needs {missing}: without calibration and masks nothing is metric")
    return from_files(image, calib, Path(masks), choice)


@contextmanager
def _progress(steps: int) -> Iterator[Callable[[int, dict[str, float]], None] | None]:
    """A bar with the loss terms on standard error; nothing where that is not a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

    console = note()
    if not console.is_terminal or steps == 0:
        yield None
        return
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("", total=steps)

        def report(done: int, terms: dict[str, float]) -> None:
            text = "  ".join(f"{name} {value:.3g}" for name, value in terms.items())
            # Objects of several priors are fitted in turn, each through all steps.
            total = -(-done // steps) * steps
            bar.update(task, completed=done, total=total, description=text)

        yield report
