"""What a drawing needs besides vertices, attributes and camera, prepared once and remembered."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from threading import Lock

import torch
from torch import Tensor

from diffrender.native.operators import plain
from diffrender.raster._topology import Topology, topology

__all__ = ["Scene", "new_scene", "scene_of"]

# Where DrawCall of native/src/drawn.h has what differs from call to call.
_POINTS, _K, _R, _T, _EACH, _H, _VALUES, _ROWS, _CHANNELS, _SHOWN = 0, 1, 2, 3, 4, 5, 18, 19, 21, 22
_NUMBERS = 26


def _changes(faces: Tensor, vertex_offsets: Tensor, face_offsets: Tensor) -> int:
    return faces._version + vertex_offsets._version + face_offsets._version


class Scene:
    """Packed meshes without their vertices, and what their images are like.

    Attributes:
        faces: (sum F, 3), contiguous.
        vertex_offsets, face_offsets: (B + 1,).
        table: the edges.
        shape: (..., H, W) of the images.
        corners: attributes are those of face corners.
        cull: leave out faces that are turned away.
        counted: whether torch counts the changes of `faces` and offsets; not those of inference
            tensors.
        version: that count when this was prepared.
    """

    __slots__ = (
        "_numbers", "corners", "counted", "cull", "face_offsets", "faces", "shape", "table",
        "version", "vertex_offsets",
    )  # fmt: skip

    def __init__(
        self,
        faces: Tensor,
        vertex_offsets: Tensor,
        face_offsets: Tensor,
        table: Topology,
        shape: Sequence[int],
        corners: bool,
        cull: bool,
    ) -> None:
        self.faces, self.vertex_offsets, self.face_offsets = faces, vertex_offsets, face_offsets
        self.table, self.shape, self.corners, self.cull = table, tuple(shape), corners, cull
        self.counted = not (
            torch.compiler.is_compiling()
            or faces.is_inference()
            or vertex_offsets.is_inference()
            or face_offsets.is_inference()
        )
        self.version = _changes(faces, vertex_offsets, face_offsets) if self.counted else 0
        self._numbers: array[int] | None = None

    def changed(self) -> bool:
        """Whether faces or offsets were changed in place since this was prepared."""
        now = _changes(self.faces, self.vertex_offsets, self.face_offsets) if self.counted else 0
        return now != self.version

    def tensors(self) -> list[Tensor]:
        """In the order that operators take them."""
        return [self.faces, self.vertex_offsets, self.face_offsets, *self.table.tensors()]

    def _prepared(self) -> array[int]:
        tensors = self.tensors()
        places = [tensor.data_ptr() for tensor in tensors]
        *_, height, width = self.shape
        about = (self.face_offsets.shape[0] - 1, height, width, self.cull)
        head, tail = (0,) * 6, (0, 0, self.corners, 0, 0, 0, 0, 0)
        self._numbers = array("q", (*head, *places[:3], *about, *places[3:], *tail))
        return self._numbers

    def call(
        self,
        points: Tensor,
        view: tuple[Tensor | None, ...],
        values: Tensor,
        h: int = 0,
        shown: int = 0,
    ) -> array[int]:
        """DrawCall of native/src/drawn.h; addresses that are 0 are memory of the call's own."""
        call = (self._numbers or self._prepared())[:]
        k, r, t = view
        call[_POINTS] = points.data_ptr()
        if k is not None and r is not None and t is not None:
            call[_K], call[_R], call[_T] = k.data_ptr(), r.data_ptr(), t.data_ptr()
            call[_EACH] = k.ndim == 3
        call[_VALUES] = values.data_ptr()
        call[_ROWS], call[_CHANNELS] = values.shape
        call[_H], call[_SHOWN] = h, shown
        return call


def new_scene(
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    shape: tuple[int, ...],
    corners: bool,
    cull: bool,
) -> Scene:
    """The scene, remembering nothing; also where a graph is traced."""
    faces = plain(faces)
    table = topology(faces, vertex_offsets, face_offsets)
    return Scene(faces, vertex_offsets, face_offsets, table, shape, corners, cull)


_recent: dict[tuple[object, ...], Scene] = {}
_KEPT, _LARGEST = 8, 1 << 18  # scenes remembered, and faces of the largest of them
_lock = Lock()


def scene_of(
    faces: Tensor,
    vertex_offsets: Tensor,
    face_offsets: Tensor,
    shape: tuple[int, ...],
    corners: bool,
    cull: bool,
) -> Scene:
    """The scene of these very tensors; the last few are remembered."""
    key = (id(faces), id(vertex_offsets), id(face_offsets), shape, corners, cull)
    seen = _recent.get(key)
    # What is remembered holds its tensors, so no other one can have their identity.
    if seen is not None and not seen.changed():
        return seen
    made = new_scene(faces, vertex_offsets, face_offsets, shape, corners, cull)
    if made.faces is faces and made.counted and faces.shape[0] <= _LARGEST:
        with _lock:
            _recent[key] = made
            while len(_recent) > _KEPT:
                del _recent[next(iter(_recent))]
    return made
