"""An earlier reconstruction of the same instances as the start of another one."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch

from diffrender.cameras import Camera
from diffrender.instances import box_of_mask
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.observations import Observation
from diffrender.reconstruct.scene import ReconstructedObject, Scene
from diffrender.reconstruct.settings import ReconstructSettings, StageSettings
from diffrender.reconstruct.starting import StartRequest
from diffrender.shape_priors import ShapePrior

__all__ = ["SceneStart"]


@dataclass(frozen=True)
class SceneStart:
    """Begins where `scene` ended, though the camera or the depth be others now.

    Two descents follow, the last ones of `settings` without their moves: between them it is worked
    out anew what hides what. Seen by a camera of another focal length f, an object is begun at a
    distance that goes with f. Masks say which object an instance was; one that the scene does not
    have begins upright, straight ahead, with the mean size of its class.
    """

    scene: Scene
    settings: ReconstructSettings

    @property
    def name(self) -> str:
        """What the results call it."""
        return "an earlier reconstruction"

    @property
    def stages(self) -> tuple[StageSettings, ...]:
        """The descents that follow."""
        return tuple(
            dataclasses.replace(stage, keep=1, turns=(), jumps=(), swap=False)
            for stage in self.settings.stages[-2:]
        )

    @property
    def beside_box_fits(self) -> bool:
        """No: what the scene has is better."""
        return False

    def serves(self, prior: ShapePrior) -> bool:
        """Any: a shape that is not of its latents begins as the mean one."""
        return True

    def __call__(self, request: StartRequest) -> Hypotheses:
        known = {box_of_mask(item.instance.mask): item for item in self.scene.objects}
        rows = []
        for k, observation in enumerate(request.observations):
            found = known.get(tuple(observation.mask_box.tolist()))
            size = tuple(request.class_sizes[0][k].tolist())
            rows.append(
                _unknown(observation, request.camera, size)
                if found is None
                else self._found(observation, request.camera, found)
            )
        count = request.prior.latent_size
        latents = [r.latent if len(r.latent) == count else (0.0,) * count for r in rows]
        log_depth = torch.tensor([r.depth for r in rows], dtype=torch.float64).log()
        log_size = torch.tensor([r.size for r in rows], dtype=torch.float64).log()
        return Hypotheses(
            owner=torch.arange(len(rows)),
            offset=torch.tensor([r.offset for r in rows]),
            log_depth=log_depth.float(),
            angles=torch.tensor([r.angles for r in rows]),
            log_apparent=(log_size - log_depth[:, None]).float(),
            latent=torch.tensor(latents),
        )

    def _found(self, observation: Observation, camera: Camera, found: ReconstructedObject) -> _Row:
        pose, before = found.pose, self.scene.camera.to(torch.float64)
        pixel, z = before.project(torch.tensor([pose.centre], dtype=torch.float64))
        box = torch.from_numpy(observation.mask_box)
        offset = (pixel[0] - (box[:2] + box[2:]) / 2) / (box[2:] - box[:2])
        longer = float(camera.intrinsics[1, 1]) / float(before.intrinsics[1, 1])
        angles = (pose.yaw, pose.pitch, pose.roll)
        return _Row(offset.tolist(), float(z[0]) * longer, angles, pose.size, found.latent)


class _Row(NamedTuple):
    """Where one object begins, in the terms of `Hypotheses`."""

    offset: Sequence[float]
    depth: float  # metres
    angles: Sequence[float]
    size: Sequence[float]  # metres
    latent: Sequence[float]


def _unknown(observation: Observation, camera: Camera, size: Sequence[float]) -> _Row:
    return _Row((0.0, 0.0), observation.distance(camera, size[2]), (0.0, 0.0, 0.0), size, ())
