"""Lens distortion: OpenCV's model, its inverse, its valid radius, and cameras that carry it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.lens import distort, undistort, valid_radius

DOUBLE = torch.float64
BARREL = [-0.3, 0.05, 1e-3, -2e-3]
LENSES = [
    BARREL,
    [-0.28, 0.09, 1e-3, -2e-3, -0.01],
    [0.2, -0.05, 1e-3, 2e-3, 0.01, 0.1, 0.05, 0.002],
]
ANGLES = (0.1, -0.2, 0.05)


def tensor(values: object) -> Tensor:
    return torch.tensor(values, dtype=DOUBLE)


def rotation() -> Tensor:
    cv2 = pytest.importorskip("cv2")
    return torch.from_numpy(cv2.Rodrigues(np.array(ANGLES))[0])


def camera(lens: list[float], skew: float = 0.0) -> Camera:
    intrinsics = tensor([[700.0, skew, 320.0], [0.0, 710.0, 240.0], [0.0, 0.0, 1.0]])
    return Camera.from_intrinsics(
        intrinsics,
        (480, 640),
        pixel_centres="integer",
        rotation=rotation(),
        translation=tensor([0.1, 0.2, 0.3]),
        distortion=tensor(lens),
    )


def cloud(count: int = 200) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    unit = torch.rand((count, 3), generator=generator, dtype=DOUBLE)
    return unit * tensor([4.0, 3.0, 5.0]) - tensor([2.0, 1.5, -4.0])


@pytest.mark.parametrize("lens", LENSES)
def test_convention_coefficients_are_opencvs(lens: list[float]) -> None:
    cv2 = pytest.importorskip("cv2")
    ours = camera(lens)
    k = ours.intrinsics.clone()
    k[:2, 2] -= 0.5  # OpenCV counts from the centre of the first pixel
    shift = ours.translation.numpy()
    theirs, _ = cv2.projectPoints(
        cloud().numpy(), np.array(ANGLES), shift, k.numpy(), np.array(lens)
    )
    pixels, depth = ours.project(cloud())
    assert float((pixels - torch.from_numpy(theirs[:, 0]) - 0.5).abs().max()) < 1e-9
    assert bool((depth == ours.world_to_camera(cloud())[:, 2]).all())
    pinhole = Camera(ours.intrinsics, ours.rotation, ours.translation, ours.size)
    assert float((pinhole.project(cloud())[0] - pixels).abs().max()) > 1.0


@pytest.mark.parametrize("lens", LENSES)
def test_unproject_inverts_project(lens: list[float]) -> None:
    ours = camera(lens, skew=3.0)
    pixels, depth = ours.project(cloud())
    assert float((ours.unproject(pixels, depth) - cloud()).abs().max()) < 1e-9
    single = ours.to(torch.float32)
    back = single.unproject(*single.project(cloud().float()))
    assert float((back - cloud().float()).abs().max()) < 1e-4


@pytest.mark.parametrize("lens", LENSES)
def test_gradcheck_distort_and_undistort(lens: list[float]) -> None:
    points = tensor([[0.1, -0.2], [0.5, 0.3], [-0.6, 0.45], [3.0, -14.0]]).requires_grad_()
    k = tensor(lens).requires_grad_()
    assert torch.autograd.gradcheck(distort, (points, k), eps=1e-6, atol=1e-6)
    seen = distort(points, k).detach().requires_grad_()
    assert torch.autograd.gradcheck(undistort, (seen, k), eps=1e-6, atol=1e-6)


def test_gradcheck_beyond_the_valid_radius() -> None:
    """The rim moves with the coefficients, also the rational ones, and the gradient knows it."""
    points = tensor([[1.5, 0.4], [-0.9, 2.0]]).requires_grad_()
    for lens in ([-0.3, 0.01, 1e-3, -2e-3], [-0.3, 0, 0, 0, 0.01, 0.05, -0.01, 0.002]):
        k = tensor(lens).requires_grad_()
        assert float(valid_radius(k).detach()) < 1.4
        assert torch.autograd.gradcheck(valid_radius, (k,), eps=1e-6)
        assert torch.autograd.gradcheck(distort, (points, k), eps=1e-6, atol=1e-6)
        seen = distort(points, k).detach().requires_grad_()
        assert torch.autograd.gradcheck(undistort, (seen, k), eps=1e-6, atol=1e-6)


def test_gradcheck_project_and_unproject() -> None:
    base = camera(LENSES[2])
    points, shift = cloud(4), base.translation
    pixels, depth = base.project(points)

    def both(points: Tensor, rows: Tensor, turn: Tensor, shift: Tensor, lens: Tensor, seen: Tensor):  # type: ignore[no-untyped-def]
        k = torch.cat([rows, base.intrinsics[2:]])
        one = Camera(k, turn, shift, base.size, lens)
        return one.project(points)[0], one.unproject(seen, depth)

    inputs = (points, base.intrinsics[:2], base.rotation, shift, base.distortion, pixels)
    leaves = tuple(t.detach().clone().requires_grad_() for t in inputs if t is not None)
    assert torch.autograd.gradcheck(both, leaves, eps=1e-6, atol=1e-5)


def test_the_valid_radius_is_where_the_radial_part_stops_growing() -> None:
    # 1 + 3 k1 s = 0 at s = -1 / (3 k1); without coefficients, or growing always: the bound, 10.
    assert float(valid_radius(tensor([-0.3, 0, 0, 0]))) == pytest.approx(
        (1 / 0.9) ** 0.5, rel=1e-12
    )
    assert float(valid_radius(tensor([0.0, 0, 0, 0]))) == 10.0
    assert float(valid_radius(tensor([0.3, 0.1, 0, 0]))) == 10.0
    # A pole: 1 - s = 0.01 at s = 0.99, before which r / (1 - s) only grows.
    pole = tensor([0.0, 0, 0, 0, 0, -1.0, 0, 0])
    assert float(valid_radius(pole)) == pytest.approx(0.99**0.5, rel=1e-9)
    stacked = valid_radius(torch.stack([pole, torch.zeros(8, dtype=DOUBLE)]))
    assert stacked.tolist() == pytest.approx([0.99**0.5, 10.0])


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*(st.floats(-0.6, 0.6) for _ in range(3))),
    st.sampled_from([0, 3]),
    st.floats(0, 2 * np.pi),
)
def test_nothing_folds_back(radial: tuple[float, ...], poles: int, angle: float) -> None:
    """Along a ray the seen radius never falls, and beyond the valid radius it rises by as much."""
    lens = [radial[0], radial[1], 0, 0, radial[2], *([0.3, -0.1, 0.02][:poles] or [0, 0, 0])]
    radius = torch.linspace(0, 40, 401, dtype=DOUBLE)
    direction = tensor([np.cos(angle), np.sin(angle)])
    seen = distort(radius[:, None] * direction, tensor(lens))
    assert bool(torch.isfinite(seen).all())
    along = seen @ direction
    assert float(along.diff().min()) > -1e-9
    beyond = radius[:-1] >= valid_radius(tensor(lens))
    assert torch.allclose(along.diff()[beyond], torch.full((int(beyond.sum()),), 0.1).double())
    back = undistort(seen, tensor(lens))
    miss = (distort(back, tensor(lens)) - seen).abs().amax(-1)
    assert float((miss / (1 + radius + seen.norm(dim=-1))).max()) < 1e-8


def test_points_at_and_behind_the_camera_stay_finite() -> None:
    ours = camera(BARREL)
    points = tensor([[0.5, 0.2, 0.0], [0.5, 0.2, -1.0], [0.0, 0.0, 0.0], [9e6, 1.0, 1e-9]])
    points = ours.camera_to_world(points).requires_grad_()
    pixels, _ = ours.project(points)
    (grad,) = torch.autograd.grad(pixels.sum(), points)
    assert bool(torch.isfinite(pixels).all() and torch.isfinite(grad).all())


def test_the_lens_has_no_gradient_from_points_behind_the_camera() -> None:
    base = camera(BARREL)
    lens = tensor(BARREL).requires_grad_()
    ours = Camera(base.intrinsics, base.rotation, base.translation, base.size, lens)
    behind = ours.camera_to_world(tensor([[0.5, 0.2, -1.0], [0.1, -0.3, 0.0]]))
    (grad,) = torch.autograd.grad(ours.project(behind)[0].sum(), lens)
    assert bool((grad == 0).all())


def test_unprojecting_at_the_rim_has_a_bounded_gradient() -> None:
    """There the radial slope is 0 and the inverse's infinite."""
    k = tensor([-0.3, 0.0, 0.0, 0.0])
    rim = distort(tensor([[float(valid_radius(k)), 0.0]]), k).requires_grad_()
    (grad,) = torch.autograd.grad(undistort(rim, k).sum(), rim)
    assert bool(torch.isfinite(grad).all()) and float(grad.abs().max()) < 1e7


