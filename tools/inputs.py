"""From the words of the command line to an image, a camera, instances and a depth map."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance, Rejected, load_instances

if TYPE_CHECKING:
    from diffrender.datasets import KittiFrame
    from diffrender.depth import DepthModel, DepthPrediction

__all__ = [
    "CAMERA_HEIGHT",
    "DEFAULT_NETWORK",
    "Align",
    "DepthChoice",
    "Inputs",
    "create_network",
    "from_files",
    "from_kitti",
]

DEFAULT_NETWORK = "dpt-timm"
CAMERA_HEIGHT = 1.65  # of KITTI's camera above the road, metres
PNG_UNITS_PER_METRE = 256.0

Align = Literal["none", "scene", "lidar"]


@dataclass(frozen=True)
class DepthChoice:
    """Where depth comes from.

    Attributes:
        source: a network's name, "lidar", "none", or a file.
        weights: weights of the network; None takes the shipped ones where there are any.
        units_per_metre: stored value of one metre in a file; None is 256 for PNG and 1 for
            floating-point files.
        align: what a network's scale is fitted to. None: nothing for a metric network, the
            scene (road and object sizes) for any other.
        device: where the network runs.
        allow_non_commercial: run weights from the hub whose licence forbids commercial use.
    """

    source: str = DEFAULT_NETWORK
    weights: str | None = None
    units_per_metre: float | None = None
    align: Align | None = None
    device: str = "cpu"
    allow_non_commercial: bool = False


@dataclass(frozen=True)
class Inputs:
    """Everything that a reconstruction takes; arrays cover the same image."""

    name: str
    image: np.ndarray  # (H, W, 3)
    camera: Camera
    instances: list[Instance]
    rejected: list[Rejected]
    depth: np.ndarray | None  # (H, W)
    depth_source: str
    camera_height: float


def from_files(image_path: Path, calib: Path, masks: Path, choice: DepthChoice) -> Inputs:
    """Inputs from single files.

    Raises:
        InputError: a file is missing, broken, or does not fit the image.
    """
    from diffrender.datasets import load_camera_file
    from diffrender.instances.reading import read_image

    _must_exist(masks, "masks", "an instance PNG, COCO JSON, KITTI rows or boxes, or a folder")
    image = read_image(image_path)
    camera_file = load_camera_file(calib)
    camera = camera_file.camera((image.shape[0], image.shape[1]))
    height = camera_file.camera_height or CAMERA_HEIGHT

    def load(hint: np.ndarray | None) -> tuple[list[Instance], list[Rejected]]:
        return load_instances(masks, image, depth=hint, image_name=image_path.stem)

    found = _Loader(image, camera, height, load, None).resolve(choice)
    return Inputs(image_path.stem, image, camera, *found, height)


def from_kitti(
    root: Path, frame: str, split: str, masks: str | None, choice: DepthChoice
) -> Inputs:
    """Inputs from a frame of a KITTI folder.

    Without `masks`, instance_2 is taken where it is there, else the boxes of label_2.

    Raises:
        InputError: a file is missing, broken, or does not fit the image.
    """
    from diffrender.datasets import KittiObject

    found_frame = KittiObject(root, split=split)[frame]
    source = masks or _default_masks(found_frame)

    def load(hint: np.ndarray | None) -> tuple[list[Instance], list[Rejected]]:
        return found_frame.load_frame_instances(source, depth=hint)

    image, camera = found_frame.image, found_frame.camera
    found = _Loader(image, camera, CAMERA_HEIGHT, load, found_frame).resolve(choice)
    return Inputs(frame, image, camera, *found, CAMERA_HEIGHT)


def create_network(
    name: str, weights: str | None, device: str, allow_non_commercial: bool
) -> DepthModel:
    """A depth network as the command line names it.

    Raises:
        InputError, MissingExtraError: as `diffrender.depth.create_depth`.
    """
    from diffrender.depth import HubSettings, create_depth

    hub = HubSettings(allow_non_commercial=allow_non_commercial) if name == "hub" else None
    return create_depth(name, weights, device, settings=hub)


def _default_masks(frame: KittiFrame) -> str:
    for folder in ("instance_2", "label_2"):
        if (frame.folder / folder).is_dir():
            return folder
    raise InputError(
        f"{frame.folder} has neither instance_2 nor label_2; name masks or boxes with --masks"
    )


def _must_exist(path: Path, option: str, expected: str) -> None:
    if not path.exists():
        raise InputError(f"--{option} {path} does not exist, expected {expected}")


class _Loader:
    """Depth and instances of one image; each may help to make the other."""

    def __init__(
        self,
        image: np.ndarray,  # (H, W, 3)
        camera: Camera,
        camera_height: float,
        load: Callable[[np.ndarray | None], tuple[list[Instance], list[Rejected]]],
        frame: KittiFrame | None,
    ) -> None:
        self.image = image
        self.camera = camera
        self.camera_height = camera_height
        self.load = load
        self.frame = frame

    def resolve(
        self, choice: DepthChoice
    ) -> tuple[list[Instance], list[Rejected], np.ndarray | None, str]:
        """Instances, refused instances, depth in metres, and the name of its source."""
        from diffrender.depth import list_depth

        if choice.source in list_depth():
            return (*self._network(choice), choice.source)
        depth, name = self._measured(choice)
        return (*self.load(depth), depth, name)

    def _measured(self, choice: DepthChoice) -> tuple[np.ndarray | None, str]:
        from diffrender.depth import list_depth, read_depth

        if choice.weights is not None:
            raise InputError(
                f"--depth-weights goes with a network ({', '.join(list_depth())}), "
                f"not with --depth {choice.source}"
            )
        if choice.align not in (None, "none"):
            raise InputError(
                f"--align goes with a depth network, --depth {choice.source} is in metres already"
            )
        if choice.source == "none":
            return None, "none"
        if choice.source == "lidar":
            return self._lidar(), "lidar"
        path = Path(choice.source)
        if not path.is_file():
            raise InputError(
                f"--depth {choice.source} is neither a file nor a network: expected a depth map "
                f"(.png, .npy, .pfm), lidar, none, or one of {', '.join(list_depth())}"
            )
        units = choice.units_per_metre
        if units is None and path.suffix.lower() == ".png":
            units = PNG_UNITS_PER_METRE
        depth = read_depth(path, units)
        if depth.shape != self.image.shape[:2]:
            raise InputError(
                f"{path} is {depth.shape[1]} x {depth.shape[0]} pixels, the image "
                f"{self.image.shape[1]} x {self.image.shape[0]}; expected the same size"
            )
        return depth, path.name

    def _lidar(self) -> np.ndarray:
        if self.frame is None:
            raise InputError("lidar depth needs --kitti: a single image has no velodyne file")
        return self.frame.lidar_depth()

    def _network(self, choice: DepthChoice) -> tuple[list[Instance], list[Rejected], np.ndarray]:
        from diffrender.depth import align_to_sparse

        lidar = self._lidar() if choice.align == "lidar" else None
        network = create_network(
            choice.source, choice.weights, choice.device, choice.allow_non_commercial
        )
        prediction = network.predict(self.image, float(self.camera.intrinsics[0, 0]))
        if lidar is not None:
            depth = align_to_sparse(prediction, lidar, rescale_metric=True).depth
            return (*self.load(depth), depth)
        if choice.align == "none" and prediction.kind != "metric":
            raise InputError(
                f"the depth of '{choice.source}' has no scale of its own ({prediction.kind}): "
                "leave out --align none"
            )
        rescale = choice.align == "scene"
        # Masks that are made from boxes want depth, and the alignment wants masks: the road
        # alone gives the first, rough scale.
        instances, rejected = self.load(self._rough(prediction))
        return instances, rejected, self._to_scene(prediction, instances, rescale)

    def _rough(self, prediction: DepthPrediction) -> np.ndarray | None:
        try:
            return self._to_scene(prediction, [], rescale=False)
        except InputError:
            return None

    def _to_scene(
        self, prediction: DepthPrediction, instances: list[Instance], rescale: bool
    ) -> np.ndarray:
        from diffrender.depth import align_to_scene

        return align_to_scene(
            prediction,
            self.camera,
            instances,
            camera_height=self.camera_height,
            rescale_metric=rescale,
        ).depth
