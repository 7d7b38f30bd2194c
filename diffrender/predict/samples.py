"""Objects to learn from: the evidence of each in its window, and nothing else.

There is no field for a pose, a size or a yaw: what is not here cannot be learned from.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d

from diffrender.cameras import Camera
from diffrender.errors import InputError, check_shape
from diffrender.losses import Evidence

__all__ = ["Samples"]

_EVIDENCE = tuple(f.name for f in dataclasses.fields(Evidence))
_BYTES = ("mask", "care", "image")  # shares in [0, 1]: stored in 1/255
_WINDOWS = ("mask", "care", "depth", "image")  # (N, H, W), in files
_LAST = {
    "image": (3,), "box": (4,), "open_sides": (4,), "size_mean": (3,), "size_sigma": (3,),
    "intrinsics": (3, 3), "translation": (3,),
}  # fmt: skip
_TYPES = {**dict.fromkeys(_BYTES, torch.uint8), "open_sides": torch.bool}  # others are floats


@dataclass(frozen=True)
class Samples:
    """Evidence of N objects, each with the camera of its window.

    Attributes:
        evidence: (N, ...) in windows of one size.
        windows: the cameras of the windows, batch shape (N,).
        camera_height: (N,) metres above the road.
    """

    evidence: Evidence
    windows: Camera
    camera_height: Tensor  # (N,)

    def __len__(self) -> int:
        return len(self.camera_height)

    def __getitem__(self, index: Tensor) -> Samples:
        return Samples(self.evidence[index], self.windows[index], self.camera_height[index])

    def to(self, device: torch.device | str) -> Samples:
        """The samples on another device."""
        moved = {n: getattr(self.evidence, n).to(device) for n in _EVIDENCE}
        return Samples(Evidence(**moved), self.windows.to(device), self.camera_height.to(device))

    @staticmethod
    def join(parts: list[Samples]) -> Samples:
        """Samples of the same window size, one after the other."""
        evidence = {n: torch.cat([getattr(p.evidence, n) for p in parts]) for n in _EVIDENCE}
        first = parts[0].windows
        windows = dataclasses.replace(
            first,
            intrinsics=torch.cat([p.windows.intrinsics for p in parts]),
            rotation=torch.cat([p.windows.rotation for p in parts]),
            translation=torch.cat([p.windows.translation for p in parts]),
        )
        heights = torch.cat([p.camera_height for p in parts])
        return Samples(Evidence(**evidence), windows, heights)

    def halved(self) -> Samples:
        """The same windows at half the resolution; a depth cell is the mean of the known ones."""
        e = self.evidence
        height, width = (side // 2 for side in self.windows.size)
        known = avg_pool2d((e.depth > 0).to(e.depth), 2)
        depth = avg_pool2d(e.depth, 2) / known.clamp(min=0.25) * (known > 0)
        small = dataclasses.replace(
            e,
            mask=avg_pool2d(e.mask, 2),
            care=avg_pool2d(e.care, 2),
            depth=depth,
            image=avg_pool2d(e.image.permute(0, 3, 1, 2), 2).permute(0, 2, 3, 1),
            box=e.box / 2,
        )
        return dataclasses.replace(
            self, evidence=small, windows=self.windows.resize((height, width))
        )

    def mirrored(self, flip: Tensor) -> Samples:  # (N,) bool
        """Left and right exchanged where `flip` says so: another object, equally possible.

        The mirrored world has x, and the camera's place in it, negated; the camera's axes must
        be the world's (KITTI's rectified frame), which `Samples` of this package are.
        """
        e, width = self.evidence, self.windows.size[1]

        def choose(new: Tensor, old: Tensor) -> Tensor:
            return torch.where(flip.reshape(-1, *([1] * (old.dim() - 1))), new, old)

        left, top, right, bottom = e.box.unbind(-1)
        box = torch.stack([width - right, top, width - left, bottom], dim=-1)
        evidence = dataclasses.replace(
            e,
            mask=choose(e.mask.flip(-1), e.mask),
            care=choose(e.care.flip(-1), e.care),
            depth=choose(e.depth.flip(-1), e.depth),
            image=choose(e.image.flip(-2), e.image),
            box=choose(box, e.box),
            open_sides=choose(e.open_sides[:, [2, 1, 0, 3]], e.open_sides),
        )
        k, t = self.windows.intrinsics, self.windows.translation
        turned = k.clone()
        turned[:, 0, 1] = -k[:, 0, 1]
        turned[:, 0, 2] = width - k[:, 0, 2]
        windows = dataclasses.replace(
            self.windows,
            intrinsics=choose(turned, k),
            translation=choose(t * t.new_tensor([-1.0, 1.0, 1.0]), t),
        )
        return dataclasses.replace(self, evidence=evidence, windows=windows)

    def to_tensors(self) -> dict[str, Tensor]:
        """Compact tensors for a file: shares in 1/255, depth in float16."""
        stored: dict[str, Tensor] = {}
        for name in _EVIDENCE:
            value = getattr(self.evidence, name).cpu()
            if name in _BYTES:
                value = (value.clamp(0, 1) * 255).round().to(torch.uint8)
            elif name == "depth":
                value = value.half()
            stored[name] = value.contiguous()
        stored["intrinsics"] = self.windows.intrinsics.cpu().contiguous()
        stored["translation"] = self.windows.translation.cpu().contiguous()
        stored["camera_height"] = self.camera_height.cpu().contiguous()
        return stored

    @staticmethod
    def from_tensors(stored: dict[str, Tensor]) -> Samples:
        """Inverse of `to_tensors`, up to its rounding.

        Raises:
            InputError: tensors are absent, or of other shapes or types than `to_tensors` gives.
        """
        _check_stored(stored)
        fields: dict[str, Tensor] = {}
        for name in _EVIDENCE:
            value = stored[name]
            if name in _BYTES:
                value = value.float() / 255
            fields[name] = value.float() if name == "depth" else value
        height, width = fields["mask"].shape[-2:]
        count = len(fields["mask"])
        windows = Camera(
            intrinsics=stored["intrinsics"],
            rotation=torch.eye(3).expand(count, 3, 3),
            translation=stored["translation"],
            size=(height, width),
        )
        return Samples(Evidence(**fields), windows, stored["camera_height"])


def _check_stored(stored: dict[str, Tensor]) -> None:
    names = (*_EVIDENCE, "intrinsics", "translation", "camera_height")
    absent = [name for name in names if name not in stored]
    if absent:
        raise InputError(f"{', '.join(absent)} absent")
    check_shape("mask", stored["mask"], None, None, None)
    count, *size = stored["mask"].shape
    if min(count, *size) < 1:
        raise InputError(f"mask has shape {(count, *size)}, expected objects and pixels")
    for name in names:
        window = size if name in _WINDOWS else []
        check_shape(name, stored[name], count, *window, *_LAST.get(name, ()))
        kind = stored[name].dtype
        if not (kind == _TYPES[name] if name in _TYPES else kind.is_floating_point):
            raise InputError(f"{name} is {kind}, expected {_TYPES.get(name, 'floats')}")
