"""An earlier reconstruction of the same instances as the start of another one."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch

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
    beside_box_fits: bool = False

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

    def serves(self, prior: ShapePrior) -> bool:
        """Any: a shape that is not of its latents begins as the mean one."""
        return True

    def __call__(self, request: StartRequest) -> Hypotheses:
        known = {box_of_mask(item.instance.mask): item for item in self.scene.objects}
        rows = []
        for index, observation in enumerate(request.observations):
            found = known.get(tuple(observation.mask_box.tolist()))
            if found is None:
                rows.append(_unknown(index, observation, request))
            else:
                rows.append(self._found(index, observation, found, request))
        begun = rows[0]
        for row in rows[1:]:
            begun = Hypotheses.join(begun, row)
        return begun

    def _found(
        self,
        index: int,
        observation: Observation,
        found: ReconstructedObject,
        request: StartRequest,
    ) -> Hypotheses:
        pose = found.pose
        before = self.scene.camera.to(torch.float64)
        pixel, z = before.project(torch.tensor([pose.centre], dtype=torch.float64))
        box = torch.from_numpy(observation.mask_box)
        offset = (pixel - (box[:2] + box[2:]) / 2) / (box[2:] - box[:2])
        focal = request.camera.intrinsics[1, 1].double() / before.intrinsics[1, 1]
        log_depth = (z * focal).log()
        size = request.prior.latent_size
        latent = found.latent if len(found.latent) == size else (0.0,) * size
        return Hypotheses(
            owner=torch.tensor([index]),
            offset=offset.float(),
            log_depth=log_depth.float(),
            angles=torch.tensor([[pose.yaw, pose.pitch, pose.roll]]),
            log_apparent=(torch.tensor([pose.size]).log() - log_depth[:, None]).float(),
            latent=torch.tensor([latent]),
        )


def _unknown(index: int, observation: Observation, request: StartRequest) -> Hypotheses:
    size = request.class_sizes[0][index].float()
    z = observation.depth
    if math.isnan(z):
        height = float(observation.mask_box[3] - observation.mask_box[1])
        z = float(request.camera.intrinsics[1, 1] * size[2]) / height
    log_depth = torch.tensor([z]).log()
    return Hypotheses(
        owner=torch.tensor([index]),
        offset=torch.zeros(1, 2),
        log_depth=log_depth,
        angles=torch.zeros(1, 3),
        log_apparent=size.log() - log_depth[:, None],
        latent=torch.zeros(1, request.prior.latent_size),
    )
