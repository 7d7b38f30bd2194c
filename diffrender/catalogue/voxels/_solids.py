"""Which voxels a mesh fills: closed parts are solid, open sheets get a thickness."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.meshes import face_normals
from diffrender.shape_priors import voxel_occupancy

__all__ = ["filled_share", "thicken_open_parts"]


def filled_share(
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    low: Tensor,  # (3,)
    edge: float,
    counts: tuple[int, int, int],
) -> Tensor:
    """Share of each voxel that a closed mesh fills, from 2 x 2 x 2 points. Shape (D, H, W).

    Args:
        vertices: (V, 3) world, metres.
        faces: (F, 3) int64 of closed parts.
        low: (3,) smallest corner of the grid.
        edge: of a voxel, metres.
        counts: voxels along z, y and x.

    Raises:
        InputError: the mesh is not closed, or there are too many voxels.
    """
    depth, height, width = counts
    high = low + edge * low.new_tensor([width, height, depth])
    fine = voxel_occupancy(vertices, faces, low, high, (2 * width, 2 * height, 2 * depth))
    shares = torch.nn.functional.avg_pool3d(fine.to(vertices)[None], 2)[0]
    return shares.permute(2, 1, 0).contiguous()


def thicken_open_parts(
    vertices: Tensor,  # (V, 3)
    faces: Tensor,  # (F, 3)
    thickness: float,
) -> tuple[Tensor, Tensor]:
    """A mesh whose parts are all closed: faces of open parts become prisms below their front.

    Parts are faces that share vertices. Returns vertices (V', 3) and faces (F', 3).
    """
    loose = _open_faces(faces, len(vertices))
    sheet = faces[loose]
    top = vertices[sheet]  # (S, 3, 3)
    bottom = top - thickness * face_normals(vertices, sheet)[:, None]
    prism = torch.tensor(
        [[0, 1, 2], [5, 4, 3], [0, 3, 1], [1, 3, 4], [1, 4, 2], [2, 4, 5], [2, 5, 0], [0, 5, 3]],
        device=faces.device,
    )
    first = len(vertices) + 6 * torch.arange(len(sheet), device=faces.device)
    walls = (first[:, None, None] + prism).reshape(-1, 3)
    corners = torch.cat([top, bottom], dim=1).reshape(-1, 3)
    return torch.cat([vertices, corners]), torch.cat([faces[~loose], walls])


def _open_faces(faces: Tensor, vertex_count: int) -> Tensor:
    """(F,) bool: faces of parts with an edge that no face runs along the other way."""
    part = torch.arange(vertex_count, device=faces.device)
    while True:  # labels sink to the smallest of their part
        lowest = part[faces].amin(1, keepdim=True).expand(-1, 3).reshape(-1)
        sunk = part.scatter_reduce(0, faces.reshape(-1), lowest, "amin")
        sunk = sunk[sunk]
        if torch.equal(sunk, part):
            break
        part = sunk
    start, end = faces.reshape(-1), faces.roll(-1, dims=1).reshape(-1)
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    edges, which = (low * vertex_count + high).unique(return_inverse=True)
    balance = torch.zeros_like(edges).index_add_(0, which, torch.where(start < end, 1, -1))
    unmatched = start[balance[which] != 0]
    return torch.isin(part[faces[:, 0]], part[unmatched])
