"""Which faces meet at each edge, worked out once for each topology.

Tables are kept by the content of the local face list, so that a new tensor with the same faces
finds them. The last tensors asked for are remembered too, by identity and torch's count of their
changes: looking at a list of faces costs more than drawing a small image.
"""

from __future__ import annotations

import functools
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock

import torch
from torch import Tensor

__all__ = ["EdgeTable", "Topology", "edge_table", "topology"]

_KEPT = 64  # topologies remembered


@dataclass(frozen=True, eq=False)
class EdgeTable:
    """Edges of one mesh, vertex indices local to it.

    Attributes:
        edges: (E, 2) int32, each edge once, lower vertex first.
        opposite_offsets: (E + 1,) int32, ranges of `opposite`.
        opposite: (at most 3 F,) int32, the third vertex of every face at the edge.
    """

    edges: Tensor  # (E, 2)
    opposite_offsets: Tensor  # (E + 1,)
    opposite: Tensor  # (N,)


@dataclass(frozen=True, eq=False)
class Topology:
    """The edge tables of a batch: distinct ones packed, and which of them each mesh has."""

    edges: Tensor  # (sum E, 2)
    opposite_offsets: Tensor  # (sum E + 1,) into `opposite`
    opposite: Tensor  # (N,)
    edge_offsets: Tensor  # (T + 1,) on the CPU
    index: Tensor  # (B,) on the CPU, which table each mesh has

    def tensors(self) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """In the order that kernels take them."""
        return self.index, self.edge_offsets, self.edges, self.opposite_offsets, self.opposite

    @classmethod
    def of(cls, tensors: Sequence[Tensor]) -> Topology:
        """From tensors in the order of `tensors()`."""
        index, edge_offsets, edges, opposite_offsets, opposite = tensors
        return cls(edges, opposite_offsets, opposite, edge_offsets, index)

    @functools.cached_property
    def addresses(self) -> tuple[int, ...]:
        """Of `tensors()`, which nobody changes."""
        return tuple(tensor.data_ptr() for tensor in self.tensors())


def edge_table(faces: Tensor) -> EdgeTable:  # (F, 3)
    """Edges of one mesh. Faces that name a vertex twice have no area and count nowhere."""
    a, b, c = faces.unbind(-1)
    faces = faces[(a != b) & (b != c) & (c != a)]
    ends = torch.cat([faces[:, [1, 2]], faces[:, [2, 0]], faces[:, [0, 1]]])
    third = torch.cat([faces[:, 0], faces[:, 1], faces[:, 2]])
    ends = ends.sort(dim=-1).values
    edges, which, counts = torch.unique(ends, dim=0, return_inverse=True, return_counts=True)
    order = torch.argsort(which, stable=True)
    offsets = torch.cat([counts.new_zeros(1), counts.cumsum(0)])
    return EdgeTable(edges.int().contiguous(), offsets.int(), third[order].int())


_cache: OrderedDict[tuple[object, ...], object] = OrderedDict()
_lock = Lock()


def _remember(key: tuple[object, ...], value: object) -> None:
    with _lock:
        _cache[key] = value
        _cache.move_to_end(key)
        while len(_cache) > _KEPT:
            _cache.popitem(last=False)


def _recall(key: tuple[object, ...]) -> object | None:
    with _lock:
        found = _cache.get(key)
        if found is not None:
            _cache.move_to_end(key)
        return found


def _key(local: Tensor) -> tuple[object, ...]:
    return (str(local.device), local.cpu().numpy().tobytes())


def _nothing(device: torch.device) -> Topology:
    """The edge tables of no mesh."""
    none = torch.zeros(0, dtype=torch.int32, device=device)
    start = torch.zeros(1, dtype=torch.int32, device=device)
    where = torch.zeros(1, dtype=torch.int64)
    return Topology(none.reshape(0, 2), start, none, where, where[:0])


def _join(tables: list[EdgeTable], index: list[int]) -> Topology:
    sizes = torch.tensor([0, *(len(t.edges) for t in tables)])
    starts = [0]
    for table in tables:
        starts.append(starts[-1] + len(table.opposite))
    offsets = [t.opposite_offsets[:-1] + s for t, s in zip(tables, starts[:-1], strict=True)]
    total = torch.tensor([starts[-1]], device=tables[0].edges.device, dtype=torch.int32)
    return Topology(
        torch.cat([t.edges for t in tables]),
        torch.cat([*offsets, total]),
        torch.cat([t.opposite for t in tables]),
        sizes.cumsum(0),
        torch.tensor(index),
    )


@dataclass(frozen=True, eq=False)
class _Seen:
    """What was asked for: the faces, torch's count of their changes, and how they were cut."""

    faces: weakref.ref[Tensor]
    version: int
    offsets: tuple[Tensor, Tensor]  # copies, since nobody counts the changes of the caller's
    table: Topology

    def fits(self, faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor) -> bool:
        return (
            self.faces() is faces
            and self.version == faces._version
            and torch.equal(self.offsets[0], vertex_offsets)
            and torch.equal(self.offsets[1], face_offsets)
        )


_recent: OrderedDict[int, _Seen] = OrderedDict()


def topology(faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor) -> Topology:
    """Edge tables of a packed batch; each distinct topology is worked out once and kept."""
    if torch.compiler.is_compiling():
        from diffrender.raster._topology_ops import traced_topology

        return traced_topology(faces, vertex_offsets, face_offsets)
    if faces.is_inference():  # does not count its changes
        return _topology(faces, vertex_offsets, face_offsets)
    seen = _recent.get(id(faces))
    if seen is not None and seen.fits(faces, vertex_offsets, face_offsets):
        return seen.table
    found = _topology(faces, vertex_offsets, face_offsets)
    offsets = (vertex_offsets.clone(), face_offsets.clone())
    with _lock:
        _recent[id(faces)] = _Seen(weakref.ref(faces), faces._version, offsets, found)
        while len(_recent) > _KEPT:
            _recent.popitem(last=False)
    return found


@torch.inference_mode(False)  # what is kept may meet autograd later
@torch.no_grad()
def _topology(faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor) -> Topology:
    vertex_start = vertex_offsets.tolist()
    face_start = face_offsets.tolist()
    count = len(face_start) - 1
    if not count:
        return _nothing(faces.device)
    first = faces[face_start[0] : face_start[1]] - vertex_start[0]
    step_v, step_f = vertex_start[1] - vertex_start[0], face_start[1] - face_start[0]
    regular = step_f * count == len(faces) and all(
        v == step_v * b and f == step_f * b
        for b, (v, f) in enumerate(zip(vertex_start, face_start, strict=True))
    )
    if regular and count > 1:
        shifts = (torch.arange(count) * step_v).to(faces.device)[:, None, None]
        regular = torch.equal(faces.view(count, step_f, 3), first + shifts)
    if regular:
        key = (count, *_key(first))
        found = _recall(key)
        if not isinstance(found, Topology):
            found = _join([edge_table(first)], [0] * count)
            _remember(key, found)
        return found

    tables: list[EdgeTable] = []
    index: list[int] = []
    seen: dict[tuple[object, ...], int] = {}
    for b in range(count):
        local = faces[face_start[b] : face_start[b + 1]] - vertex_start[b]
        key = ("one", *_key(local))
        if key not in seen:
            table = _recall(key)
            if not isinstance(table, EdgeTable):
                table = edge_table(local)
                _remember(key, table)
            seen[key] = len(tables)
            tables.append(table)
        index.append(seen[key])
    return _join(tables, index)
