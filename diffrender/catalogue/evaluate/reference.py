"""What derivatives are compared with: differences of a supersampled picture of the triangles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue.evaluate.moves import MOTIONS, Move, pixels_per_step
from diffrender.catalogue.evaluate.pictures import stacked
from diffrender.catalogue.registry import Technique
from diffrender.catalogue.scene import Scene, as_triangles
from diffrender.raster import interpolate, rasterize, sample_texture

__all__ = [
    "DrawsMore",
    "difference_of_own",
    "difference_of_triangles",
    "silhouette_pixels",
    "supersampled",
]

_SAMPLES = 16  # a side: an outline's place is known to a sixteenth of a pixel
_MORE_SAMPLES = 12  # where a technique draws its own reference, some hundred times as slowly
# Half the width of the central difference, in pixels: well above a sample's spacing, well below a
# pixel, beyond which another face would come into it.
_PIXELS = 0.3
_STEP = 0.02  # for what changes colours in place: they are nearly linear in it
# A technique's own picture is differentiated in double precision, so that the step may be far
# below the width of its blur and hardly ever crosses a kink.
_OWN_PIXELS, _OWN_STEP = 1e-3, 1e-5
_TILE = 2**19  # samples drawn at once: some 60 MB


@runtime_checkable
class DrawsMore(Protocol):
    """A technique whose scene has more in it than faces under their light, such as shadows.

    It draws the picture that its derivatives are compared with itself.
    """

    def supersampled(self, scene: Scene, camera: Camera, samples: int) -> Tensor:
        """(H, W, 4) as `supersampled`: box filtered from samples x samples a pixel."""
        ...


@dataclass(frozen=True)
class _Samples:
    colour: Tensor  # (h, w, 3) over the background
    radiance: Tensor  # (h, w, 3) without texture
    face: Tensor  # (h, w)
    depth: Tensor  # (h, w)


def supersampled(scene: Scene, camera: Camera, samples: int = _SAMPLES) -> Tensor:
    """The triangles' picture, box filtered from samples x samples hard samples a pixel.

    Shape (H, W, 4): linear RGB over the background, then coverage. Not differentiable: it is what
    derivatives are compared with.
    """
    rows = []
    for tile in _tiles(scene, camera, samples):
        covered = (tile.face >= 0).to(tile.colour)
        maps = torch.cat([tile.colour, covered[..., None]], dim=-1).movedim(-1, 0)
        rows.append(torch.nn.functional.avg_pool2d(maps, samples).movedim(0, -1))
    return torch.cat(rows)


def difference_of_triangles(
    move: Move, scene: Scene, camera: Camera, technique: Technique | None = None
) -> Tensor:
    """Central difference of the supersampled picture along a move, (H, W, 4).

    The step carries most of the scene by 0.3 pixels, or is 0.02 where nothing is carried.

    Args:
        technique: where it `DrawsMore`, of its supersampled picture instead.
    """
    step = _STEP
    if move.parameter in MOTIONS:
        step = _PIXELS / pixels_per_step(move, scene, camera)
    ends = []
    for t in (-step, step):
        moved = move.apply(scene, camera, torch.tensor(t))
        if isinstance(technique, DrawsMore):
            with torch.no_grad():
                ends.append(technique.supersampled(*moved, _MORE_SAMPLES))
        else:
            ends.append(supersampled(*moved))
    return (ends[1] - ends[0]) / (2 * step)


def difference_of_own(
    technique: Technique,
    move: Move,
    in_triangles: Move | None,
    scene: Scene,
    prepared: Scene,
    camera: Camera,
) -> Tensor:
    """Central difference of the technique's own picture along a move, (H, W, 4).

    Args:
        in_triangles, scene: the same move for the triangles, and the triangles, which say how long
            a step is in pixels; None where nothing is carried over the image.
        prepared: what `technique.prepare` made of them, best in float64 (`in_double`).
    """
    step = _OWN_STEP
    if in_triangles is not None and in_triangles.parameter in MOTIONS:
        step = _OWN_PIXELS / pixels_per_step(in_triangles, scene, camera)
    ends = []
    with torch.no_grad():
        for t in (-step, step):
            moved = move.apply(prepared, camera, torch.tensor(t, dtype=torch.float64))
            ends.append(stacked(technique.render(*moved)))
    return (ends[1] - ends[0]) / (2 * step)


def silhouette_pixels(scene: Scene, camera: Camera, samples: int = _SAMPLES) -> Tensor:
    """(H, W) bool: pixels within half a pixel of a jump between parts, depths or colours.

    Parts are connected pieces of the mesh, so the tiles of a floor have outlines too. A jump in
    depth is one of more than 1 % between neighbouring samples, one in colour of more than 0.05:
    colours run smoothly within a part, whose own folds show by it.
    """
    found = []
    parts = _parts(scene)
    for tile in _tiles(scene, camera, samples):
        part = torch.where(tile.face >= 0, parts[tile.face.clamp(min=0)], -1)
        depth = torch.where(tile.face >= 0, tile.depth, tile.depth.new_tensor(torch.inf)).log()
        edge = torch.zeros_like(part, dtype=torch.bool)
        for dim in (0, 1):
            a, b = (slice(None),) * dim + (slice(1, None),), (slice(None),) * dim + (slice(-1),)
            jump = part[a] != part[b]
            jump |= (depth[a] - depth[b]).abs().nan_to_num(0.0) > 0.01
            jump |= (tile.radiance[a] - tile.radiance[b]).abs().amax(-1) > 0.05
            edge[a] |= jump
            edge[b] |= jump
        found.append(edge)
    edges = torch.cat(found).float()[None, None]
    wide = torch.nn.functional.max_pool2d(edges, samples + 1, 1, samples // 2)
    return torch.nn.functional.max_pool2d(wide[..., : edges.shape[-2], : edges.shape[-1]], samples)[
        0, 0
    ].bool()


def _tiles(scene: Scene, camera: Camera, samples: int) -> list[_Samples]:
    """Hard samples of the whole picture, in bands of rows."""
    height, width = camera.size[0] * samples, camera.size[1] * samples
    fine = camera.resize((height, width))
    band = max(_TILE // width // samples, 1) * samples
    return [
        _hard(scene, fine.crop(0.0, float(top), (min(band, height - top), width)))
        for top in range(0, height, band)
    ]


@torch.no_grad()
def _hard(scene: Scene, camera: Camera) -> _Samples:
    mesh = as_triangles(scene)
    fragments = rasterize((mesh.vertices, mesh.faces), camera)
    drawn = [scene.vertex_radiance()] + ([] if mesh.uv is None else [mesh.uv])
    maps = interpolate(torch.cat(drawn, dim=1), fragments)
    radiance, covered = maps[..., :3], fragments.mask()[..., None]
    colour = radiance
    if mesh.texture is not None:
        colour = radiance * sample_texture(mesh.texture, maps[..., 3:5])
    colour = colour * covered + (1 - covered) * scene.background
    return _Samples(colour, radiance, fragments.face[..., 0], fragments.depth[..., 0])


def _parts(scene: Scene) -> Tensor:
    """(F,) the connected piece of every face: the lowest vertex that can be reached from it."""
    mesh = as_triangles(scene)
    label = torch.arange(len(mesh.vertices))
    while True:
        lowest = label[mesh.faces].amin(1, keepdim=True).expand_as(mesh.faces)
        better = label.scatter_reduce(0, mesh.faces.reshape(-1), lowest.reshape(-1), "amin")
        better = better[better]  # jump along what is known already
        if torch.equal(better, label):
            return label[mesh.faces[:, 0]]
        label = better
