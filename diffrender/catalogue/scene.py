"""What every technique takes and gives: a scene, a camera, and a rendering."""

from __future__ import annotations

import dataclasses
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape
from diffrender.meshes import vertex_normals

if TYPE_CHECKING:
    from typing_extensions import Self

    from diffrender.cameras import Camera

__all__ = [
    "Content",
    "Light",
    "Rendering",
    "Scene",
    "Triangles",
    "as_triangles",
    "check_view",
    "with_a_face",
]


class Content(Protocol):
    """What is drawn, as tensors by the names that cards use for them (`card.PARAMETERS`)."""

    def parameters(self) -> dict[str, Tensor]:
        """The tensors that can be asked for a gradient: "vertices", "attributes", ..."""
        ...

    def replaced(self, name: str, value: Tensor) -> Self:
        """The same content with one of its parameters exchanged."""
        ...


@dataclass(frozen=True)
class Triangles:
    """A triangle mesh with colours at its vertices and, where it has one, a texture over them.

    The albedo at a point is the interpolated colour times the texture there.

    Attributes:
        vertices: (V, 3) world, metres.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        colours: (V, 3) linear RGB in [0, 1].
        uv: (V, 2) texture coordinates in [0, 1], origin at the top-left corner, or None.
        texture: (H, W, 3) linear RGB in [0, 1], or None. `uv` and `texture` come together.
    """

    vertices: Tensor  # (V, 3)
    faces: Tensor  # (F, 3)
    colours: Tensor  # (V, 3)
    uv: Tensor | None = None  # (V, 2)
    texture: Tensor | None = None  # (H, W, 3)

    def __post_init__(self) -> None:
        check_shape("Triangles.vertices", self.vertices, None, 3)
        check_shape("Triangles.faces", self.faces, None, 3)
        check_shape("Triangles.colours", self.colours, len(self.vertices), 3)
        if (self.uv is None) != (self.texture is None):
            raise InputError("Triangles.uv and Triangles.texture come together: give both or none")
        if self.uv is not None:
            check_shape("Triangles.uv", self.uv, len(self.vertices), 2)
            check_shape("Triangles.texture", self.texture, None, None, 3)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices, attributes (colours) and, where there is one, texture."""
        named = {"vertices": self.vertices, "attributes": self.colours}
        return named if self.texture is None else {**named, "texture": self.texture}

    def replaced(self, name: str, value: Tensor) -> Triangles:
        """The same triangles with other vertices, attributes or texture."""
        fields = {"vertices": "vertices", "attributes": "colours", "texture": "texture"}
        return dataclasses.replace(self, **{_field(fields, name): value})


@dataclass(frozen=True)
class Light:
    """A directional light and an ambient one; surfaces are Lambertian.

    Radiance = albedo (ambient + max(0, n · direction) colour), for the unit normal n.

    Attributes:
        direction: (3,) world, from the surface to the light; it need not have unit length.
        colour: (3,) linear RGB.
        ambient: (3,) linear RGB.
    """

    direction: Tensor  # (3,)
    colour: Tensor  # (3,)
    ambient: Tensor  # (3,)

    def __post_init__(self) -> None:
        for name in ("direction", "colour", "ambient"):
            check_shape(f"Light.{name}", getattr(self, name), 3)

    def shade(self, albedo: Tensor, normals: Tensor) -> Tensor:  # (..., 3), (..., 3)
        """Radiance of Lambertian surfaces. (..., 3), (..., 3) world -> (..., 3).

        Differentiable to everything; the clamp at the terminator has slope 0 on the dark side.
        """
        towards = torch.nn.functional.normalize(self.direction, dim=-1)
        cosine = (normals * towards).sum(-1, keepdim=True).clamp(min=0)
        return albedo * (self.ambient + cosine * self.colour)


@dataclass(frozen=True)
class Scene:
    """Something to draw, under a light, before a background.

    Attributes:
        content: triangles, or what a technique's `prepare` made of them.
        light: of the scene.
        background: (3,) linear RGB where nothing is hit.
    """

    content: Content
    light: Light
    background: Tensor  # (3,)

    def parameters(self) -> dict[str, Tensor]:
        """Those of the content, and "light": (3, 3), its direction, colour and ambient part."""
        light = torch.stack([self.light.direction, self.light.colour, self.light.ambient])
        return {**self.content.parameters(), "light": light}

    def replaced(self, name: str, value: Tensor) -> Scene:
        """The same scene with one parameter exchanged."""
        if name == "light":
            return dataclasses.replace(self, light=Light(value[0], value[1], value[2]))
        return dataclasses.replace(self, content=self.content.replaced(name, value))

    def radiance(self) -> Tensor:
        """(V, 3) radiance leaving the vertices of a scene of triangles: of what has no texture.

        Gouraud shading: techniques that interpolate this over faces agree on colours, so that
        their pictures differ by visibility alone.

        Warns:
            UserWarning: the scene has a texture, which is left out.
        """
        if as_triangles(self).texture is not None:
            warnings.warn(
                "the scene's texture is left out: this technique knows colours at vertices only",
                stacklevel=2,
            )
        return self.vertex_radiance()

    def vertex_radiance(self) -> Tensor:
        """(V, 3) the same before a texture, for techniques that multiply by it themselves."""
        mesh = as_triangles(self)
        return self.light.shade(mesh.colours, vertex_normals(mesh.vertices, mesh.faces))


@dataclass(frozen=True)
class Rendering:
    """What a technique draws. Differentiable as its card says.

    Attributes:
        image: (H, W, 3) linear RGB over the background.
        silhouette: (H, W) coverage or opacity in [0, 1].
        depth: (H, W) metres along the camera's z; 0 where nothing is seen. A technique that blends
            gives the mean over what it blends, and one that blends pictures over outlines
            (antialiasing) blends this map like them: between a surface and the 0 beside it there.
    """

    image: Tensor  # (H, W, 3)
    silhouette: Tensor  # (H, W)
    depth: Tensor  # (H, W)


def check_view(scene: Scene, camera: Camera) -> None:
    """What every technique's `render` asks at once.

    Raises:
        InputError: a batch of cameras, or a camera of another dtype or device than the scene.
    """
    if camera.batch_shape:
        raise InputError(
            f"the camera is a batch of shape {tuple(camera.batch_shape)}, expected one: index it"
        )
    have, expected = camera.intrinsics, scene.background
    if (have.dtype, have.device) != (expected.dtype, expected.device):
        raise InputError(
            f"the camera has {have.dtype} on {have.device}, the scene {expected.dtype} on "
            f"{expected.device}: bring both to one"
        )


def as_triangles(scene: Scene) -> Triangles:
    """The scene's triangles.

    Raises:
        InputError: it was prepared for a technique of another family.
    """
    if not isinstance(scene.content, Triangles):
        raise InputError(
            f"this technique draws Triangles, the scene holds {type(scene.content).__name__}; "
            "give it the scene from before `prepare`"
        )
    return scene.content


def with_a_face(scene: Scene) -> Scene:
    """The scene; one of a mesh without faces gets a face without area, which covers nothing.

    Techniques that look up the faces of pixels need not ask whether there are any.
    """
    mesh = as_triangles(scene)
    if len(mesh.faces):
        return scene
    faces = mesh.faces.new_zeros(1, 3)
    if len(mesh.vertices):
        return dataclasses.replace(scene, content=dataclasses.replace(mesh, faces=faces))
    corner, uv = mesh.vertices.new_zeros(1, 3), None
    if mesh.uv is not None:
        uv = mesh.uv.new_zeros(1, 2)
    content = Triangles(corner, faces, mesh.colours.new_zeros(1, 3), uv, mesh.texture)
    return dataclasses.replace(scene, content=content)


def _field(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise InputError(f"no parameter {name!r} here, expected one of {', '.join(fields)}")
    return fields[name]
