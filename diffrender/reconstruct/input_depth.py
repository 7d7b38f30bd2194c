"""Depth of one image, from a network, a file, lidar or nothing, in metres."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.instances import Instance, Rejected

if TYPE_CHECKING:
    from diffrender.datasets import KittiFrame
    from diffrender.depth import DepthModel, DepthPrediction

__all__ = ["DEFAULT_NETWORK", "Align", "DepthChoice", "DepthSource", "View", "create_network"]

DEFAULT_NETWORK = "dpt-timm"
PNG_UNITS_PER_METRE = 256.0
MAP_SUFFIXES = (".png", ".npy", ".pfm")

Align = Literal["none", "scene", "lidar"]
Load: TypeAlias = Callable[[np.ndarray | None], tuple[list[Instance], list[Rejected]]]


@dataclass(frozen=True)
class DepthChoice:
    """Where depth comes from.

    Attributes:
        source: a network's name, "lidar", "none", a file, or a folder of maps named after the
            images (for KITTI also a folder's name beside image_2).
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
class View:
    """One image with its camera; `frame` is the KITTI frame that it belongs to, if any."""

    name: str
    image: np.ndarray  # (H, W, 3)
    camera: Camera
    camera_height: float
    frame: KittiFrame | None = None


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


class DepthSource:
    """A `DepthChoice`, opened once for many images.

    Raises:
        InputError: options that do not go together, or a network that cannot be loaded.
    """

    def __init__(self, choice: DepthChoice) -> None:
        from diffrender.depth import list_depth

        self.choice = choice
        self.network: DepthModel | None = None
        networks = list_depth()
        if choice.units_per_metre is not None and choice.source in (*networks, "lidar", "none"):
            raise InputError(
                f"--depth-units-per-metre goes with a depth map in a file, not with --depth "
                f"{choice.source}"
            )
        if choice.source in networks:
            self.network = create_network(
                choice.source, choice.weights, choice.device, choice.allow_non_commercial
            )
            if self.network.card.kind != "as stated":  # a file's own kind shows when it has run
                self._check_scale(self.network.card.kind)
            return
        if choice.weights is not None:
            raise InputError(
                f"--depth-weights goes with a network ({', '.join(networks)}), "
                f"not with --depth {choice.source}"
            )
        if choice.align not in (None, "none"):
            raise InputError(
                f"--align goes with a depth network, --depth {choice.source} is in metres already"
            )

    def resolve(
        self, view: View, load: Load
    ) -> tuple[list[Instance], list[Rejected], np.ndarray | None, str]:
        """Instances, refused instances, depth in metres, and the name of its source.

        `load` makes the instances, helped by a depth map where there is one; masks and depth may
        each help to make the other.
        """
        if self.network is not None:
            return (*self._predicted(self.network, view, load), self.choice.source)
        depth, name = self._measured(view)
        return (*load(depth), depth, name)

    def _check_scale(self, kind: str) -> None:
        if self.choice.align == "none" and kind != "metric":
            raise InputError(
                f"the depth of '{self.choice.source}' has no scale of its own ({kind}): leave out "
                "--align none"
            )

    def _measured(self, view: View) -> tuple[np.ndarray | None, str]:
        from diffrender.depth import list_depth, read_depth
        from diffrender.depth.files import check_metres

        source = self.choice.source
        if source == "none":
            return None, "none"
        if source == "lidar":
            return _lidar(view), "lidar"
        path = _map_file(source, view)
        if path is None:
            raise InputError(
                f"--depth {source} is neither a file nor a network: expected a depth map "
                f"(.png, .npy, .pfm), lidar, none, or one of {', '.join(list_depth())}"
            )
        units = self.choice.units_per_metre
        if units is None and path.suffix.lower() == ".png":
            units = PNG_UNITS_PER_METRE
        depth = read_depth(path, units)
        height, width = view.image.shape[:2]
        if depth.shape != (height, width):
            raise InputError(
                f"{path} is {depth.shape[1]} x {depth.shape[0]} pixels, the image "
                f"{width} x {height}; expected the same size"
            )
        check_metres(path, depth)
        return depth, path.name if path == Path(source) else source

    def _predicted(
        self, network: DepthModel, view: View, load: Load
    ) -> tuple[list[Instance], list[Rejected], np.ndarray]:
        from diffrender.depth import align_to_sparse

        align = self.choice.align
        lidar = _lidar(view) if align == "lidar" else None
        focal = float(view.camera.intrinsics[0, 0])
        prediction = network.predict(view.image, focal, view.camera_height)
        if lidar is not None:
            depth = align_to_sparse(prediction, lidar, rescale_metric=True).depth
            return (*load(depth), depth)
        self._check_scale(prediction.kind)
        # Masks that are made from boxes want depth, and the alignment wants masks: the road
        # alone gives the first, rough scale.
        instances, rejected = load(_rough(view, prediction))
        depth = _to_scene(view, prediction, instances, rescale=align == "scene")
        return instances, rejected, depth


def _lidar(view: View) -> np.ndarray:
    if view.frame is None:
        raise InputError("lidar depth needs --kitti: a single image has no velodyne file")
    return view.frame.lidar_depth()


def _map_file(source: str, view: View) -> Path | None:
    """The depth map itself, or the one named after the image in a folder."""
    path = Path(source)
    if path.is_file():
        return path
    folders = [path] if view.frame is None else [view.frame.folder / source, path]
    folder = next((one for one in folders if one.is_dir()), None)
    if folder is None:
        return None
    found = [folder / f"{view.name}{suffix}" for suffix in MAP_SUFFIXES]
    for one in found:
        if one.is_file():
            return one
    raise InputError(f"{folder} holds no depth map of this image, expected {found[0].name}")


def _rough(view: View, prediction: DepthPrediction) -> np.ndarray | None:
    try:
        return _to_scene(view, prediction, [], rescale=False)
    except InputError:
        return None


def _to_scene(
    view: View, prediction: DepthPrediction, instances: list[Instance], *, rescale: bool
) -> np.ndarray:
    from diffrender.depth import align_to_scene

    return align_to_scene(
        prediction,
        view.camera,
        instances,
        camera_height=view.camera_height,
        rescale_metric=rescale,
    ).depth
