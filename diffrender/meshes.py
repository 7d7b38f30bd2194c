"""Triangle meshes: one mesh with its looks, and a packed batch for the rasterizer."""

from __future__ import annotations

import dataclasses
import itertools
import weakref
from collections import OrderedDict
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from diffrender.errors import InputError, check_shape

_Repeated: TypeAlias = tuple[Tensor, Tensor, Tensor]  # faces, vertex and face offsets

__all__ = ["Mesh", "MeshBatch", "face_normals", "pack_meshes", "vertex_normals"]


@dataclass(frozen=True)
class Mesh:
    """One triangle mesh; looks are optional.

    Attributes:
        vertices: (V, 3) metres.
        faces: (F, 3) int64, counter-clockwise seen from outside.
        colours: (V, 3) linear RGB in [0, 1], or None.
        uv: (T, 2) texture coordinates in [0, 1], origin at the texture's top-left corner.
        face_uv: (F, 3) int64 into `uv`.
        texture: (H, W, 3) sRGB-encoded RGB in [0, 1].
        face_parts: (F,) int64 part labels.
    """

    vertices: Tensor  # (V, 3)
    faces: Tensor  # (F, 3)
    colours: Tensor | None = None  # (V, 3)
    uv: Tensor | None = None  # (T, 2)
    face_uv: Tensor | None = None  # (F, 3)
    texture: Tensor | None = None  # (H, W, 3)
    face_parts: Tensor | None = None  # (F,)

    def __post_init__(self) -> None:
        check_shape("Mesh.vertices", self.vertices, None, 3)
        check_shape("Mesh.faces", self.faces, None, 3)
        if self.faces.dtype != torch.int64:
            raise InputError(f"Mesh.faces has dtype {self.faces.dtype}, expected torch.int64")
        if self.faces.numel() and not (
            0 <= int(self.faces.min()) and int(self.faces.max()) < len(self.vertices)
        ):
            raise InputError(
                f"Mesh.faces points outside the {len(self.vertices)} vertices "
                f"(indices {int(self.faces.min())} to {int(self.faces.max())})"
            )
        if (self.uv is None) != (self.face_uv is None):
            raise InputError("Mesh.uv and Mesh.face_uv come together: give both or neither")

    def to(self, *args: torch.device | torch.dtype | str) -> Mesh:
        """The mesh on another device or with floating tensors in another dtype."""
        floating = ("vertices", "colours", "uv", "texture")
        moved: dict[str, Tensor] = {}
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None:
                dtypes = [a for a in args if isinstance(a, torch.dtype)]
                devices = [a for a in args if not isinstance(a, torch.dtype)]
                wanted = args if field.name in floating or not dtypes else devices
                moved[field.name] = value.to(*wanted) if wanted else value
        return dataclasses.replace(self, **moved)  # type: ignore[arg-type]

    def transformed(self, rotation: Tensor, translation: Tensor) -> Mesh:  # (3, 3), (3,)
        """The mesh with vertices R v + t (for example object_to_world)."""
        return dataclasses.replace(self, vertices=self.vertices @ rotation.mT + translation)