def test_crops_resizes_and_batches_keep_the_lens() -> None:
    ours = camera(BARREL)
    pixels, _ = ours.project(cloud())
    smaller = ours.crop(30.0, 10.0, (300, 400)).resize((150, 100))
    moved = (pixels - tensor([30.0, 10.0])) * tensor([0.25, 0.5])
    torch.testing.assert_close(smaller.project(cloud())[0], moved)
    window = tensor([[10.0, 20.0, 110.0, 220.0], [0.0, 0.0, 640.0, 480.0]])
    both = ours.crop_resize(window, (200, 100))
    torch.testing.assert_close(both[0].project(cloud())[0], pixels - tensor([10.0, 20.0]))
    batch = Camera(
        ours.intrinsics,
        ours.rotation,
        ours.translation,
        ours.size,
        tensor([BARREL, [0.1, 0, 0, 0]]),
    )
    assert batch.batch_shape == (2,)
    torch.testing.assert_close(batch.project(cloud())[0][0], pixels)
    torch.testing.assert_close(batch[1].project(cloud())[0], batch.project(cloud())[0][1])
    assert batch[0].distortion is not None
    assert batch.expand(3, 2)[0].distortion.shape == (2, 4)  # type: ignore[union-attr]


def test_a_wrong_lens_is_named() -> None:
    one = torch.eye(3)
    with pytest.raises(InputError, match=r"Camera.distortion has shape \(6,\).*OpenCV"):
        Camera(one, one, torch.zeros(3), (4, 4), torch.zeros(6))
    with pytest.raises(InputError, match=r"Camera.distortion is torch.float64"):
        Camera(one, one, torch.zeros(3), (4, 4), torch.zeros(4, dtype=DOUBLE))
