"""Points drawn as discs: visibility by hand, order, batches, gradients."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_scenes import DOUBLE, EACH_BACKEND, NEEDS_NATIVE, flat_camera, pinhole, weights
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.raster import rasterize_points

LENS = torch.tensor([-0.2, 0.05, 1e-3, -2e-3], dtype=DOUBLE)


def cloud(count: int, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    """Points before `pinhole((12, 14), focal=10)`, at depths 1 to 3."""
    unit = weights(torch.Size((count, 3)), seed, dtype)
    spread = torch.tensor([1.6, 1.4, 2.0], dtype=dtype)
    return unit * spread + torch.tensor([-0.8, -0.7, 1.0], dtype=dtype)


@EACH_BACKEND
def test_convention_radius_and_squared_distance_are_in_pixels(backend: str) -> None:
    """A point at pixel (2.25, 1.5), twice as far away: its disc is as large."""
    for z in (1.0, 2.0):
        point = torch.tensor([[2.25 * z, 1.5 * z, z]], dtype=DOUBLE)
        found = rasterize_points(point, flat_camera((4, 5)), radius=1.0, backend=backend)
        hits = (found.point[..., 0] >= 0).nonzero().tolist()
        assert hits == [[1, 1], [1, 2]]
        assert found.squared_distance[1, :, 0].tolist() == pytest.approx(
            [0, 0.75**2, 0.25**2, 0, 0]
        )
        assert found.depth[1, :, 0].tolist() == pytest.approx([0, z, z, 0, 0])
        assert torch.equal(found.mask(), (found.point[..., 0] >= 0).double())


@EACH_BACKEND
def test_a_pixel_at_the_radius_is_hit(backend: str) -> None:
    point = torch.tensor([[2.5, 2.5, 1.0]], dtype=DOUBLE)
    found = rasterize_points(point, flat_camera((5, 5)), radius=2.0, backend=backend)
    reach = (torch.arange(5) - 2).square()
    assert torch.equal(found.point[..., 0] >= 0, reach[:, None] + reach <= 4)


@EACH_BACKEND
def test_nearest_first_and_ties_to_the_lower_index(backend: str) -> None:
    at = torch.tensor([0.5, 0.5, 1.0], dtype=DOUBLE)
    points = torch.stack([at * z for z in (3.0, 2.0, 1.0, 2.0)])
    found = rasterize_points(points, flat_camera((1, 1)), radius=0.5, layers=5, backend=backend)
    assert found.point[0, 0].tolist() == [2, 1, 3, 0, -1]
    assert found.depth[0, 0].tolist() == [1.0, 2.0, 2.0, 3.0, 0.0]


@EACH_BACKEND
def test_points_at_or_behind_the_near_plane_are_not_drawn(backend: str) -> None:
    z = torch.tensor([-1.0, 0.0, 0.01, 0.0101], dtype=DOUBLE)
    points = (torch.tensor([0.5, 0.5, 1.0]).double() * z[:, None]).requires_grad_()
    found = rasterize_points(points, flat_camera((1, 1)), radius=0.5, layers=4, backend=backend)
    assert found.point[0, 0].tolist() == [3, -1, -1, -1]
    (grad,) = torch.autograd.grad((found.depth + found.squared_distance).sum(), points)
    assert bool(torch.isfinite(grad).all()) and bool((grad[:3] == 0).all())


@EACH_BACKEND
@settings(max_examples=25, deadline=None)
@given(st.integers(0, 12), st.integers(1, 4), st.floats(0.3, 4.0), st.integers(0, 1000))
def test_against_a_loop(backend: str, count: int, layers: int, radius: float, seed: int) -> None:
    points = cloud(count, seed)
    camera = pinhole((6, 7), focal=6.0)
    found = rasterize_points(points, camera, radius=radius, layers=layers, backend=backend)
    pixels, depth = camera.project(points)
    for row in range(6):
        for column in range(7):
            centre = torch.tensor([column + 0.5, row + 0.5], dtype=DOUBLE)
            square = (pixels - centre).square().sum(-1)
            hits = sorted((float(depth[i]), i) for i in range(count) if square[i] <= radius**2)
            wanted = [i for _, i in hits[:layers]] + [-1] * (layers - len(hits))
            assert found.point[row, column].tolist() == wanted
            for k, i in enumerate(wanted):
                if i >= 0:
                    assert float(found.squared_distance[row, column, k]) == pytest.approx(
                        float(square[i]), abs=1e-12
                    )


@EACH_BACKEND
def test_ragged_clouds_equal_cameras_and_many_views(backend: str) -> None:
    clouds = [cloud(5), cloud(0), cloud(9, 1)]
    camera = pinhole((12, 14), focal=10.0)
    batch = rasterize_points(clouds, camera, radius=1.5, layers=2, backend=backend)
    assert batch.point.shape == (3, 12, 14, 2)
    assert batch.offsets.tolist() == [0, 5, 5, 14]
    assert bool((batch.point[1] < 0).all())
    alone = rasterize_points(clouds[2], camera, radius=1.5, layers=2, backend=backend)
    assert torch.equal(batch.point[2], torch.where(alone.point < 0, -1, alone.point + 5))
    torch.testing.assert_close(batch.depth[2], alone.depth)
    equal = rasterize_points(
        torch.stack([cloud(5), cloud(5, 1)]),
        camera,
        radius=torch.full((5,), 1.5),
        layers=2,
        backend=backend,
    )
    assert torch.equal(equal.point[0], batch.point[0])
    shifts = torch.tensor([[0.0, 0, 0], [0.2, 0, 1.0]], dtype=DOUBLE)
    views = Camera(camera.intrinsics, camera.rotation, shifts, camera.size)
    seen = rasterize_points(clouds[2], views, radius=1.5, layers=2, backend=backend)
    torch.testing.assert_close(seen.depth[0], alone.depth)
    assert seen.point.shape == (2, 12, 14, 2)


@EACH_BACKEND
def test_each_point_may_have_its_radius(backend: str) -> None:
    points = torch.tensor([[1.5, 0.5, 1.0], [5.5, 0.5, 1.0]], dtype=DOUBLE)
    radius = torch.tensor([0.25, 1.0])
    found = rasterize_points(points, flat_camera((1, 8)), radius=radius, backend=backend)
    assert found.point[0, :, 0].tolist() == [-1, 0, -1, -1, 1, 1, 1, -1]


@EACH_BACKEND
def test_gradcheck(backend: str) -> None:
    """The card: depth and squared distance to points, pose, intrinsics and lens, inside discs."""
    base = pinhole((6, 7), focal=6.0)
    points = cloud(6)

    def render(points: Tensor, rows: Tensor, shift: Tensor, lens: Tensor):  # type: ignore[no-untyped-def]
        k = torch.cat([rows, base.intrinsics[2:]])
        camera = Camera(k, base.rotation, shift, base.size, lens)
        found = rasterize_points(points, camera, radius=1.3, layers=2, backend=backend)
        return found.depth, found.squared_distance

    shift = torch.tensor([0.01, -0.02, 0.3], dtype=DOUBLE)
    leaves = [t.clone().requires_grad_() for t in (points, base.intrinsics[:2], shift, LENS)]
    assert int((render(*leaves)[0] > 0).sum()) > 20
    assert torch.autograd.gradcheck(render, leaves, eps=1e-7, atol=1e-5)


@EACH_BACKEND
def test_no_gradient_comes_through_visibility_or_radius(backend: str) -> None:
    points = cloud(6).requires_grad_()
    radius = torch.full((6,), 1.3, dtype=DOUBLE, requires_grad=True)
    found = rasterize_points(points, pinhole((6, 7), focal=6.0), radius=radius, backend=backend)
    assert not found.mask().requires_grad
    grads = torch.autograd.grad(found.depth.sum(), [points, radius], allow_unused=True)
    assert grads[1] is None
    hits = torch.bincount(found.point[found.point >= 0], minlength=6).double()
    torch.testing.assert_close(grads[0][:, 2], hits)  # the camera looks along z


@NEEDS_NATIVE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_twins(dtype: torch.dtype) -> None:
    results = {}
    base = pinhole((31, 40), focal=26.0, dtype=dtype)
    for backend in ("native", "torch"):
        points = cloud(300, 2, dtype).requires_grad_()
        intrinsics = base.intrinsics.clone().requires_grad_()
        camera = Camera(intrinsics, base.rotation, base.translation, base.size)
        found = rasterize_points(points, camera, radius=2.2, layers=4, backend=backend)
        loss = (found.depth * weights(found.depth.shape, 3, dtype)).sum()
        loss = loss + (found.squared_distance * weights(found.depth.shape, 4, dtype)).sum()
        results[backend] = (found, torch.autograd.grad(loss, [points, intrinsics]))
    one, two = results["native"], results["torch"]
    # Both decide in float64 on the same numbers; only a point at its very radius could differ.
    assert int((one[0].point != two[0].point).sum()) == 0
    assert int((one[0].point[..., 3] >= 0).sum()) > 100
    tolerance = 1e-5 if dtype == torch.float32 else 1e-11
    pairs = [(one[0].depth, two[0].depth), (one[0].squared_distance, two[0].squared_distance)]
    for got, wanted in [*pairs, *zip(one[1], two[1], strict=True)]:
        scale = float(wanted.detach().abs().max())
        assert float((got - wanted).detach().abs().max()) <= tolerance * scale


@NEEDS_NATIVE
def test_bits_do_not_depend_on_threads_and_the_operator_is_sound() -> None:
    from diffrender.raster._packed import pack
    from diffrender.raster._point_ops import ops
    from diffrender.raster.points import _clouds

    camera = pinhole((31, 40), focal=26.0, dtype=torch.float32)
    results, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            points = cloud(300, 2, torch.float32).requires_grad_()
            found = rasterize_points(points, camera, radius=2.2, layers=3)
            (grad,) = torch.autograd.grad((found.depth * found.squared_distance).sum(), points)
            results.append([found.point, found.depth, grad])
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other, strict=True))
    packed = pack(_clouds(cloud(5)), pinhole((5, 6), focal=6.0))
    h = packed.homogeneous.detach().requires_grad_()
    arguments = (h, torch.ones(5, dtype=DOUBLE), packed.vertex_offsets, 5, 6, 2)
    checks = ("test_schema", "test_autograd_registration", "test_faketensor")
    torch.library.opcheck(ops.rasterize_points.default, arguments, test_utils=checks)


@EACH_BACKEND
def test_half_precision_comes_back(backend: str) -> None:
    points, camera = cloud(9).bfloat16(), pinhole((6, 7), focal=6.0, dtype=torch.bfloat16)
    found = rasterize_points(points, camera, radius=1.3, backend=backend)
    assert found.depth.dtype == found.squared_distance.dtype == torch.bfloat16
    wide = rasterize_points(points.float(), camera.to(torch.float32), radius=1.3, backend=backend)
    assert torch.equal(found.point, wide.point)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = rasterize_points(
            points.float(), camera.to(torch.float32), radius=1.3, backend=backend
        )
    assert torch.equal(inside.depth, wide.depth)


@EACH_BACKEND
def test_wrong_inputs_are_named(backend: str) -> None:
    camera = pinhole((6, 7))
    broken = cloud(4)
    broken[1, 0] = torch.nan
    with pytest.raises(
        InputError, match=r"points holds 1 NaN or infinite values, the first at \(1, 0\)"
    ):
        rasterize_points(broken, camera, radius=1.0, backend=backend)
    with pytest.raises(InputError, match="radius must be positive"):
        rasterize_points(cloud(4), camera, radius=0.0, backend=backend)
    with pytest.raises(InputError, match="radius has shape"):
        rasterize_points(cloud(4), camera, radius=torch.ones(3), backend=backend)
    with pytest.raises(InputError, match="points has shape"):
        rasterize_points(torch.zeros(4, 2), camera, radius=1.0, backend=backend)
    with pytest.raises(InputError, match=r"points\[1\] has shape"):
        rasterize_points([cloud(4), torch.zeros(4)], camera, radius=1.0, backend=backend)
    with pytest.raises(InputError, match="empty list"):
        rasterize_points([], camera, radius=1.0, backend=backend)
    with pytest.raises(InputError, match="layers is 0"):
        rasterize_points(cloud(4), camera, radius=1.0, layers=0, backend=backend)
