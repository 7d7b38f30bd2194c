"""Discrete moves: what each makes, and that only a better one is kept."""

from __future__ import annotations

import math

import pytest
import torch

from diffrender.cameras import Camera
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.moves import turn_between, with_moves

CAMERA = Camera.from_intrinsics(
    torch.tensor([[700.0, 0, 600], [0, 700, 180], [0, 0, 1]], dtype=torch.float64),
    (360, 1200),
    pixel_centres="half",
)
BOXES = torch.tensor([[500.0, 150, 700, 250], [100.0, 150, 200, 200]], dtype=torch.float64)


def two() -> Hypotheses:
    angles = torch.zeros(2, 3, dtype=torch.float64)
    angles[:, 0] = torch.tensor([0.3, -1.0])
    size = torch.tensor([[3.9, 1.6, 1.5]], dtype=torch.float64)
    return Hypotheses(
        owner=torch.tensor([0, 1]),
        offset=torch.zeros(2, 2, dtype=torch.float64),
        log_depth=torch.full((2,), math.log(14.0), dtype=torch.float64),
        angles=angles,
        log_apparent=torch.log(size / 14.0).repeat(2, 1),
        latent=torch.zeros(2, 8, dtype=torch.float64),
    )


def test_no_move_changes_nothing() -> None:
    moved, source = with_moves(two())
    assert source == [0, 1]
    assert torch.equal(moved.angles, two().angles)


def test_a_jump_goes_along_the_ray_and_keeps_the_size() -> None:
    moved, source = with_moves(two(), jumps=(0.1, -0.1))
    assert source == [0, 1, 0, 1, 0, 1]
    _, bottom, size = moved.pose(CAMERA, BOXES)
    assert torch.allclose(size, size[:1].expand_as(size))
    centre = bottom - torch.tensor([0.0, 0.75, 0.0]).double()
    pixels, depth = CAMERA.project(centre)
    assert depth[2:].tolist() == pytest.approx([15.4, 15.4, 12.6, 12.6])
    assert torch.allclose(pixels[2:4], pixels[:2])
    assert torch.allclose(pixels[4:], pixels[:2])


def test_a_swap_keeps_the_footprint() -> None:
    moved, source = with_moves(two(), swap=True)
    assert source == [0, 1, 0, 1, 0, 1]
    rotation, _, size = moved.pose(CAMERA, BOXES)
    corner = torch.tensor([[1.0, 0, 1], [1, 0, -1], [-1, 0, 1], [-1, 0, -1]]).double() / 2
    scale = torch.stack([size[:, 0], 0 * size[:, 0], size[:, 1]], dim=1)
    corners = (corner * scale[:, None]) @ rotation.mT
    for k in (2, 4):
        distance = torch.cdist(corners[k], corners[0]).amin(1)
        assert distance.max() < 1e-6
    headings = [turn_between(float(moved.angles[k, 0]), 0.3) for k in (2, 4)]
    assert headings == pytest.approx([math.pi / 2, math.pi / 2])


def test_turns_between_headings() -> None:
    assert turn_between(0.1, 2 * math.pi + 0.2) == pytest.approx(0.1)
    assert turn_between(3.0, -3.0) == pytest.approx(2 * math.pi - 6)
