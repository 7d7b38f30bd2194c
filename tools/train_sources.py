"""What `diffrender train` learns from: frames of a KITTI folder, not their 3D labels."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from diffrender.errors import InputError
from diffrender.tools.inputs import DepthChoice, from_kitti

if TYPE_CHECKING:
    from diffrender.predict import Frame

__all__ = ["KittiFrames", "kitti_frames"]


@dataclass(frozen=True)
class KittiFrames:
    """Frames of a folder in the KITTI layout; see `diffrender.predict.FrameSource`.

    Of the label files, class and 2D box may name and cut masks; nothing else of them is used.
    """

    root: Path
    split: str
    names: tuple[str, ...]
    masks: str | None
    depth: DepthChoice

    @property
    def description(self) -> str:
        ends = f"{self.names[0]} to {self.names[-1]}" if self.names else "none"
        masks = self.masks or "masks found there"
        return (
            f"KITTI frames {self.split}, {ends}, {masks}, depth {self.depth}, "
            f"files {self.fingerprint}"
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the names of all frames and the sizes in bytes of what is read of each.

        Those are images, calibrations, masks and depth maps; a folder may be moved.
        """
        folder = self.root / self.split
        masks = ("instance_2", "label_2") if self.masks is None else (self.masks,)
        total = hashlib.sha256()
        for part in ("image_2", "calib", *masks, self.depth.source):
            here = folder / part if (folder / part).is_dir() else Path(part)
            if not here.is_dir():  # lidar, a network's name, or one file for all
                continue
            files: dict[str, list[Path]] = {}
            for file in sorted(here.iterdir()):
                files.setdefault(file.stem, []).append(file)
            total.update(part.encode("utf-8") + b"\0")
            for name in self.names:
                total.update(name.encode("utf-8") + b"\0")
                for file in files.get(name, []):
                    total.update(f"{file.name} {file.stat().st_size}\0".encode())
        return total.hexdigest()[:16]

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Frame:
        from diffrender.predict import Frame
        from diffrender.reconstruct import depth_noise_of

        name = self.names[index]
        choice = self.depth
        folder = self.root / self.split / choice.source
        if folder.is_dir():  # a folder of depth maps beside image_2, such as depth_2
            files = [folder / f"{name}{suffix}" for suffix in (".png", ".npy", ".pfm")]
            found = next((f for f in files if f.is_file()), None)
            if found is None:
                raise InputError(f"{folder} has no depth map of frame {name}")
            choice = DepthChoice(str(found), None, choice.units_per_metre)
        got = from_kitti(self.root, name, self.split, self.masks, choice)
        noise = depth_noise_of(got.depth_source)
        return Frame(
            name, got.image, got.camera, got.instances, got.depth, noise, got.camera_height
        )


def kitti_frames(
    root: Path, split: str, listing: str | None, masks: str | None, depth: DepthChoice
) -> KittiFrames:
    """The frames of a folder, or those of a split list that it holds.

    Raises:
        InputError: no such folder or list, a list with no frame of the folder, or depth that is
            neither a folder nor a file nor a network.
    """
    from diffrender.datasets import KittiObject
    from diffrender.depth import list_depth

    data = KittiObject(root, split=split)
    _check_depth(root / split, depth.source, list_depth())
    names = data.names if listing is None else data.split_list(listing, present_only=True)
    if not names:
        raise InputError(f"the list {listing!r} names no frame that {data.folder} holds")
    return KittiFrames(root, split, tuple(names), masks, depth)


def _check_depth(folder: Path, source: str, networks: Sequence[str]) -> None:
    """A slip in the name would be the fault of every frame; here it is said once."""
    if source in ("lidar", "none", *networks):
        return
    if not (folder / source).is_dir() and not Path(source).exists():
        raise InputError(
            f"--depth {source} is neither a folder of maps beside {folder / 'image_2'} nor a file: "
            f"expected one such as depth_2, lidar, none, or one of {', '.join(networks)}"
        )
