"""`diffrender depth`: run a depth network on one image."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import typer

from diffrender._files import readable, writable_folder
from diffrender.errors import InputError
from diffrender.tools.console import guarded, out, plain_table, warn
from diffrender.tools.given import keep_inputs, path_of, refuse_empty
from diffrender.tools.inputs import CAMERA_HEIGHT, DEFAULT_NETWORK, create_network

__all__ = ["depth"]

_PNG_END = 255.0  # metres, which 16 bits of 1/256 m hold
_NO_SCALE = (
    "a PNG holds metres, and this network gives {} values: name an .npy file, or give --calib FILE "
    "for the scale"
)


@guarded
def depth(
    image: Annotated[
        Path | None, typer.Argument(parser=path_of("IMAGE"), help="The image.")
    ] = None,
    out_file: Annotated[
        Path | None,
        typer.Option(
            "--out",
            metavar="FILE",
            parser=path_of("--out"),
            help=".png (16 bit, metres x 256) or .npy (float32).",
        ),
    ] = None,
    model: Annotated[str, typer.Option(help="See --list.")] = DEFAULT_NETWORK,
    weights: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="Weights of the network; for hub a model's name."),
    ] = None,
    calib: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            parser=path_of("--calib"),
            help="Calibration; gives the scale that a network without one lacks.",
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    allow_non_commercial: Annotated[
        bool, typer.Option("--allow-non-commercial", help="Run weights of the hub so licensed.")
    ] = False,
    list_models: Annotated[
        bool, typer.Option("--list", help="List the networks with their licences, and leave.")
    ] = False,
) -> None:
    """Predict a depth map: metres, or what the network gives where its scale is unknown."""
    refuse_empty({"--model": model, "--weights": weights, "--device": device})
    if list_models:
        _print_cards()
        return
    if image is None or out_file is None:
        raise InputError("expected IMAGE and --out FILE (or --list)")
    if out_file.suffix.lower() not in (".png", ".npy"):
        raise InputError(f"--out {out_file}: expected a name that ends in .png or .npy")
    keep_inputs([out_file], [image, calib, weights])
    writable_folder(out_file.parent)  # before the network, which takes longer
    if calib is None and out_file.suffix.lower() == ".png":
        _refuse_what_has_no_scale(model)
    values, kind = _predict(image, model, weights, calib, device, allow_non_commercial)
    if kind == "metric":
        most = _PNG_END if out_file.suffix.lower() == ".png" else np.inf
        known = values[(values > 0) & (values < most)]
        said = f"metres, {known.min():.1f} to {known.max():.1f}" if known.size else "all unknown"
    else:
        said = f"{kind}, scale unknown; --calib FILE gives metres"
    _write(out_file, values, kind)
    size = f"{values.shape[1]} x {values.shape[0]}"
    out().print(f"wrote {readable(str(out_file))}: {size}, {said}", markup=False, soft_wrap=True)


def _refuse_what_has_no_scale(model: str) -> None:
    """Before the network has run; what hub and onnx give is known only then."""
    from diffrender.depth import depth_card

    card = depth_card(model)
    kind = card.kind if card.needs == "image" else "relative_depth"
    if kind in ("relative_depth", "affine_inverse"):
        raise InputError(_NO_SCALE.format(kind))


def _predict(
    image_path: Path,
    model: str,
    weights: str | None,
    calib: Path | None,
    device: str,
    allow_non_commercial: bool,
) -> tuple[np.ndarray, str]:
    """Values (H, W) float32 and their kind, "metric" where a calibration gave the scale."""
    from diffrender.datasets import load_camera_file
    from diffrender.depth import align_to_scene
    from diffrender.instances.reading import read_image

    image = read_image(image_path)
    size = (image.shape[0], image.shape[1])
    camera_file = None if calib is None else load_camera_file(calib)
    camera = None if camera_file is None else camera_file.camera(size)
    network = create_network(model, weights, device, allow_non_commercial)
    focal = None if camera is None else float(camera.intrinsics[0, 0])
    told = None if camera_file is None else camera_file.camera_height
    prediction = network.predict(image, focal, told)
    if camera is None or camera_file is None or prediction.kind == "metric":
        return prediction.values, prediction.kind
    height = told or CAMERA_HEIGHT
    return align_to_scene(prediction, camera, camera_height=height).depth, "metric"


def _write(path: Path, values: np.ndarray, kind: str) -> None:  # (H, W)
    from diffrender._files import atomic_path
    from diffrender.depth import write_depth_png

    if path.suffix.lower() == ".npy":
        with atomic_path(path) as temporary:
            np.save(temporary, values, allow_pickle=False)
        return
    if kind != "metric":
        raise InputError(_NO_SCALE.format(kind))
    path.parent.mkdir(parents=True, exist_ok=True)
    near = values < _PNG_END
    if not near.any():
        raise InputError(
            f"all depths are beyond {_PNG_END:g} m, where 16 bits of a PNG end: name a .npy file"
        )
    write_depth_png(path, np.where(near, values, 0))
    if not near.all():
        warn(
            f"{int((~near).sum())} pixels beyond {_PNG_END:g} m are unknown in the PNG; .npy keeps "
            "them"
        )


def _print_cards() -> None:
    from diffrender.depth import depth_card, list_depth

    table = plain_table("name", "output", "what", "licence of the weights", "needs")
    for name in list_depth():
        card = depth_card(name)
        table.add_row(name, card.kind, card.summary, card.weights_licence, card.extra)
    out().print(table)
