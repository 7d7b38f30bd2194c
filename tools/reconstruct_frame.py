"""One image or frame of `diffrender reconstruct`, with its bar and the guess of its camera."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from diffrender.errors import InputError
from diffrender.tools.console import note, warn
from diffrender.tools.inputs import DepthChoice, Inputs, MaskChoice, Sources

if TYPE_CHECKING:
    from diffrender.reconstruct import (
        ClassPriors,
        ReconstructSettings,
        Scene,
        StartChoice,
        Starter,
    )
    from diffrender.shape_priors import ShapePrior

    Loaded: TypeAlias = tuple[ShapePrior | ClassPriors, Starter | None]

__all__ = ["Fit", "frame_scene", "image_scene", "run"]


@dataclass(frozen=True)
class Fit:
    """How objects are fitted.

    Attributes:
        prior: name or file of the shape prior, or "by-class".
        settings: of the reconstruction.
        seed: kept with the result.
        start: where the first hypotheses come from, None for box fits.
    """

    prior: str
    settings: ReconstructSettings
    seed: int = 0
    start: StartChoice | None = None


def image_scene(
    image: Path,
    camera: tuple[Path | None, float | None, float | None],
    choices: tuple[DepthChoice, MaskChoice],
    fit: Fit,
) -> Scene:
    """The scene of a single image; `camera` is its calibration or field of view, and its height."""
    depth, masks = choices
    sources = Sources(depth, masks)
    _say_licence(sources)
    inputs = sources.of_image(image, *camera)
    loaded = _load(fit, depth.device)
    scene = run(inputs, fit, device=depth.device, loaded=loaded)
    if inputs.focal is None:
        return scene
    return _with_focal(scene, inputs, sources, fit, loaded[0], depth.device)


def frame_scene(
    root: Path,
    frame: str,
    folder: str,
    choices: tuple[DepthChoice, MaskChoice],
    fit: Fit,
) -> Scene:
    """The scene of a frame of a KITTI folder."""
    from diffrender.datasets import KittiObject

    depth, masks = choices
    found = KittiObject(root, split=folder)[frame]
    sources = Sources(depth, masks)
    _say_licence(sources)
    return run(sources.of_kitti(found), fit, device=depth.device)


def _load(fit: Fit, device: str) -> Loaded:
    """The prior, and the network that starts the fits."""
    from diffrender._devices import pick_device
    from diffrender.reconstruct import named_prior

    pick_device(device)  # an unusable one is refused before anything is computed
    return named_prior(fit.prior), None if fit.start is None else fit.start.load(device)


def run(inputs: Inputs, fit: Fit, *, device: str, loaded: Loaded | None = None) -> Scene:
    """Reconstruct with a progress bar on standard error, and warn of what was refused."""
    from diffrender.reconstruct import Run, iteration_limit
    from diffrender.reconstruct import reconstruct as reconstruct_scene
    from diffrender.reconstruct.export import readable_names
    from diffrender.reconstruct.starting import followed

    prior, start = loaded or _load(fit, device)
    settings = dataclasses.replace(fit.settings, camera_height=inputs.camera_height)
    steps = iteration_limit(followed(settings, start), inputs.camera)
    with _progress(steps) as progress:
        scene = reconstruct_scene(
            inputs.image,
            inputs.camera,
            inputs.instances,
            inputs.depth,
            prior,
            settings,
            Run(
                name=inputs.name,
                depth_source=inputs.depth_source,
                device=device,
                seed=fit.seed,
                rejected=tuple(inputs.rejected),
                progress=progress,
                start=start,
            ),
        )
    if not scene.objects:
        warn(f"nothing could be reconstructed: {len(scene.rejected)} instances, none usable")
    return readable_names(scene)


def _say_licence(sources: Sources) -> None:
    if sources.segmenter is not None:
        card = sources.segmenter.card
        text = f"segmenter {card.name}; weights: {card.weights_licence}"
        note().print(text, markup=False)


def _with_focal(
    scene: Scene,
    inputs: Inputs,
    sources: Sources,
    fit: Fit,
    prior: ShapePrior | ClassPriors,
    device: str,
) -> Scene:
    """The scene with what its guessed focal length does to it, which is also said."""
    from diffrender.reconstruct import Run, SceneStart
    from diffrender.reconstruct import reconstruct as reconstruct_scene
    from diffrender.reconstruct.export import readable_names
    from diffrender.reconstruct.focal import focal_record, measure_sensitivity

    assert inputs.focal is not None
    settings = dataclasses.replace(fit.settings, camera_height=inputs.camera_height)
    start = SceneStart(scene, settings)  # the same descent again, not another search

    def solve(seen: Inputs) -> Scene:
        named = Run(seen.name, seen.depth_source, device, start=start)
        parts = seen.image, seen.camera, seen.instances, seen.depth
        return readable_names(reconstruct_scene(*parts, prior, settings, named))

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
            # Objects of several priors are fitted in turn, each through all steps.
            total = -(-done // steps) * steps
            bar.update(task, completed=done, total=total, description=text)

        yield report
