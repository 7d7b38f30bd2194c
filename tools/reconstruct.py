"""`diffrender reconstruct`: one image, or a data set, to scenes of posed textured meshes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from diffrender._files import readable, writable_folder
from diffrender.errors import InputError
from diffrender.tools.console import guarded, print_json
from diffrender.tools.given import keep_inputs, path_of, refuse_empty
from diffrender.tools.inputs import DEFAULT_NETWORK, Align, DepthChoice, MaskChoice, kitti_folders
from diffrender.tools.reconstruct_dataset import whole_set
from diffrender.tools.reconstruct_frame import Fit, frame_scene, image_scene
from diffrender.tools.reconstruct_frame import run as run
from diffrender.tools.reconstruct_settings import kitti_traffic, settings_for, start_for
from diffrender.tools.scene_table import print_scene, print_written

if TYPE_CHECKING:
    from diffrender.reconstruct import Scene

__all__ = ["reconstruct", "run"]

_DEPTH_HELP = (
    "A network's name (rt-monodepth, pydnet, onnx, hub, dpt-timm), a depth map (.png, .npy, "
    ".pfm) or a folder of them, lidar (with --kitti) or none. Left out: the shipped network."
)


@guarded
def reconstruct(
    image: Annotated[
        Path | None, typer.Argument(parser=path_of("IMAGE"), help="The image, unless --kitti.")
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(
            parser=path_of("--calib"),
            help="Calibration: KITTI text (its P2) or JSON with intrinsics.",
        ),
    ] = None,
    fov: Annotated[
        float | None,
        typer.Option(
            metavar="DEGREES",
            help="Horizontal field of view, without --calib. Neither: the lens that the file "
            "names, else KITTI's 81.4.",
        ),
    ] = None,
    camera_height: Annotated[
        float | None,
        typer.Option(metavar="METRES", help="Of IMAGE's camera above the road; left out: 1.65."),
    ] = None,
    masks: Annotated[
        str | None,
        typer.Option(
            metavar="FILE_OR_DIR",
            help="Instances: PNG of ids, COCO JSON, boxes as JSON or KITTI rows, or a folder of "
            "such files. With --kitti also a folder's name; left out, instance_2 or label_2.",
        ),
    ] = None,
    segmenter: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Masks by street, onnx, torchvision or hub; from boxes (--masks) by grabcut or "
            "hub. With neither --masks nor this, street looks for cars in IMAGE.",
        ),
    ] = None,
    segmenter_weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Its weights; for hub a model's name or folder."),
    ] = None,
    sharpen: Annotated[
        float | None,
        typer.Option(
            metavar="PIXELS",
            help="How far the masks' outlines are off: cars and vans are drawn anew by a network.",
        ),
    ] = None,
    kitti: Annotated[
        Path | None,
        typer.Option(
            metavar="ROOT", parser=path_of("--kitti"), help="A folder in the KITTI object layout."
        ),
    ] = None,
    frame: Annotated[str | None, typer.Option(help="Frame of --kitti, such as 000003.")] = None,
    split: Annotated[
        str | None,
        typer.Option(
            metavar="LIST",
            help="All frames of a list file, a list's name such as val, or a folder such as "
            "training. With --frame: the folder.",
        ),
    ] = None,
    workers: Annotated[int, typer.Option(help="Processes for --split, on this machine.")] = 1,
    ray: Annotated[
        str | None,
        typer.Option(metavar="ADDRESS", help="Ray cluster for --split: auto, HOST:PORT, local."),
    ] = None,
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
        Literal["both", "box", "predictor"] | None,
        typer.Option(
            help="First hypotheses: box fits, a network's in a fifth of the steps, or (where "
            "nothing is said) both."
        ),
    ] = None,
    predictor: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--predictor"),
            help="Weights of that network; else the shipped ones.",
        ),
    ] = None,
    hypotheses: Annotated[
        int | None, typer.Option(help="Yaws that an object starts from: its box fit's.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option(help="Gradient steps in all, shared by the stages.")
    ] = None,
    silhouette: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Draw the silhouette term by a technique of `diffrender catalogue list`.",
        ),
    ] = None,
    traffic: Annotated[
        Literal["right", "left", "none"] | None,
        typer.Option(
            help="Side of the road on which one drives there, to tell front from rear where the "
            "picture does not; right with --kitti, else none."
        ),
    ] = None,
    heading: Annotated[
        bool, typer.Option(help="Let a network look which end of a car is its front.")
    ] = True,
    seed: Annotated[int, typer.Option(help="Kept with the results; the search draws nothing.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    out: Annotated[
        Path,
        typer.Option(metavar="DIR", parser=path_of("--out"), help="Folder for the results."),
    ] = Path("out"),
    as_json: Annotated[
        bool, typer.Option("--json", help="Print result.json instead of tables.")
    ] = False,
) -> None:
    """One image with masks and depth to a scene of posed, textured meshes in metres.

    With --kitti ROOT --split LIST every frame of the list: rows in --out/data and in results.zip,
    evaluated where there are labels. Run again, it goes on where it was stopped.

    Instances that cannot be used are listed with their reasons. Without any usable one the scene
    is written all the same, empty, with a warning; the exit code stays 0. A bad or missing input
    gives one line and exit code 2.
    """
    refuse_empty(
        {"--masks": masks, "--segmenter": segmenter, "--segmenter-weights": segmenter_weights,
         "--frame": frame, "--split": split, "--ray": ray, "--depth": depth,
         "--depth-weights": depth_weights, "--prior": prior, "--silhouette": silhouette,
         "--device": device}
    )  # fmt: skip
    start = start_for(init, predictor, method, (hypotheses, iterations))
    if traffic in ("right", "left") and method == "box":
        raise InputError(
            f"--traffic {traffic} goes with --method render: boxes alone have no front"
        )
    if image is not None and masks is None and segmenter is None:
        segmenter = "street"
    side = traffic or ("none" if kitti is None else kitti_traffic())
    settings = settings_for(method, hypotheses, iterations, silhouette, side, heading)
    fit = Fit(prior, settings, seed, start)
    choices = (
        DepthChoice(
            depth, depth_weights, depth_units_per_metre, align, device, allow_non_commercial
        ),
        MaskChoice(masks, segmenter, segmenter_weights, device, allow_non_commercial, sharpen),
    )
    of_image = (image, calib, fov, camera_height)
    if kitti is not None and any(given is not None for given in of_image):
        raise InputError(
            "give either IMAGE, with --calib, --fov, --camera-height and --masks, or --kitti with "
            "--frame"
        )
    if kitti is not None and frame is None and split is None:
        raise InputError(
            "--kitti needs --frame NAME, such as --frame 000003, or --split LIST for many frames"
        )
    inputs = [image, calib, masks, depth, depth_weights, segmenter_weights]
    if kitti is not None and frame is not None:
        inputs += kitti_folders(kitti / (split or "training"), masks, depth)
    keep_inputs(_written(out, frame or (image.stem if image else "")), inputs)
    writable_folder(out)  # one that is not is refused at once, not after all has been computed
    if kitti is not None and frame is None and split is not None:
        whole_set((kitti, split), choices, fit, out, (workers, ray), as_json)
        return
    if ray is not None or workers != 1:
        raise InputError("--workers and --ray go with --kitti ROOT --split LIST")
    scene = _one_scene(image, (calib, fov, camera_height), (kitti, frame, split), choices, fit)
    files = scene.save(out)
    if as_json:
        print_json(json.loads((out / "result.json").read_text(encoding="utf-8")))
    else:
        print_scene(scene)
        print_written([Path(readable(str(path))) for path in files])


def _written(out: Path, name: str) -> list[Path]:
    """Files of a scene of that name; of its objects', whose names come later, what is there."""
    from diffrender.reconstruct.export import file_names

    rows = f"{file_names([readable(name) or 'scene'])[0]}.txt"
    fixed = ("scene.glb", "result.json", "overlay.png", "bev.png", "report.html", rows)
    return [*(out / file for file in fixed), *(out / "objects").glob("*")]


def _one_scene(
    image: Path | None,
    camera: tuple[Path | None, float | None, float | None],
    kitti: tuple[Path | None, str | None, str | None],
    choices: tuple[DepthChoice, MaskChoice],
    fit: Fit,
) -> Scene:
    root, frame, split = kitti
    if root is not None and frame is not None:
        return frame_scene(root, frame, split or "training", choices, fit)
    if image is None:
        raise InputError("expected IMAGE, or --kitti ROOT with --frame")
    if frame is not None or split is not None:
        raise InputError(f"{'--frame' if frame is not None else '--split'} goes with --kitti ROOT")
    return image_scene(image, camera, choices, fit)
