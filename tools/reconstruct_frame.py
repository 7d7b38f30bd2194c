"""One image or frame of `diffrender reconstruct`, with its bar and the guess of its camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from diffrender.errors import InputError
from diffrender.tools.console import note, warn
from diffrender.tools.inputs import DepthChoice, Inputs, MaskChoice, Sources

if TYPE_CHECKING:
    from diffrender.reconstruct import ReconstructSettings, Scene

__all__ = ["frame_scene", "image_scene", "run"]


def image_scene(
    image: Path,
    camera: tuple[Path | None, float | None],
    choices: tuple[DepthChoice, MaskChoice],
    prior: str,
    settings: ReconstructSettings,
    *,
    seed: int,
) -> Scene:
    """The scene of a single image; `camera` is its calibration or field of view, or neither."""
    calib, fov = camera
    depth, masks = choices
    sources = Sources(depth, masks)
    _say_licence(sources)
    inputs = sources.of_image(image, calib, fov)
    scene = run(inputs, prior, settings, device=depth.device, seed=seed)
    if inputs.focal is None:
        return scene
    return _with_focal(scene, inputs, sources, prior, settings, depth.device)


def frame_scene(
    root: Path,
    frame: str,
    folder: str,
    choices: tuple[DepthChoice, MaskChoice],
    prior: str,
    settings: ReconstructSettings,
    *,
    seed: int,
) -> Scene:
    """The scene of a frame of a KITTI folder."""
    from diffrender.datasets import KittiObject

    depth, masks = choices
    found = KittiObject(root, split=folder)[frame]
    sources = Sources(depth, masks)
    _say_licence(sources)
    return run(sources.of_kitti(found), prior, settings, device=depth.device, seed=seed)


def run(
    inputs: Inputs, prior: str, settings: ReconstructSettings, *, device: str, seed: int
) -> Scene:
    """Reconstruct with a progress bar on standard error, and warn of what was refused."""
    from diffrender.depth.model import pick_device
    from diffrender.reconstruct import Run
    from diffrender.reconstruct import reconstruct as reconstruct_scene
    from diffrender.shape_priors import load_prior

    pick_device(device)  # an unusable one is refused before anything is computed
    settings = dataclasses.replace(settings, camera_height=inputs.camera_height)
    steps = sum(stage.iterations for stage in settings.stages) if settings.method != "box" else 0
    with _progress(steps) as progress:
        scene = reconstruct_scene(
            inputs.image,
            inputs.camera,
            inputs.instances,
            inputs.depth,
            load_prior(prior),
            settings,
            Run(
                name=inputs.name,
                depth_source=inputs.depth_source,
                device=device,
                seed=seed,
                rejected=tuple(inputs.rejected),
                progress=progress,
            ),
        )
    if not scene.objects:
        warn(f"nothing could be reconstructed: {len(scene.rejected)} instances, none usable")
    return scene


def _say_licence(sources: Sources) -> None:
    if sources.segmenter is not None:
        card = sources.segmenter.card
        text = f"segmenter {card.name}; weights: {card.weights_licence}"
        note().print(text, markup=False)


def _with_focal(
    scene: Scene,
    inputs: Inputs,
    sources: Sources,
    prior: str,
    settings: ReconstructSettings,
    device: str,
) -> Scene:
    """The scene with what its guessed focal length does to it, which is also said."""
    from diffrender.reconstruct import Run
    from diffrender.reconstruct import reconstruct as reconstruct_scene
    from diffrender.reconstruct.focal import focal_record, measure_sensitivity
    from diffrender.shape_priors import load_prior

    assert inputs.focal is not None
    loaded = load_prior(prior)

    settings = dataclasses.replace(settings, camera_height=inputs.camera_height)

    def solve(seen: Inputs) -> Scene:
        named = Run(name=seen.name, depth_source=seen.depth_source, device=device)
        parts = seen.image, seen.camera, seen.instances, seen.depth
        return reconstruct_scene(*parts, loaded, settings, named)

    try:
        exponents = measure_sensitivity(inputs, sources.again, solve)
    except InputError as error:  # the depth finds no scale with another focal length
        warn(f"what an error of the focal length does could not be measured: {error}")
        exponents = {}
    record = focal_record(inputs.focal, scene, exponents)
    note().print(record["statement"], markup=False)
    return dataclasses.replace(scene, calibration=record)


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
            bar.update(task, completed=done, description=text)

        yield report
