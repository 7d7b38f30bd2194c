"""The silhouette drawn by a technique of the catalogue in place of the library's own."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.shape_priors import ShapePrior

if TYPE_CHECKING:
    from diffrender.catalogue import Scene, Technique

__all__ = ["CatalogueSilhouette", "check_technique"]


@dataclass(frozen=True, eq=False)
class CatalogueSilhouette:
    """Coverage of hypotheses by one technique, each drawn by itself.

    Where the technique's content follows the triangles with a gradient (its "vertices" do), every
    vertex is differentiable. Elsewhere (grids, fields) the shapes are prepared once, as they are
    at the start of a stage, and a hypothesis moves through the camera: the silhouette then pulls
    at its place, its angles and its overall size, and no longer at its proportions and its latent
    code, which the other terms still do.

    Attributes:
        technique: as `find_technique` gives it.
        prepared: one scene a hypothesis, of overall size 1 in its own frame; None where vertices
            are followed.
    """

    technique: Technique
    prepared: tuple[Scene, ...] | None = field(default=None, repr=False)

    @classmethod
    def at(
        cls, name: str, prior: ShapePrior, start: Hypotheses, camera: Camera, boxes: Tensor
    ) -> CatalogueSilhouette:
        """For a stage that starts at these hypotheses; boxes are (B, 4), as in `Objective`.

        Raises:
            InputError: no such technique, or it has no gradient at silhouettes.
        """
        from diffrender.catalogue import find_technique

        check_technique(name)
        technique = find_technique(name)
        with torch.no_grad():
            _, _, size = start.pose(camera, boxes)
            relative = size / _overall(size)[:, None]
            still = torch.eye(3).to(size).expand(len(size), 3, 3)
            shapes = prior.place(start.latent, relative, still, torch.zeros_like(size))
        if _follows(technique, shapes[0], prior.faces):
            return cls(technique)
        # Hypotheses about one object start with one shape, which is prepared once.
        made: dict[tuple[float, ...], Scene] = {}
        scenes = []
        keys = torch.cat([start.latent, relative], dim=1).mul(1e4).round().tolist()
        for key, shape in zip(map(tuple, keys), shapes, strict=True):
            if key not in made:
                made[key] = technique.prepare(_white(shape, prior.faces))
            scenes.append(made[key])
        return cls(technique, tuple(scenes))

    def coverage(
        self,
        vertices: Tensor,  # (N, V, 3)
        faces: Tensor,  # (F, 3)
        pose: tuple[Tensor, Tensor, Tensor],  # (N, 3, 3), (N, 3), (N, 3)
        windows: Camera,  # batch (N,)
    ) -> Tensor:
        """(N, H, W) in [0, 1], each hypothesis in its own window.

        Args:
            vertices: world.
            pose: rotation, bottom-face centre and size, as `Hypotheses.pose` returns them.
        """
        drawn = []
        for n, placed in enumerate(vertices):
            window = windows[n]
            if self.prepared is None:
                scene = self.technique.prepare(_white(placed, faces))
            else:
                scene, window = self.prepared[n], _seen(window, *(value[n] for value in pose))
            drawn.append(self.technique.render(scene, window).silhouette)
        return torch.stack(drawn)


def check_technique(name: str) -> None:
    """Refuse a technique that cannot pull at an outline.

    Raises:
        InputError: no such technique, or it claims no gradient at silhouettes to pose or vertices.
    """
    from diffrender.catalogue import find_technique, list_techniques

    def pulls(technique: Technique) -> bool:
        claims = [technique.card.claim(p) for p in ("pose", "vertices")]
        return any(claim is not None and claim.where != "interior" for claim in claims)

    if not pulls(find_technique(name)):
        able = [known for known in list_techniques() if pulls(find_technique(known))]
        raise InputError(
            f"technique {name!r} claims no gradient to pose or vertices at silhouettes, so it "
            f"cannot draw the silhouette term; these do: {', '.join(able)}"
        )


def _follows(technique: Technique, shape: Tensor, faces: Tensor) -> bool:
    """Whether the prepared content is a differentiable function of the triangles' vertices."""
    scene = technique.prepare(_white(shape.detach().requires_grad_(), faces))
    held = scene.content.parameters().get("vertices")
    return held is not None and held.requires_grad


def _white(vertices: Tensor, faces: Tensor) -> Scene:
    """A white object without shading before black: only its silhouette counts."""
    from diffrender.catalogue import Light, Scene, Triangles

    none, one = vertices.new_zeros(3), vertices.new_ones(3)
    light = Light(vertices.new_tensor([0.0, -1.0, 0.0]), none, one)
    return Scene(Triangles(vertices, faces, torch.ones_like(vertices)), light, none)


def _overall(size: Tensor) -> Tensor:  # (..., 3)
    """One length for a box: the mean of its sides."""
    return size.mean(-1)


def _seen(window: Camera, rotation: Tensor, location: Tensor, size: Tensor) -> Camera:
    """The window's camera in the frame of an object of overall size 1.

    R_w (R k x + l) + t_w = k (R_w R x + (R_w l + t_w) / k), and a factor k of a point in the
    camera's frame changes no pixel, with a lens neither.
    """
    shift = (window.rotation @ location + window.translation) / _overall(size)
    turned = window.rotation @ rotation
    return dataclasses.replace(window, rotation=turned, translation=shift)
