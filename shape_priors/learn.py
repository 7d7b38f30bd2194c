"""Learn a shape prior from a user's own meshes of one topology."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.shape_priors.mesh_files import (
    check_solid,
    check_triangles,
    find_axes,
    read_mesh,
    to_object_frame,
)
from diffrender.shape_priors.pca import principal_components
from diffrender.shape_priors.prior import ShapePrior, unit_box

__all__ = ["MeshSet", "face_atlas", "learn_prior", "prior_of_set", "read_mesh_set"]

_MOST_NUMBERS = 60_000_000  # coordinates of all meshes together
_PLAUSIBLE = (2.0, 20.0)  # metres: mean length of a set of vehicles


def learn_prior(
    meshes: Sequence[str | Path | Mesh],
    latent_size: int = 8,
    name: str = "learned",
    licence: str = "that of the meshes it was learned from",
    forward_axis: str | None = None,
    up_axis: str | None = None,
    scale: float = 1.0,
) -> ShapePrior:
    """Principal components of meshes that share one topology.

    Args:
        meshes: OBJ or PLY files, or Mesh objects; at least latent_size + 1.
        latent_size: number of shape latents, at most 64.
        name: of the prior, written into its file.
        licence: of the prior, written into its file.
        forward_axis: where the vehicles point in the files, for example "+z"; found from the
            shapes if left out (see `find_axes`).
        up_axis: likewise, for example "-y".
        scale: metres per unit of the files.

    Returns:
        A prior whose sizes have the mean and the spread of the meshes. It has one part, and an
        atlas in which every face has a place of its own.

    Raises:
        InputError: too few meshes, an unreadable file, a mesh whose vertices or faces differ
            from the first one's (the file is named), wrong axes, implausible sizes, or meshes
            that are flat or all the same.
    """
    if not 1 <= latent_size <= 64:
        raise InputError(f"latent_size {latent_size}, expected 1 to 64")
    if len(meshes) <= latent_size:
        raise InputError(
            f"{len(meshes)} meshes cannot give {latent_size} latents: "
            f"expected at least {latent_size + 1} meshes, or a smaller latent_size"
        )
    read = read_mesh_set(meshes, forward_axis, up_axis, scale)
    return prior_of_set(read, latent_size, name, licence)


def prior_of_set(read: MeshSet, latent_size: int, name: str, licence: str) -> ShapePrior:
    """Principal components of a set of meshes; see `learn_prior`."""
    metric, faces, sizes = read.vertices, read.faces, read.sizes
    size_mean = sizes.mean(0)
    mean, basis, explained = principal_components(
        unit_box(metric), latent_size, size_mean[[0, 2, 1]]
    )
    uv, face_uv = face_atlas(len(faces))
    return ShapePrior(
        mean=mean.float(),
        basis=basis.float(),
        faces=faces,
        face_parts=torch.zeros(len(faces), dtype=torch.int64),
        size_mean=size_mean.float(),
        size_sigma=torch.maximum(sizes.std(0), 0.01 * size_mean).float(),
        part_names=("body",),
        name=name,
        licence=licence,
        uv=uv,
        face_uv=face_uv,
        explained=tuple(explained.tolist()),
    )


@dataclass(frozen=True)
class MeshSet:
    """Meshes of one topology in the object frame.

    Attributes:
        vertices: (N, V, 3) float64 metres, the middle of each bottom at the origin.
        faces: (F, 3) int64, counter-clockwise from outside.
        sizes: (N, 3) length, width, height.
    """

    vertices: Tensor
    faces: Tensor
    sizes: Tensor

    def subset(self, index: Tensor) -> MeshSet:
        """Some of the meshes."""
        return MeshSet(self.vertices[index], self.faces, self.sizes[index])


def read_mesh_set(
    meshes: Sequence[str | Path | Mesh],
    forward_axis: str | None = None,
    up_axis: str | None = None,
    scale: float = 1.0,
) -> MeshSet:
    """Read meshes of one topology and turn them to the object frame; see `learn_prior`.

    Raises:
        InputError: as `learn_prior`.
    """
    if not meshes:
        raise InputError("no meshes, expected some of one topology")
    if not 0 < scale < float("inf"):
        raise InputError(f"scale {scale}, expected a positive number of metres per unit")
    vertices, faces = _read_all(meshes)
    for index, shape in enumerate(vertices):
        check_solid(_label(meshes, index), shape)
    if forward_axis is None or up_axis is None:
        found = find_axes(vertices.mean(0))
        forward_axis, up_axis = forward_axis or found[0], up_axis or found[1]
    metric = to_object_frame(vertices, forward_axis, up_axis, scale)
    sizes = (metric.amax(1) - metric.amin(1))[:, [0, 2, 1]]
    length = float(sizes[:, 0].mean())
    if not _PLAUSIBLE[0] <= length <= _PLAUSIBLE[1]:
        raise InputError(
            f"the meshes are {length:.3g} m long on average, expected {_PLAUSIBLE[0]} to "
            f"{_PLAUSIBLE[1]} m: give the metres per unit as scale, or the right forward axis"
        )
    if _signed_volume(unit_box(metric).mean(0), faces) < 0:  # modelled inside out
        faces = faces[:, [0, 2, 1]]
    return MeshSet(metric, faces, sizes)


def face_atlas(count: int) -> tuple[Tensor, Tensor]:
    """Texture coordinates (3 F, 2) and face_uv (F, 3): two faces share a cell of a square grid."""
    margin = 0.1
    lower = torch.tensor([[margin, margin], [1 - 2 * margin, margin], [margin, 1 - 2 * margin]])
    pair = torch.stack([lower, 1 - lower])  # (2, 3, 2)
    side = math.ceil(math.sqrt((count + 1) // 2))
    face = torch.arange(count)
    cell = face // 2
    origin = torch.stack([cell % side, cell // side], -1)
    uv = (pair[face % 2] + origin[:, None]) / side
    return uv.reshape(-1, 2), torch.arange(3 * count).reshape(-1, 3)


def _read_all(meshes: Sequence[str | Path | Mesh]) -> tuple[Tensor, Tensor]:
    """Vertices of all meshes (N, V, 3) float64 and the faces (F, 3) they share."""
    shapes: list[Tensor] = []
    first_faces: Tensor | None = None
    for index, item in enumerate(meshes):
        if isinstance(item, Mesh):
            vertices, faces = item.vertices.detach().cpu().double(), item.faces.cpu()
            check_triangles(_label(meshes, index), vertices, faces)
        else:
            vertices, faces = read_mesh(item)
        if first_faces is None:
            first_faces = faces
            if len(meshes) * vertices.numel() > _MOST_NUMBERS:
                raise InputError(
                    f"{len(meshes)} meshes of {len(vertices)} vertices are too many to learn "
                    f"from at once: expected at most {_MOST_NUMBERS} coordinates"
                )
        elif len(vertices) != len(shapes[0]) or not torch.equal(faces, first_faces):
            raise InputError(
                f"{_label(meshes, index)}: {len(vertices)} vertices and {len(faces)} faces that "
                f"differ from {_label(meshes, 0)} ({len(shapes[0])} vertices, "
                f"{len(first_faces)} faces); all meshes must share one topology"
            )
        shapes.append(vertices)
    assert first_faces is not None
    return torch.stack(shapes), first_faces


def _label(meshes: Sequence[str | Path | Mesh], index: int) -> str:
    item = meshes[index]
    return f"mesh {index}" if isinstance(item, Mesh) else str(item)


def _signed_volume(vertices: Tensor, faces: Tensor) -> float:
    a, b, c = vertices[faces].unbind(1)
    return float((a * torch.linalg.cross(b, c)).sum() / 6)
