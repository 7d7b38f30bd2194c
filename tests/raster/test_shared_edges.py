"""Edges through pixel centres belong to one face; faces that name a vertex twice draw nothing."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import DOUBLE, EACH_BACKEND

from diffrender.cameras import Camera
from diffrender.raster import rasterize
from diffrender.raster.torch_raster import cross_product, edge_functions

pytestmark = EACH_BACKEND
FLOAT = torch.float32
SIZE = (20, 24)
INTRINSICS = torch.tensor([[30.0, 0.4, 12.0], [0.0, 33.0, 10.0], [0.0, 0.0, 1.0]], dtype=DOUBLE)


def camera(dtype: torch.dtype) -> Camera:
    return Camera(
        INTRINSICS.to(dtype), torch.eye(3, dtype=dtype), torch.zeros(3, dtype=dtype), SIZE
    )


@pytest.mark.parametrize("dtype", [FLOAT, DOUBLE])
def test_a_diagonal_through_pixel_centres_has_no_crack(backend: str, dtype: torch.dtype) -> None:
    """The two faces of a square split there, at uneven depths: every pixel is hit just once."""
    generator = torch.Generator().manual_seed(0)
    corners = torch.tensor([[0.5, 0.5, 1], [23.5, 0.5, 1], [19.5, 19.5, 1], [0.5, 19.5, 1]])
    faces, wrong = torch.tensor([[0, 1, 2], [0, 2, 3]]), 0
    for _ in range(60):
        depth = 1 + 3 * torch.rand(4, 1, generator=generator, dtype=DOUBLE)
        vertices = torch.linalg.solve(INTRINSICS, (corners.double() * depth).mT).mT.to(dtype)
        face = rasterize((vertices, faces), camera(dtype), layers=2, backend=backend).face
        hits = (face >= 0).sum(-1).diagonal()[1:19]
        wrong += int((hits != 1).sum())
    assert wrong == 0


def test_faces_that_name_a_vertex_twice_draw_nothing(backend: str) -> None:
    generator = torch.Generator().manual_seed(1)
    for _ in range(10):
        vertices = torch.randn(60, 3, generator=generator, dtype=DOUBLE) + torch.tensor([0, 0, 4])
        a, b = torch.randint(0, 60, (2, 400), generator=generator)
        orders = [torch.stack(one, 1) for one in ((a, a, b), (a, b, a), (b, a, a))]
        found = rasterize((vertices, torch.cat(orders)), camera(DOUBLE), backend=backend)
        assert bool((found.face < 0).all())


def test_edge_functions_are_antisymmetric_to_the_bit(backend: str) -> None:
    if backend != "torch":
        pytest.skip("of the plain twin")
    points = torch.randn(1000, 3, 3, generator=torch.Generator().manual_seed(2), dtype=DOUBLE)
    one, two = points[:, 0], points[:, 1]
    assert torch.equal(cross_product(one, two), -cross_product(two, one))
    torch.testing.assert_close(cross_product(one, two), torch.linalg.cross(one, two))
    assert torch.equal(edge_functions(points), -edge_functions(points[:, [1, 0, 2]])[:, [1, 0, 2]])