@dataclass(frozen=True)
class MeshBatch:
    """B meshes of any sizes, packed end to end: what the rasterizer takes.

    Mesh b owns vertices[vertex_offsets[b]:vertex_offsets[b+1]] and the same slice of faces;
    `faces` already points into the packed vertices.

    Attributes:
        vertices: (sum V, 3) metres, in the world frame of the camera that renders them.
        faces: (sum F, 3) int64 into the packed vertices.
        vertex_offsets: (B + 1,) int64 on the CPU.
        face_offsets: (B + 1,) int64 on the CPU.
    """

    vertices: Tensor  # (sum V, 3)
    faces: Tensor  # (sum F, 3)
    vertex_offsets: Tensor  # (B + 1,)
    face_offsets: Tensor  # (B + 1,)

    def __post_init__(self) -> None:
        if torch.compiler.is_compiling() or type(self.face_offsets) is not Tensor:
            return  # their values are not known
        for name in ("vertex_offsets", "face_offsets"):  # kernels read them as they lie
            if not getattr(self, name).is_contiguous():
                object.__setattr__(self, name, getattr(self, name).contiguous())
        vertices = _offsets("vertex_offsets", self.vertex_offsets, len(self.vertices), "vertices")
        faces = _offsets("face_offsets", self.face_offsets, len(self.faces), "faces")
        if vertices != faces:
            raise InputError(
                f"MeshBatch.vertex_offsets are of {vertices} meshes and face_offsets of {faces}"
            )

    def __len__(self) -> int:
        return self.face_offsets.shape[0] - 1

    @classmethod
    def single(cls, vertices: Tensor, faces: Tensor) -> MeshBatch:  # (V, 3), (F, 3)
        """A batch of one mesh."""
        return cls(vertices, faces, _ends(vertices.shape[0]), _ends(faces.shape[0]))

    @classmethod
    def shared(cls, vertices: Tensor, faces: Tensor) -> MeshBatch:  # (B, V, 3), (F, 3)
        """B meshes of one topology, for example many hypotheses of one car."""
        check_shape("vertices", vertices, None, None, 3)
        check_shape("faces", faces, None, 3)
        batch, count, _ = vertices.shape
        packed, vertex_offsets, face_offsets = _repeat_faces(faces, batch, count)
        return cls(vertices.reshape(-1, 3), packed, vertex_offsets, face_offsets)

    def repeat(self, times: int) -> MeshBatch:
        """The whole batch `times` over: meshes 0 ... B - 1, then 0 ... B - 1 again."""
        vertices, faces = self.vertices.shape[0], self.faces.shape[0]
        packed, _, _ = _repeat_faces(self.faces, times, vertices)
        steps = torch.arange(times)[:, None]

        def offsets(own: Tensor, step: int) -> Tensor:
            return torch.cat([(own[:-1] + steps * step).flatten(), own[-1:] * times])

        return MeshBatch(
            self.vertices.repeat(times, 1),
            packed,
            offsets(self.vertex_offsets, vertices),
            offsets(self.face_offsets, faces),
        )

    def vertex_batch(self) -> Tensor:
        """Index of the mesh that owns each packed vertex. Shape (sum V,) int64."""
        counts = self.vertex_offsets.diff()
        owner = torch.repeat_interleave(torch.arange(len(self)), counts)
        return owner.to(self.vertices.device)


def _offsets(name: str, offsets: Tensor, count: int, of: str) -> int:
    """Number of meshes, after a check that kernels may trust the offsets."""
    shape, device = tuple(offsets.shape), offsets.device.type
    if offsets.dtype != torch.int64 or device != "cpu" or len(shape) != 1 or not shape[0]:
        raise InputError(
            f"MeshBatch.{name} is {offsets.dtype} {shape} on {device}, expected int64 (B + 1,) on "
            "the CPU"
        )
    ends = offsets.tolist()
    if ends[0] != 0 or ends[-1] != count or any(b < a for a, b in itertools.pairwise(ends)):
        raise InputError(
            f"MeshBatch.{name} are {ends[:8]}{' ...' if len(ends) > 8 else ''}, expected numbers "
            f"that do not fall, from 0 to the {count} {of}"
        )
    return len(ends) - 1


# Callers may write into what they were given: what is kept is kept with its versions.
_repeated: OrderedDict[
    tuple[int, int, int], tuple[weakref.ref[Tensor], int, _Repeated, tuple[int, ...]]
]
_repeated = OrderedDict()
_kept: OrderedDict[int, tuple[Tensor, int]] = OrderedDict()


def kept_ends(count: int) -> Tensor:
    """(0, count), the same tensor as the last time where nobody wrote into it."""
    seen = _kept.get(count)
    if seen is not None and seen[0]._version == seen[1]:
        return seen[0]
    with torch.inference_mode(False):  # what is kept may meet autograd later
        made = torch.tensor([0, count])
    _kept[count] = (made, made._version)
    while len(_kept) > 64:
        _kept.popitem(last=False)
    return made


