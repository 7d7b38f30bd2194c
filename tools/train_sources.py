"""What `diffrender train` learns from: frames of a KITTI folder, not their 3D labels."""

from __future__ import annotations

import functools
import hashlib
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
            f"images {self.fingerprint}"
        )

    @functools.cached_property
    def fingerprint(self) -> str:
        """Of the names of all frames and their images' sizes in bytes; a folder may be moved."""
        images: dict[str, list[Path]] = {}
        for file in sorted((self.root / self.split / "image_2").glob("*")):
            images.setdefault(file.stem, []).append(file)
        total = hashlib.sha256()
        for name in self.names:
            total.update(name.encode("utf-8") + b"\0")
            for file in images.get(name, []):
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
        InputError: no such folder or list, or a list with no frame of the folder.
    """
    from diffrender.datasets import KittiObject

    data = KittiObject(root, split=split)
    names = data.names if listing is None else data.split_list(listing, present_only=True)
    if not names:
        raise InputError(f"the list {listing!r} names no frame that {data.folder} holds")
    return KittiFrames(root, split, tuple(names), masks, depth)
