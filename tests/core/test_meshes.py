"""Meshes: packing, normals and the checks at the door."""

from __future__ import annotations

import pytest
import torch

from diffrender.errors import InputError, MissingExtraError, require
from diffrender.meshes import Mesh, MeshBatch, face_normals, pack_meshes, vertex_normals

TETRA = Mesh(
    torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]),
    torch.tensor([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]]),
)


def test_packing_keeps_every_mesh_apart() -> None:
    triangle = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]))
    batch = pack_meshes([TETRA, triangle])
    assert len(batch) == 2
    assert batch.vertex_offsets.tolist() == [0, 4, 7]
    assert batch.face_offsets.tolist() == [0, 4, 5]
    assert batch.faces[4].tolist() == [4, 5, 6]
    assert batch.vertex_batch().tolist() == [0, 0, 0, 0, 1, 1, 1]


def test_shared_topology_equals_packing_copies() -> None:
    moved = Mesh(TETRA.vertices + 1, TETRA.faces)
    packed = pack_meshes([TETRA, moved])
    shared = MeshBatch.shared(torch.stack([TETRA.vertices, moved.vertices]), TETRA.faces)
    assert torch.equal(packed.vertices, shared.vertices)
    assert torch.equal(packed.faces, shared.faces)
    assert torch.equal(packed.face_offsets, shared.face_offsets)


def test_convention_normals_point_outwards_for_counter_clockwise_faces() -> None:
    normals = face_normals(TETRA.vertices, TETRA.faces)
    centres = TETRA.vertices[TETRA.faces].mean(1)
    assert ((centres - TETRA.vertices.mean(0)) * normals).sum(-1).min() > 0
    assert torch.allclose(vertex_normals(TETRA.vertices, TETRA.faces).norm(dim=-1), torch.ones(4))


def test_degenerate_faces_have_zero_normals() -> None:
    flat = torch.zeros(3, 3, requires_grad=True)
    normals = face_normals(flat, torch.tensor([[0, 1, 2]]))
    assert torch.equal(normals, torch.zeros(1, 3))
    normals.sum().backward()
    assert torch.isfinite(flat.grad).all()  # type: ignore[arg-type]


def test_dtype_and_pose_move_only_what_they_should() -> None:
    double = TETRA.to(torch.float64)
    assert double.vertices.dtype == torch.float64
    assert double.faces.dtype == torch.int64
    moved = TETRA.transformed(torch.eye(3), torch.tensor([0.0, 0.0, 5.0]))
    assert moved.vertices[0].tolist() == [0.0, 0.0, 5.0]


@pytest.mark.parametrize(
    ("vertices", "faces", "message"),
    [
        (torch.zeros(3, 2), torch.tensor([[0, 1, 2]]), r"Mesh.vertices has shape \(3, 2\)"),
        (torch.zeros(3, 3), torch.tensor([[0, 1, 3]]), "outside the 3 vertices"),
        (torch.zeros(3, 3), torch.tensor([[0, 1, 2]], dtype=torch.int32), "int64"),
    ],
)
def test_broken_meshes_are_refused(
    vertices: torch.Tensor, faces: torch.Tensor, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Mesh(vertices, faces)


def test_uv_without_its_faces_is_refused_and_so_is_an_empty_batch() -> None:
    with pytest.raises(InputError, match="come together"):
        Mesh(TETRA.vertices, TETRA.faces, uv=torch.zeros(4, 2))
    with pytest.raises(InputError, match="empty list"):
        pack_meshes([])


def test_a_missing_package_names_its_extra() -> None:
    with pytest.raises(MissingExtraError, match=r"diffrender\[viewer\]"):
        require("no_such_package_here", "viewer")


def test_slivers_have_no_direction_and_no_gradient() -> None:
    x = torch.tensor([[0.0, 0, 0], [1, 0, 0], [2, 0, 0], [0, 1, 0]], requires_grad=True)
    faces = torch.tensor([[0, 1, 2], [0, 1, 3]])
    weights = torch.tensor([1.0, 2, 3])
    (face_normals(x, faces) * weights).sum().backward()
    assert x.grad is not None
    alone = x.detach().clone().requires_grad_()
    (face_normals(alone, faces[1:]) * weights).sum().backward()
    torch.testing.assert_close(x.grad, alone.grad)
    (grad,) = torch.autograd.grad((vertex_normals(x, faces[:1]) * weights).sum(), x)
    assert torch.equal(grad, torch.zeros(4, 3))


@pytest.mark.parametrize(
    ("vertex_offsets", "face_offsets", "message"),
    [
        ([0, 50], [0, 4], r"vertex_offsets are \[0, 50\], expected .* to the 4 vertices"),
        ([0, 2], [0, 4], "vertex_offsets are"),
        ([1, 4], [0, 4], "vertex_offsets are"),
        ([0, 5, 4], [0, 4, 4], "do not fall"),
        ([0, 4], [0, 7], r"face_offsets are \[0, 7\], expected .* to the 4 faces"),
        ([0, 2, 4], [0, 4], "of 2 meshes and face_offsets of 1"),
        ([], [0, 4], r"torch.int64 \(0,\)"),
    ],
)
def test_offsets_that_kernels_must_not_trust_are_refused(
    vertex_offsets: list[int], face_offsets: list[int], message: str
) -> None:
    with pytest.raises(InputError, match=message):
        MeshBatch(
            TETRA.vertices,
            TETRA.faces,
            torch.tensor(vertex_offsets, dtype=torch.int64),
            torch.tensor(face_offsets),
        )
    ends = torch.tensor([0, 4])
    with pytest.raises(InputError, match=r"int32 \(2,\) on cpu, expected int64"):
        MeshBatch(TETRA.vertices, TETRA.faces, ends.int(), ends)


def test_what_a_batch_is_given_may_be_written_into() -> None:
    faces = TETRA.faces.clone()
    several = TETRA.vertices.expand(2, -1, -1)
    first = MeshBatch.shared(several, faces)
    expected = first.faces.clone()
    first.faces[:] = first.faces.flip(1)
    assert torch.equal(MeshBatch.shared(several, faces).faces, expected)
    single = MeshBatch.single(TETRA.vertices, faces)
    single.vertex_offsets.add_(5)
    assert MeshBatch.single(TETRA.vertices, faces).vertex_offsets.tolist() == [0, 4]
