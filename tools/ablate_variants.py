"""What `diffrender ablate` varies: one thing at a time, all else as in the base case."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from diffrender.reconstruct import ReconstructSettings

__all__ = ["BASE", "Change", "Variant", "variants"]

DepthKind = Literal["noise", "lidar", "shipped", "none"]


@dataclass(frozen=True)
class Change:
    """What an optimizer gets to see of a scene.

    Attributes:
        depth: "noise" (truth with independent noise on every pixel), "lidar" (its points),
            "shipped" (the shipped network looking at the image) or "none".
        noise: standard deviation of that noise, share of the depth.
        grow: pixels by which masks are dilated, negative to erode them.
        wander: pixels (standard deviation) by which outlines wander and neighbours merge.
        prior: shape prior.
        predictor: whether the shipped predictor's hypotheses start beside those of the box fits.
    """

    depth: DepthKind = "noise"
    noise: float = 0.10
    grow: float = 0.0
    wander: float = 0.0
    prior: str = "car"
    predictor: bool = False


def _same(settings: ReconstructSettings) -> ReconstructSettings:
    return settings


@dataclass(frozen=True)
class Variant:
    """One case: its group (what is varied), its label, and how it departs from the base."""

    group: str
    label: str
    change: Change = field(default_factory=Change)
    settings: Callable[[ReconstructSettings], ReconstructSettings] = _same

    @property
    def key(self) -> str:
        return f"{self.group}: {self.label}"

    @property
    def of_real_frames(self) -> bool:
        """Whether it makes sense on a real frame, whose depth and masks are what they are."""
        own = dataclasses.replace(self.change, grow=0.0, prior="car", predictor=False)
        return own == Change()


BASE = Variant("base", "everything on, 10 % depth noise, exact masks")


def variants() -> list[Variant]:
    """All cases, the base first."""
    found = [BASE]
    for name in ("silhouette", "box", "depth", "photometric", "size", "latent"):
        found.append(Variant("loss off", name, settings=_without(name)))
    found.append(Variant("loss off", "ground", settings=_with("ground", None)))
    found.append(Variant("loss off", "heading", settings=_with("heading", False)))
    flat = "flat, not looked for in the depth map"
    found.append(Variant("road", flat, settings=_with("ground", "flat")))
    for noise in (0.0, 0.05, 0.2, 0.3):
        found.append(Variant("depth noise", f"{noise:.0%}", Change(noise=noise)))
    kinds: tuple[DepthKind, ...] = ("lidar", "shipped", "none")
    found += [Variant("depth source", kind, Change(depth=kind)) for kind in kinds]
    for pixels in (-2.0, -1.0, 1.0, 2.0):
        word = "eroded" if pixels < 0 else "dilated"
        found.append(Variant("masks", f"{word} by {abs(pixels):g} px", Change(grow=pixels)))
    found.append(Variant("masks", "outlines wander by 2 px, neighbours merge", Change(wander=2.0)))
    for count in (1, 2, 4, 8, 16):
        found.append(Variant("hypotheses", str(count), settings=_with("hypotheses", count)))
    beside = Change(predictor=True)
    found.append(Variant("start", "box fits and the predictor's four hypotheses", beside))
    found.append(Variant("occlusion", "objects not drawn together", settings=_with("union", False)))
    found += [Variant("prior", name, Change(prior=name)) for name in ("car-autoencoder", "free")]
    for solver in ("adam", "lbfgs"):
        found.append(Variant("solver", solver, settings=_with("solver", solver)))
    found.append(Variant("method", "boxes, nothing rendered", settings=_with("method", "box")))
    return found


def _without(loss: str) -> Callable[[ReconstructSettings], ReconstructSettings]:
    def change(settings: ReconstructSettings) -> ReconstructSettings:
        weights = dataclasses.replace(settings.weights, **{loss: 0.0})
        return dataclasses.replace(settings, weights=weights)

    return change


def _with(name: str, value: object) -> Callable[[ReconstructSettings], ReconstructSettings]:
    return lambda settings: dataclasses.replace(settings, **{name: value})  # type: ignore[arg-type]