def _ends(count: int) -> Tensor:
    """Offsets of a batch of one, remembered: making a tensor costs more than a small kernel."""
    return torch.tensor([0, count]) if torch.compiler.is_compiling() else kept_ends(count)


def _repeat_faces(faces: Tensor, batch: int, count: int) -> _Repeated:  # (F, 3)
    """Faces of `batch` copies of a mesh of `count` vertices, and both offsets.

    The last few are kept: an optimizer asks for the same ones at every step.
    """
    if torch.compiler.is_compiling() or faces.is_inference():  # neither counts its changes
        return _repeat_faces_anew(faces, batch, count)
    key = (id(faces), batch, count)
    seen = _repeated.get(key)
    if (
        seen is not None
        and seen[0]() is faces
        and seen[1] == faces._version
        and seen[3] == tuple(t._version for t in seen[2])
    ):
        return seen[2]
    with torch.inference_mode(False):
        made = _repeat_faces_anew(faces, batch, count)
    versions = tuple(t._version for t in made)
    _repeated[key] = (weakref.ref(faces), faces._version, made, versions)
    while len(_repeated) > 8:
        _repeated.popitem(last=False)
    return made


def _repeat_faces_anew(faces: Tensor, batch: int, count: int) -> _Repeated:  # (F, 3)
    steps = torch.arange(batch + 1)
    packed = (faces + (steps[:-1] * count).to(faces.device)[:, None, None]).reshape(-1, 3)
    return packed, steps * count, steps * faces.shape[0]


def pack_meshes(meshes: list[Mesh]) -> MeshBatch:
    """Pack meshes of any sizes into one batch. Raises InputError on an empty list."""
    if not meshes:
        raise InputError("pack_meshes got an empty list, expected at least one Mesh")
    zero = torch.zeros(1, dtype=torch.int64)
    vertex_offsets = torch.cat([zero, torch.tensor([len(m.vertices) for m in meshes]).cumsum(0)])
    face_offsets = torch.cat([zero, torch.tensor([len(m.faces) for m in meshes]).cumsum(0)])
    faces = [m.faces + int(o) for m, o in zip(meshes, vertex_offsets[:-1], strict=True)]
    return MeshBatch(
        torch.cat([m.vertices for m in meshes]), torch.cat(faces), vertex_offsets, face_offsets
    )


def face_normals(vertices: Tensor, faces: Tensor) -> Tensor:  # (..., V, 3), (F, 3)
    """Unit normals of the faces, outward for counter-clockwise faces; zero if degenerate.

    Shapes: (..., V, 3), (F, 3) -> (..., F, 3). Differentiable to the vertices; a face without area
    has no direction and no gradient.
    """
    a, b, c = (vertices[..., faces[:, i], :] for i in range(3))
    return _unit(torch.linalg.cross(b - a, c - a))


def vertex_normals(vertices: Tensor, faces: Tensor) -> Tensor:  # (..., V, 3), (F, 3)
    """Area-weighted unit normals at the vertices. Shapes as `face_normals`, (..., V, 3)."""
    a, b, c = (vertices[..., faces[:, i], :] for i in range(3))
    weighted = torch.linalg.cross(b - a, c - a)
    total = torch.zeros_like(vertices)
    for i in range(3):
        total = total.index_add(-2, faces[:, i], weighted)
    return _unit(total)


def _unit(vectors: Tensor) -> Tensor:  # (..., 3)
    """Of length 1; 0 without a gradient where they are too short for a direction."""
    there = vectors.detach().norm(dim=-1, keepdim=True) > 1e-12
    some = torch.where(there, vectors, torch.ones_like(vectors))
    return torch.where(there, torch.nn.functional.normalize(some, dim=-1), 0.0)
