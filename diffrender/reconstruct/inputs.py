"""From files to an image, a camera, instances and a depth map; networks are opened once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import (
    Box,
    HubSegmenterSettings,
    Instance,
    Rejected,
    Segmenter,
    create_segmenter,
    load_boxes,
    load_instances,
)
from diffrender.reconstruct.exif import written_fov
from diffrender.reconstruct.focal import FocalGuess, guess_focal
from diffrender.reconstruct.input_depth import DepthChoice, DepthSource, Load, View
from diffrender.road import CAMERA_HEIGHT as CAMERA_HEIGHT

if TYPE_CHECKING:
    from diffrender.datasets import KittiFrame

__all__ = ["CAMERA_HEIGHT", "Inputs", "MaskChoice", "Sources"]


@dataclass(frozen=True)
class MaskChoice:
    """Where instances come from.

    Attributes:
        source: a file or folder that `load_instances` reads; for KITTI also a folder's name
            beside image_2, and None takes instance_2, else the boxes of label_2. With a
            segmenter that is prompted by boxes: the boxes.
        segmenter: name that `create_segmenter` knows, or None: masks come from files.
        weights: of the segmenter.
        device: where the segmenter runs.
        allow_non_commercial: run weights from the hub whose licence forbids commercial use.
        outline: how far outlines are off, pixels, for cars and vans to be drawn anew with the
            picture (`sharpen_masks`); None takes them as they come.
    """

    source: str | None = None
    segmenter: str | None = None
    weights: str | None = None
    device: str = "cpu"
    allow_non_commercial: bool = False
    outline: float | None = None


@dataclass(frozen=True)
class Inputs:
    """Everything that a reconstruction takes; arrays cover the same image.

    `focal` says how the focal length was guessed; None where it is from a calibration.
    """

    name: str
    image: np.ndarray  # (H, W, 3)
    camera: Camera
    instances: list[Instance]
    rejected: list[Rejected]
    depth: np.ndarray | None  # (H, W)
    depth_source: str
    camera_height: float
    focal: FocalGuess | None = None


class Sources:
    """A choice of depth and of masks, with their networks, for one image after another.

    Raises:
        InputError: options that do not go together, weights that do not fit.
        MissingExtraError: a network needs an extra that is not installed.
    """

    def __init__(self, depth: DepthChoice, masks: MaskChoice) -> None:
        self.masks = masks
        self.segmenter = _open_segmenter(masks)
        self.sharpen = _open_sharpening(masks)
        self.depth = DepthSource(depth)

    def of_image(
        self,
        path: Path,
        calib: Path | None,
        fov: float | None = None,
        camera_height: float | None = None,
    ) -> Inputs:
        """Inputs of a single image.

        Args:
            calib: its calibration; None guesses the camera from `fov`.
            fov: horizontal field of view, degrees; None without `calib` takes what the file says of
                the lens, else KITTI's.
            camera_height: metres above the road; None takes the calibration's, else KITTI's.

        Raises:
            InputError: a file is missing, broken, or does not fit the image.
        """
        from diffrender.datasets import load_camera_file
        from diffrender.instances.reading import read_image

        if self.segmenter is None or self.segmenter.card.needs_boxes:
            _must_exist(self.masks.source, self.masks.segmenter)
        image = read_image(path)
        size = (image.shape[0], image.shape[1])
        focal = None
        if calib is not None:
            if fov is not None:
                raise InputError("give either --calib or --fov: the calibration says the field")
            camera_file = load_camera_file(calib)
            camera, height = camera_file.camera(size), camera_file.camera_height
            if height is not None and camera_height is not None:
                raise InputError(
                    f"{calib} says that the camera is {height:g} m above the road: leave out "
                    "--camera-height"
                )
        else:
            written = written_fov(path, size) if fov is None else None
            focal, height = guess_focal(fov, written), None
            camera = focal.camera(size)
        view = View(path.stem, image, camera, _height(camera_height, height))

        def load(hint: np.ndarray | None) -> tuple[list[Instance], list[Rejected]]:
            if self.segmenter is None:
                return load_instances(
                    str(self.masks.source), image, depth=hint, image_name=path.stem
                )
            boxes, refused = self._boxes(Path(self.masks.source or ""), size, path.stem)
            return _joined(self.segmenter.segment(image, boxes, depth=hint), refused)

        return self._resolve(view, self._sharp(view, load), focal)

    def of_kitti(self, frame: KittiFrame) -> Inputs:
        """Inputs of a frame of a KITTI folder.

        Raises:
            InputError: a file is missing, broken, or does not fit the image.
        """
        view = View(frame.name, frame.image, frame.camera, CAMERA_HEIGHT, frame)

        def load(hint: np.ndarray | None) -> tuple[list[Instance], list[Rejected]]:
            if self.segmenter is None:
                source = self.masks.source or default_masks(frame)
                return frame.load_frame_instances(source, depth=hint)
            source = self.masks.source or "label_2"
            inside = frame.folder / source
            where = inside if inside.exists() else Path(source)
            boxes, refused = self._boxes(where, frame.size, frame.name)
            return _joined(self.segmenter.segment(frame.image, boxes, depth=hint), refused)

        return self._resolve(view, self._sharp(view, load), None)

    def again(self, inputs: Inputs, camera: Camera) -> Inputs:
        """The same image and instances seen with another camera: the depth is made anew."""
        view = View(inputs.name, inputs.image, camera, inputs.camera_height)

        def load(_: np.ndarray | None) -> tuple[list[Instance], list[Rejected]]:
            return inputs.instances, inputs.rejected  # as sharp as they are to be

        return self._resolve(view, load, inputs.focal)

    def _sharp(self, view: View, load: Load) -> Load:
        def sharp(hint: np.ndarray | None) -> tuple[list[Instance], list[Rejected]]:
            instances, rejected = load(hint)
            return self.sharpen(view.image, instances), rejected

        return sharp

    def _resolve(self, view: View, load: Load, focal: FocalGuess | None) -> Inputs:
        found = self.depth.resolve(view, load)
        return Inputs(view.name, view.image, view.camera, *found, view.camera_height, focal)

    def _boxes(
        self, path: Path, size: tuple[int, int], name: str
    ) -> tuple[Sequence[Box] | None, list[Rejected]]:
        """Boxes for a segmenter that is prompted by them, None for one that finds its own."""
        if self.segmenter is None or not self.segmenter.card.needs_boxes:
            return None, []
        return load_boxes(path, size, name)


def default_masks(frame: KittiFrame) -> str:
    """The folder that instances are taken from where none was named."""
    for folder in ("instance_2", "label_2"):
        if (frame.folder / folder).is_dir():
            return folder
    raise InputError(
        f"{frame.folder} has neither instance_2 nor label_2; name masks or boxes with --masks, "
        "or a network that finds them with --segmenter, such as street, which is shipped"
    )


def _open_segmenter(choice: MaskChoice) -> Segmenter | None:
    if choice.segmenter is None:
        if choice.weights is not None:
            raise InputError("--segmenter-weights goes with --segmenter NAME")
        return None
    settings = None
    if choice.segmenter == "hub":
        settings = HubSegmenterSettings(allow_non_commercial=choice.allow_non_commercial)
    segmenter = create_segmenter(choice.segmenter, choice.weights, choice.device, settings=settings)
    if choice.source is not None and not segmenter.card.needs_boxes:
        raise InputError(
            f"--segmenter {choice.segmenter} finds the objects itself: leave out --masks"
        )
    return segmenter


def _open_sharpening(choice: MaskChoice) -> Callable[[np.ndarray, list[Instance]], list[Instance]]:
    """What is done to masks before anything looks at them."""
    outline = choice.outline
    if outline is None:
        return lambda image, instances: instances
    if not 0 < outline < np.inf:
        raise InputError(f"--sharpen is {outline:g}, expected how far outlines are off, pixels")
    if choice.segmenter == "street":
        raise InputError("--sharpen goes with other masks than street's: the same network looks")
    # timm is slow to import, and nothing else here needs it.
    from diffrender.instances.street import sharpen_masks, shipped_street

    net = shipped_street().to(choice.device)
    return lambda image, instances: sharpen_masks(net, image, instances, outline)


def _height(given: float | None, calibrated: float | None) -> float:
    """Of the camera above the road, metres."""
    if given is None:
        return calibrated or CAMERA_HEIGHT
    if not 0.1 <= given <= 20:
        raise InputError(f"--camera-height is {given:g}, expected metres above the road, 0.1 to 20")
    return given


def _joined(
    found: tuple[list[Instance], list[Rejected]], refused: list[Rejected]
) -> tuple[list[Instance], list[Rejected]]:
    return found[0], refused + found[1]


def _must_exist(source: str | None, segmenter: str | None) -> None:
    if source is None and segmenter is not None:
        raise InputError(
            f"--segmenter {segmenter} is prompted by boxes: name them with --masks (boxes as JSON "
            "or KITTI rows)"
        )
    if source is None or not Path(source).exists():
        raise InputError(
            f"--masks {source} does not exist, expected an instance PNG, COCO JSON, KITTI rows or "
            "boxes, or a folder"
        )
