"""Cameras: the pixel convention, P2's fourth column, crops, and inverses."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.cameras import Camera
from diffrender.errors import InputError

K = torch.tensor([[700.0, 0, 320.0], [0, 710.0, 120.0], [0, 0, 1]], dtype=torch.float64)


def camera(pixel_centres: str = "half") -> Camera:
    return Camera.from_intrinsics(K, (240, 640), pixel_centres=pixel_centres)  # type: ignore[arg-type]


def test_convention_integer_centres_move_by_half_a_pixel() -> None:
    cv2 = pytest.importorskip("cv2")
    point = np.array([[1.0, -0.4, 12.0]])
    theirs, _ = cv2.projectPoints(point, np.zeros(3), np.zeros(3), K.numpy(), None)
    ours, depth = camera("integer").project(torch.from_numpy(point))
    assert np.allclose(ours.numpy(), theirs.reshape(1, 2) + 0.5)
    assert float(depth[0]) == 12.0


def test_convention_p2_fourth_column_shifts_the_camera() -> None:
    p2 = torch.tensor(
        [
            [721.5377, 0, 609.5593, 44.85728],
            [0, 721.5377, 172.854, 0.2163791],
            [0, 0, 1, 0.002745884],
        ],
        dtype=torch.float64,
    )
    cam = Camera.from_projection(p2, (375, 1242), pixel_centres="integer")
    assert float(cam.translation[0]) == pytest.approx(0.0598, abs=1e-3)  # about 6 cm
    world = torch.tensor([[2.0, 1.5, 20.0]], dtype=torch.float64)
    homogeneous = p2 @ torch.cat([world[0], torch.ones(1).double()])
    pixels, depth = cam.project(world)
    assert torch.allclose(pixels[0], homogeneous[:2] / homogeneous[2] + 0.5)
    assert float(depth[0]) == pytest.approx(float(homogeneous[2]))


def test_convention_depth_is_z_not_ray_length() -> None:
    world = camera().unproject(torch.tensor([[0.0, 0.0]]).double(), torch.tensor([10.0]).double())
    assert float(world[0, 2]) == pytest.approx(10.0)
    assert float(world.norm()) > 10.5


@settings(max_examples=50, deadline=None)
@given(st.floats(0, 640), st.floats(0, 240), st.floats(0.5, 100))
def test_unproject_inverts_project(x: float, y: float, z: float) -> None:
    angle = torch.tensor(0.3, dtype=torch.float64)
    from diffrender.rotations import yaw_to_matrix

    posed = Camera(K, yaw_to_matrix(angle), torch.tensor([0.1, -0.2, 0.3]).double(), (240, 640))
    pixel = torch.tensor([[x, y]], dtype=torch.float64)
    back, depth = posed.project(posed.unproject(pixel, torch.tensor([z]).double()))
    assert torch.allclose(back, pixel, atol=1e-6)
    assert float(depth[0]) == pytest.approx(z)


def test_window_camera_sees_the_same_ray() -> None:
    window = torch.tensor([[100.0, 50.0, 220.0, 110.0], [0.0, 0.0, 640.0, 240.0]]).double()
    small = camera().crop_resize(window, (30, 40))
    point = torch.tensor([[-1.0, -0.3, 9.0]], dtype=torch.float64)
    full, _ = camera().project(point)
    inside, _ = small.project(point.expand(2, 1, 3))
    scale = torch.tensor([40.0, 30.0]).double() / (window[:, 2:] - window[:, :2])
    assert torch.allclose(inside[:, 0], (full - window[:, :2]) * scale)
    assert small.batch_shape == (2,)
    assert small[0].intrinsics.shape == (3, 3)


def test_resize_keeps_the_corner_based_centre() -> None:
    half = camera().resize((120, 320))
    assert float(half.intrinsics[0, 2]) == 160.0
    assert float(half.intrinsics[1, 1]) == 355.0


def test_centre_is_where_every_ray_starts() -> None:
    cam = Camera(K, torch.eye(3).double(), torch.tensor([0.06, 0.0, 0.0]).double(), (240, 640))
    assert torch.allclose(cam.centre, torch.tensor([-0.06, 0.0, 0.0]).double())


def test_projection_is_differentiable_to_pose_and_intrinsics() -> None:
    world = torch.tensor([[1.0, 0.5, 8.0]], dtype=torch.float64, requires_grad=True)
    k = K.clone().requires_grad_()
    t = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def project(p: torch.Tensor, intrinsics: torch.Tensor, move: torch.Tensor) -> torch.Tensor:
        pixels, z = Camera(intrinsics, torch.eye(3).double(), move, (240, 640)).project(p)
        return torch.cat([pixels, z[:, None]], dim=-1)

    assert torch.autograd.gradcheck(project, (world, k, t))


@pytest.mark.parametrize(
    ("intrinsics", "centres", "message"),
    [
        (torch.eye(2), "half", r"intrinsics has shape \(2, 2\), expected"),
        (torch.full((3, 3), float("nan")), "half", "NaN"),
        (torch.eye(3), "corner", "'half' or 'integer'"),
    ],
)
def test_bad_cameras_say_what_is_wrong(
    intrinsics: torch.Tensor, centres: str, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        Camera.from_intrinsics(intrinsics, (10, 10), pixel_centres=centres)  # type: ignore[arg-type]


def test_an_empty_image_is_refused() -> None:
    with pytest.raises(InputError, match="positive"):
        Camera.from_intrinsics(torch.eye(3), (0, 10), pixel_centres="half")


@pytest.mark.parametrize("bottom", [[0.0, 0.0, 2.0], [0.0, -1.0, 0.0]])
def test_projections_that_are_not_k_times_identity_are_refused(bottom: list[float]) -> None:
    """Twice a P2, and one of a turned camera, would put every object somewhere else."""
    rows = [[1400.0, 0, 1200, 90], [0, 1400, 340, 0], [*bottom, 0.0]]
    with pytest.raises(InputError, match="expected an upper triangle with the third row 0, 0, 1"):
        Camera.from_projection(torch.tensor(rows), (375, 1242), pixel_centres="integer")
    below = torch.eye(3) + torch.tensor([[0.0] * 3, [0.1, 0, 0], [0.0] * 3])
    with pytest.raises(InputError, match="upper triangle"):
        Camera.from_intrinsics(below, (375, 1242), pixel_centres="half")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ([0.0, 0.0, 0.0, 0.0], r"projection\[\.\.\., :3\] is .*expected an upper triangle"),
        ([0.0, 0.0, 1.0, 0.0], "expected finite numbers and focal lengths that are not 0"),
        ([0.0, 0.0, 1.0, math.inf], "expected finite numbers"),
    ],
)
def test_projections_that_cannot_be_solved_are_refused(row: list[float], message: str) -> None:
    singular = torch.zeros(3, 4)
    singular[2] = torch.tensor(row)
    with pytest.raises(InputError, match=message):
        Camera.from_projection(singular, (10, 10), pixel_centres="half")


def test_whole_number_matrices_and_sizes_of_other_kinds() -> None:
    whole = K.long()
    for make in (
        lambda: Camera.from_intrinsics(whole, (240, 640), pixel_centres="integer"),
        lambda: Camera.from_projection(
            torch.cat([whole, whole[:, :1]], 1), (240, 640), pixel_centres="half"
        ),
        lambda: Camera(K, torch.eye(3, dtype=torch.int64), torch.zeros(3).double(), (240, 640)),
    ):
        with pytest.raises(InputError, match=r"int64, expected floating numbers"):
            make()
    for size in ([240, 640], np.array([240, 640])):
        assert Camera.from_intrinsics(K, size, pixel_centres="half").size == (240, 640)  # type: ignore[arg-type]
    for size in ((240.0, 640.0), (1, 2, 3), 5):
        with pytest.raises(InputError, match=r"expected whole \(height, width\)"):
            Camera.from_intrinsics(K, size, pixel_centres="half")  # type: ignore[arg-type]


def test_windows_of_one_pose_project_and_unproject() -> None:
    windows = torch.tensor([[0.0, 0, 32, 24], [10, 10, 42, 34]], dtype=torch.float64)
    both = camera().crop_resize(windows, (24, 32))
    points = torch.rand(5, 3, dtype=torch.float64) + 1
    pixels, depth = both.project(points)
    assert pixels.shape == (2, 5, 2)
    assert depth.shape == (2, 5)
    torch.testing.assert_close(both.unproject(pixels, depth), points.expand(2, 5, 3))
    torch.testing.assert_close(both.unproject(pixels, depth[0]), points.expand(2, 5, 3))


def test_a_number_for_one_side_and_several_for_the_other() -> None:
    several = torch.tensor([1.0, 2.0], dtype=torch.float64)
    for both in (camera().crop(0.0, several, (4, 4)).intrinsics, camera().scale(several, 1.0)):
        assert both.shape == (2, 3, 3)
    torch.testing.assert_close(
        camera().crop(0.0, several, (4, 4)).intrinsics[1], camera().crop(0, 2, (4, 4)).intrinsics
    )
