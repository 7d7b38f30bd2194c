"""One image's instances through box fits, descents and textures: the work of `reconstruct`."""

from __future__ import annotations

import dataclasses
import math
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.instances import Instance
from diffrender.reconstruct.agreement import agree, agree_on_road, depth_term
from diffrender.reconstruct.box_fit import BoxFit, BoxFitSettings, fit_boxes
from diffrender.reconstruct.confidence import agreement, probability
from diffrender.reconstruct.crops import Crops, crop_evidence
from diffrender.reconstruct.drawing import draw, place
from diffrender.reconstruct.facing import Facing, look
from diffrender.reconstruct.formula import objective
from diffrender.reconstruct.freeform import RefineSettings, refine_vertices
from diffrender.reconstruct.hypotheses import Hypotheses, start_hypotheses
from diffrender.reconstruct.observations import DepthNoise, Observation
from diffrender.reconstruct.optimizer import Fit, Problem, Progress, explore
from diffrender.reconstruct.scene import Pose, ReconstructedObject
from diffrender.reconstruct.settings import ReconstructSettings
from diffrender.reconstruct.starting import Starter, StartRequest
from diffrender.reconstruct.texture import bake_texture
from diffrender.reconstruct.traffic import VEHICLES
from diffrender.reconstruct.union import reorder
from diffrender.reconstruct.windows import draw_alone
from diffrender.road import Road
from diffrender.rotations import wrap_angle
from diffrender.shape_priors import ShapePrior, default_texture

__all__ = ["Solver"]

_BY_SIZE = 0.2  # relative: how well its size tells how far an object is
_OUTLINE = 1.5  # pixels to which a mask's lower edge is known


