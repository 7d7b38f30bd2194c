"""Deferred neural rendering (Thies et al. 2019): a texture of learned features and a U-Net."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.card import Card, Claim
from diffrender.catalogue.neural._unet import UNet
from diffrender.catalogue.scene import Rendering, Scene, Triangles, as_triangles, check_view
from diffrender.catalogue.standard import look_at
from diffrender.errors import InputError, check_shape
from diffrender.raster import interpolate, rasterize, sample_texture

__all__ = ["TECHNIQUE", "DeferredNeuralTexture", "NeuralTexture"]

_CELL = 2  # texels on a side of the square that a face has in the texture


@dataclass(frozen=True)
class NeuralTexture:
    """A mesh under a texture of features, and the network that turns features into colours.

    Attributes:
        vertices: (V, 3) world, metres.
        faces: (F, 3).
        uv: (F, 3, 2) places of the corners in the texture.
        texture: (H, W, C) features; the first three are added to what the network says.
        weights: of the U-Net, one vector.
    """

    vertices: Tensor  # (V, 3)
    faces: Tensor  # (F, 3)
    uv: Tensor  # (F, 3, 2)
    texture: Tensor  # (H, W, C)
    weights: Tensor  # (W,)

    def __post_init__(self) -> None:
        check_shape("NeuralTexture.vertices", self.vertices, None, 3)
        check_shape("NeuralTexture.faces", self.faces, None, 3)
        check_shape("NeuralTexture.uv", self.uv, len(self.faces), 3, 2)
        check_shape("NeuralTexture.texture", self.texture, None, None, None)

    def parameters(self) -> dict[str, Tensor]:
        """Vertices, texture (features) and density (the network's weights)."""
        return {"vertices": self.vertices, "texture": self.texture, "density": self.weights}

    def replaced(self, name: str, value: Tensor) -> NeuralTexture:
        """The same with one parameter exchanged."""
        fields = {"vertices": "vertices", "texture": "texture", "density": "weights"}
        if name not in fields:
            raise InputError(f"no parameter {name!r} here, expected one of {', '.join(fields)}")
        return dataclasses.replace(self, **{fields[name]: value})


@dataclass(frozen=True)
class DeferredNeuralTexture:
    """Features rasterized like a texture, decoded in the image by a network.

    Attributes:
        features: channels of the texture, at least 3.
        width: channels of the U-Net's first level.
        cameras: pictures that `prepare` fits, from a ring around the scene.
        size: (height, width) of these in pixels.
        steps: of Adam, one picture each.
        seed: of the first weights and of the order of pictures.
    """

    features: int = 8
    width: int = 12
    cameras: int = 24
    size: tuple[int, int] = (72, 96)
    steps: int = 200
    seed: int = 0

    card: ClassVar[Card] = Card(
        name="deferred-neural-texture",
        title="Deferred neural rendering with a neural texture",
        authors="Thies, J. and Zollhöfer, M. and Nießner, M.",
        year=2019,
        paper="Deferred Neural Rendering: Image Synthesis using Neural Textures",
        venue="ACM Transactions on Graphics 38(4)",
        arxiv="1904.12356",
        sections="paper's sections on neural textures and on the deferred neural renderer; "
        "survey section 2.5",
        equations=(
            "f(p) = T(uv(p)), bilinear, features T at the texture coordinates seen at pixel p",
            "I = f_RGB + U_w(f), a U-Net U with weights w over the whole map of features",
            "T, w = argmin Σ_views |I - I_view|²",
        ),
        family="neural rendering",
        idea=(
            "Give a mesh a texture of learned features instead of colours, and rasterize it as "
            "any texture.",
            "Let a small network turn the map of features into the picture: it may know of "
            "neighbouring pixels, and mend what the geometry gets wrong.",
            "Texture and network are fitted together to pictures of the scene; here to hard ones "
            "of the triangles, from a ring of cameras.",
        ),
        claims=(
            Claim("texture", "both", "own"),
            Claim("density", "both", "own"),
        ),
        memory="O(C (P + T)): C features at P pixels and T texels, and a network of its own size",
        time="O(P) for pixels P, after a fit of some seconds",
        limits="Knows one scene under one light, from where it was seen. Visibility is hard: "
        "moving the camera or vertices makes features jump, and no gradient is claimed for them.",
        use_when="Good pictures over a rough mesh, from photographs of it.",
    )

    def __post_init__(self) -> None:
        if self.features < 3:
            raise InputError(f"features is {self.features}, expected at least 3")
        for name in ("width", "cameras", "steps"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} is {getattr(self, name)}, expected at least 1")

    @torch.inference_mode(False)  # it is fitted, whoever asks
    def prepare(self, scene: Scene) -> Scene:
        """Fit texture and network to hard pictures of the triangles: some seconds.

        Not differentiable to the triangles. A scene that is prepared is returned as it is.

        Raises:
            InputError: a mesh without faces.
        """
        if isinstance(scene.content, NeuralTexture):
            return scene
        mesh = as_triangles(scene)
        if not len(mesh.faces):
            raise InputError("the mesh has no faces to put a neural texture on")
        made = torch.Generator().manual_seed(self.seed)
        uv, side = _atlas(len(mesh.faces))
        grey = torch.full((side, side, 3), 0.5)
        drawn = 0.1 * torch.randn(side, side, self.features - 3, generator=made)
        texture = torch.cat([grey, drawn], dim=-1).to(mesh.vertices).requires_grad_()
        weights = self._network().initial(made).to(mesh.vertices).requires_grad_()
        content = NeuralTexture(
            mesh.vertices.detach(), mesh.faces, uv.to(mesh.vertices), texture, weights
        )
        views = []
        with torch.no_grad():
            for camera in _ring(mesh.vertices, self.cameras, self.size):
                views.append((*self._places(content, camera), _picture(scene, camera)))
        with torch.enable_grad():
            adam = torch.optim.Adam(
                [{"params": [texture], "lr": 0.05}, {"params": [weights], "lr": 0.005}]
            )
            rates = torch.optim.lr_scheduler.CosineAnnealingLR(adam, self.steps)
            for step in range(self.steps):
                if step % len(views) == 0:
                    order = torch.randperm(len(views), generator=made).tolist()
                place, seen, picture = views[order[step % len(views)]]
                error = (self._decode(content, place, seen) - picture) * seen
                adam.zero_grad()
                error.square().mean().backward()
                adam.step()
                rates.step()
        fitted = dataclasses.replace(content, texture=texture.detach(), weights=weights.detach())
        return dataclasses.replace(scene, content=fitted)

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        """Decoded features where a face is seen, the background elsewhere."""
        check_view(scene, camera)
        scene = self.prepare(scene)
        content = scene.content
        assert isinstance(content, NeuralTexture)
        fragments = rasterize((content.vertices, content.faces), camera)
        seen = fragments.mask()[..., None]
        colour = self._decode(content, interpolate(content.uv, fragments), seen)
        image = seen * colour + (1 - seen) * scene.background
        return Rendering(image, seen[..., 0], fragments.depth[..., 0])

    def _network(self) -> UNet:
        return UNet(self.features + 1, self.width)

    def _places(self, content: NeuralTexture, camera: Camera) -> tuple[Tensor, Tensor]:
        fragments = rasterize((content.vertices, content.faces), camera)
        return interpolate(content.uv, fragments), fragments.mask()[..., None]

    def _decode(self, content: NeuralTexture, place: Tensor, seen: Tensor) -> Tensor:
        """Texture coordinates (H, W, 2) and mask (H, W, 1) -> colours (H, W, 3)."""
        features = seen * sample_texture(content.texture, place)
        maps = torch.cat([features, seen], dim=-1)
        return features[..., :3] + self._network().decode(content.weights, maps)


def _atlas(faces: int) -> tuple[Tensor, int]:
    """A square of texels for each face: places of the corners (F, 3, 2), and the texture's side.

    Corners lie at centres of texels, so that no bilinear lookup reaches a neighbour's square.
    """
    columns = math.ceil(math.sqrt(faces))
    side = _CELL * columns
    number = torch.arange(faces)
    cell = torch.stack([number % columns, number // columns], dim=-1)  # (F, 2)
    far = _CELL - 0.5
    corner = torch.tensor([[0.5, 0.5], [far, 0.5], [0.5, far]])
    return (_CELL * cell[:, None] + corner) / side, side


def _ring(vertices: Tensor, count: int, size: tuple[int, int]) -> list[Camera]:
    """Cameras around the scene, at three heights in turn, that look at its middle."""
    low, high = vertices.amin(0), vertices.amax(0)
    middle, radius = (low + high) / 2, (high - low).norm() / 2
    cameras = []
    for number in range(count):
        turn = 2 * math.pi * number / count
        rise = math.radians((14, 20, 26)[number % 3])
        away = vertices.new_tensor(
            [math.cos(rise) * math.sin(turn), -math.sin(rise), -math.cos(rise) * math.cos(turn)]
        )
        cameras.append(look_at(middle + 1.6 * radius * away, middle, size))
    return cameras


def _picture(scene: Scene, camera: Camera) -> Tensor:
    """The hard picture of the triangles (H, W, 3), 0 where there are none."""
    mesh: Triangles = as_triangles(scene)
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    colour = interpolate(scene.vertex_radiance(), fragments)
    if mesh.texture is not None and mesh.uv is not None:
        colour = colour * sample_texture(mesh.texture, interpolate(mesh.uv, fragments))
    return colour


TECHNIQUE = DeferredNeuralTexture()
