"""What concerns an object, looked at and drawn within a part of the image."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from diffrender.cameras import Camera
from diffrender.instances import Instance, box_of_mask
from diffrender.raster import rasterize
from diffrender.reconstruct.crops import crop_evidence
from diffrender.reconstruct.observations import DepthNoise, observe
from diffrender.reconstruct.windows import Drawn, Window, draw_alone
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import load_prior

SIZE = (120, 200)
CAMERA = Camera.from_intrinsics(
    torch.tensor([[200.0, 0, 100], [0, 200, 60], [0, 0, 1]]), SIZE, pixel_centres="half"
)
WHOLE = Window(0, 0, 200, 120)


def test_window_of_a_box_holds_every_pixel_that_it_touches() -> None:
    assert Window.of_box([10.2, 5.0, 20.1, 8.0], SIZE) == Window(10, 5, 21, 8)
    assert Window.of_box([10.2, 5.0, 20.1, 8.0], SIZE, margin=2) == Window(8, 3, 23, 10)
    assert Window.of_box([-5.0, -1.0, 900.0, 119.5], SIZE) == WHOLE
    beside = Window.of_box([300.0, 20.0, 310.0, 22.0], SIZE)
    assert beside == Window(199, 20, 200, 22)
    assert Window.of_box([-9.0, -9.0, -4.0, -4.0], SIZE) == Window(0, 0, 1, 1)
    assert beside.joined(Window(3, 30, 5, 31)) == Window(3, 20, 200, 31)
    assert beside.size == (2, 1)


def test_drawing_in_place_puts_a_window_where_it_was() -> None:
    drawn = Drawn(Window(4, 2, 7, 4), torch.arange(1.0, 7).view(2, 3))
    inside = drawn.within(Window(3, 1, 9, 5))
    expected = np.zeros((4, 6))
    expected[1:3, 1:4] = [[1, 2, 3], [4, 5, 6]]
    assert np.array_equal(inside, expected)


@pytest.mark.parametrize(
    ("place", "yaw", "lens"),
    [
        ((0.0, 1.2, 9.0), 1.0, False),
        ((-4.5, 1.0, 8.0), 0.3, False),  # cut by the border
        ((30.0, 1.0, 9.0), 0.3, False),  # outside
        ((0.5, 1.2, 1.0), 1.4, False),  # around the camera
        ((2.0, 1.2, 7.0), 0.8, True),
    ],
)
def test_an_object_is_drawn_as_into_the_whole_image(
    place: tuple[float, float, float], yaw: float, lens: bool
) -> None:
    prior = load_prior("car")
    mesh = prior.mesh(torch.zeros(prior.latent_size))
    posed = mesh.transformed(yaw_to_matrix(torch.tensor(yaw)), torch.tensor(place))
    camera = CAMERA
    if lens:
        bent = torch.tensor([-0.2, 0.05, 0.001, -0.001, 0.0])
        camera = dataclasses.replace(camera, distortion=bent)
    drawn = draw_alone(posed.vertices, posed.faces, camera)
    whole = rasterize(posed, camera).depth[..., 0].numpy()
    placed = drawn.within(WHOLE)
    away = (placed > 0) != (whole > 0)
    assert away.sum() <= 1e-3 * (whole > 0).sum()  # centres on an edge, by rounding
    both = (placed > 0) & (whole > 0)
    np.testing.assert_allclose(placed[both], whole[both], rtol=1e-3)
    assert (drawn.window.size != SIZE) == (place[2] > 2)


def test_evidence_does_not_hang_on_the_image_around_an_object() -> None:
    """The same picture in the corner of a larger one, whose camera looks the same way."""
    draw = np.random.default_rng(0)
    image = draw.integers(0, 256, (*SIZE, 3), dtype=np.uint8)
    depth = draw.uniform(9, 11, SIZE).astype(np.float32)
    masks = [np.zeros(SIZE, bool) for _ in range(2)]
    masks[0][30:70, 50:110] = True
    masks[1][60:120, 100:200] = True
    masks[1] &= ~masks[0]

    def evidence(pad: int) -> tuple[torch.Tensor, ...]:
        def padded(array: np.ndarray) -> np.ndarray:
            return np.pad(array, [(pad, 0), (pad, 0)] + [(0, 0)] * (array.ndim - 2))

        camera = CAMERA.crop(-pad, -pad, (SIZE[0] + pad, SIZE[1] + pad))
        instances = [
            Instance(padded(m), box_of_mask(padded(m)), "Car", 1.0, str(k))
            for k, m in enumerate(masks)
        ]
        seen, _ = observe(instances, instances, camera, padded(depth))
        crops = crop_evidence(
            seen, padded(image), padded(depth), camera, DepthNoise(), (32, 32),
            (torch.ones(2, 3), torch.ones(2, 3)),
        )  # fmt: skip
        found = crops.evidence
        points = torch.from_numpy(np.concatenate([o.points for o in seen]))
        return found.mask, found.care, found.depth, found.image, found.open_sides, points

    for small, large in zip(evidence(0), evidence(300), strict=True):
        torch.testing.assert_close(small, large, atol=2e-4, rtol=1e-4)