@dataclass(frozen=True)
class Solver:
    """One image's worth of state, so that the steps below read as sentences."""

    image: np.ndarray
    camera: Camera
    depth: np.ndarray | None
    prior: ShapePrior
    settings: ReconstructSettings
    device: str
    progress: Progress | None
    noise: DepthNoise
    road: Road | None
    observations: list[Observation]
    everyone: tuple[Instance, ...]  # of the image; what others hide is not held against these
    starter: Starter | None = None

    def solve(self, timings: dict[str, float]) -> list[ReconstructedObject]:
        clock = time.perf_counter()
        boxed = self.starter is None or self.starter.beside_box_fits
        fits = [self._box_fit(o) for o in self.observations] if boxed else []
        timings["box"] = time.perf_counter() - clock
        clock = time.perf_counter()
        if self.settings.method == "box":
            fit = self._box_only(fits)
        else:
            begun = self._begin(fits).to(self.device)
            fit = explore(self._problem(), begun, self.progress)
        timings["optimize"] = time.perf_counter() - clock
        free = None
        if self.settings.refine is not None and self.settings.method == "render":
            clock = time.perf_counter()
            free = self._refine(fit, self.settings.refine)
            timings["refine"] = time.perf_counter() - clock
        clock = time.perf_counter()
        seconds = (timings["box"] + timings["optimize"]) / len(self.observations)
        plain = None
        if self.prior.uv is not None:
            plain = default_texture(self.prior.to("cpu"), resolution=self.settings.texture_size)
        objects = [
            self._finish(i, fit, seconds, plain, None if free is None else free[i])
            for i in range(len(self.observations))
        ]
        timings["texture"] = time.perf_counter() - clock
        return objects

    def _box_fit(self, observation: Observation) -> BoxFit:
        size = self.settings.class_sizes[observation.instance.category].mean
        height = self.settings.camera_height
        return fit_boxes(observation, self.camera, BoxFitSettings(size, camera_height=height))

    def _class_sizes(self) -> tuple[Tensor, Tensor]:
        sizes = [self.settings.class_sizes[o.instance.category] for o in self.observations]
        return torch.tensor([s.mean for s in sizes]), torch.tensor([s.sigma for s in sizes])

    def _problem(self) -> Problem:
        facing = look(self.image, self.observations) if self.settings.heading else None
        return self._problem_of(
            self.observations, None, None if facing is None else facing.to(self.device), self.road
        )

    def _problem_of(
        self,
        observations: list[Observation],
        common: float | None,
        facing: Facing | None,
        road: Road | None,
    ) -> Problem:
        device = self.device
        boxes = torch.tensor(np.stack([o.mask_box for o in observations])).float()
        cache: dict[tuple[int, int], Crops] = {}

        def crops(size: tuple[int, int]) -> Crops:
            if size not in cache:
                made = crop_evidence(
                    observations, self.image, self.depth, self.camera, self.noise, size,
                    self._class_sizes(),
                )  # fmt: skip
                cache[size] = made.to(device)
            return cache[size]

        camera = self.camera.to(torch.float32)

        def together(best: Hypotheses) -> Problem:
            prior, best = self.prior.to("cpu"), best.to("cpu")
            ordered = observations
            if self.settings.union:
                placed = place(prior, best, camera, boxes)[0]
                drawn = [draw_alone(own, prior.faces, camera) for own in placed]
                # What the poses before said is not true of these.
                ordered = reorder(self.observations, drawn, self._belief())
            seen = crops(self.settings.stages[0].size).to("cpu")
            pictures = draw(prior, best, camera, seen.camera, boxes, False)
            term = depth_term(self.noise, common)
            factor = agree(term.log_scale(pictures, seen.evidence), self.noise)
            agreed = road
            if road is not None and self.road is not None and self.settings.ground == "found":
                feet = best.pose(camera, boxes)[1]
                agreed = agree_on_road(self.road, road, feet, self._spread_of_feet(feet))
            return self._problem_of(ordered, factor, facing, agreed)

        agreeing = self.noise.shared > 0 or self.settings.ground == "found"
        several = len(observations) > 1 and (self.settings.union or agreeing)
        return Problem(
            prior=self.prior.to(device),
            camera=camera.to(device),
            boxes=boxes.to(device),
            vehicles=torch.tensor(
                [o.instance.category in VEHICLES for o in observations], device=device
            ),
            crops=crops,
            loss=objective(self.settings, self.noise, tuple(self.prior.part_names), road, common),
            settings=self.settings,
            facing=facing,
            together=together if several else None,
        )

    def _spread_of_feet(self, feet: Tensor) -> Tensor:  # (B, 3) -> (B,)
        """How well each object's own depth, size and outline say where its bottom is, metres."""
        mean, sigma = self._class_sizes()
        size = sigma[:, 2] / mean[:, 2]
        depth = size  # relative
        if self.depth is not None:
            depth = (size**-2 + self.noise.scale**-2) ** -0.5
        hidden = torch.tensor([not bool(o.open_sides[[1, 3]].all()) for o in self.observations])
        outline = _OUTLINE * feet[:, 2] / float(self.camera.intrinsics[1, 1])
        return torch.hypot(feet[:, 1].abs() * depth, outline) * torch.where(hidden, 2.0, 1.0)

    def _belief(self) -> float:
        """How well an object's depth is known beside another's, relative."""
        return self.noise.scale if self.depth is not None else _BY_SIZE

    def _request(self) -> StartRequest:
        return StartRequest(
            self.observations, self.image, self.depth, self.camera, self.noise,
            self._class_sizes(), self.settings.camera_height, self.prior,
        )  # fmt: skip

    def _begin(self, fits: list[BoxFit]) -> Hypotheses:
        """The first hypotheses: of the box fits, of the starter, or both, an object's together."""
        given = None if self.starter is None else self.starter(self._request())
        if not fits:
            assert given is not None
            return given
        begun = self._start(fits, self.settings.hypotheses)
        if given is None:
            return begun
        both = Hypotheses.join(begun, given.to("cpu"))
        return both[both.owner.argsort(stable=True)]

    def _start(self, fits: list[BoxFit], count: int) -> Hypotheses:
        means = self._class_sizes()[0]
        return start_hypotheses(
            self.observations, fits, self.camera, count, means, self.prior.latent_size
        )

    def starting_point(self) -> tuple[Problem, Hypotheses]:
        """The problem, and the hypotheses that the box fits give to start from."""
        fits = [self._box_fit(o) for o in self.observations]
        return self._problem(), self._start(fits, self.settings.hypotheses).to(self.device)

    def _refine(self, fit: Fit, settings: RefineSettings) -> Tensor:
        """Vertices (B, V, 3) in the frame of the labels, each moved on its own."""
        problem = self._problem_of(self.observations, None, None, self.road)
        crops = problem.crops(self.settings.stages[-1].size)
        hypotheses = fit.hypotheses.to(self.device)
        vertices, _, _ = place(problem.prior, hypotheses, problem.camera, problem.boxes)
        refined = refine_vertices(
            vertices, problem.prior.faces, crops.camera.expand(len(vertices)), crops.evidence,
            settings,
        )  # fmt: skip
        return refined.vertices.to("cpu")

    def _box_only(self, fits: list[BoxFit]) -> Fit:
        """The baseline's boxes as they stand, dressed in the mean shape."""
        start = self._start(fits, 1)
        # The baseline's box stands on the flat road, wherever the mask's rows say it is.
        bottoms = torch.tensor(np.stack([f.location[f.best] for f in fits]))
        lift = self._class_sizes()[0][:, 2:].double() / 2
        centres = bottoms - torch.cat([torch.zeros_like(lift), lift, torch.zeros_like(lift)], dim=1)
        boxes = torch.tensor(np.stack([o.mask_box for o in self.observations]))
        pixel, z = self.camera.to(torch.float64).project(centres)
        offset = (pixel - (boxes[:, :2] + boxes[:, 2:]) / 2) / (boxes[:, 2:] - boxes[:, :2])
        start = dataclasses.replace(start, offset=offset.float(), log_depth=z.log().float())
        cost = torch.tensor([float(f.cost.min()) for f in fits])
        history = [[{"total": c}] for c in cost.tolist()]
        reason = ["grid search finished"] * len(fits)
        return Fit(start, {"total": cost}, history, reason, [math.inf] * len(fits))

    def _finish(
        self,
        index: int,
        fit: Fit,
        seconds: float,
        plain_texture: Tensor | None,
        free: Tensor | None,
    ) -> ReconstructedObject:
        observation = self.observations[index]
        hypothesis = fit.hypotheses[torch.tensor([index])].to("cpu")
        hypothesis = dataclasses.replace(hypothesis, owner=torch.zeros(1, dtype=torch.int64))
        box = torch.tensor(observation.mask_box).float()[None]
        camera = self.camera.to(torch.float32)
        rotation, location, size = (v[0] for v in hypothesis.pose(camera, box))
        yaw, pitch, roll = hypothesis.angles[0].tolist()
        pose = Pose(
            location=_triple(location),
            size=_triple(size),
            yaw=float(wrap_angle(torch.tensor(yaw))),
            pitch=pitch,
            roll=roll,
        )
        prior = self.prior.to("cpu")
        mesh = prior.mesh(hypothesis.latent[0], size)
        if free is not None:
            mesh = dataclasses.replace(mesh, vertices=(free - location) @ rotation)
        drawn = draw_alone(mesh.transformed(rotation, location).vertices, mesh.faces, camera)
        part = drawn.window.pixels
        silhouette = np.zeros(camera.size, dtype=bool)
        silhouette[part] = (drawn.depth > 0).numpy()
        texture = None
        if plain_texture is not None:
            texture = bake_texture(
                mesh, (rotation, location), drawn.window.camera(camera), self.image[part],
                observation.instance.mask[part], drawn.depth, plain_texture,
            )  # fmt: skip
        others = [one.mask for one in self.everyone if one is not observation.instance]
        terms = {k: float(v[index]) for k, v in fit.terms.items()}
        agreed = agreement(
            observation.instance, others, drawn, self.depth, terms, fit.margin[index],
            self._belief(),
        )  # fmt: skip
        return ReconstructedObject(
            instance=observation.instance,
            pose=pose,
            mesh=dataclasses.replace(mesh, texture=texture),
            latent=tuple(hypothesis.latent[0].tolist()),
            confidence=probability(agreed) * observation.instance.score,
            stop_reason=fit.stop_reason[index],
            losses=terms,
            history=fit.history[index],
            silhouette=silhouette,
            seconds=seconds,
            agreement=agreed,
        )


def _triple(value: Tensor) -> tuple[float, float, float]:
    x, y, z = value.tolist()
    return (x, y, z)
