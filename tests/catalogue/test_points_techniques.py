"""Techniques that draw points: closed forms of one or two primitives, and gradients."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from point_scenes import BACKGROUND, SIZE, camera, from_middle, points, splats
from torch import Tensor

from diffrender.catalogue.points._splats import Splats
from diffrender.catalogue.points.differentiable_point_clouds import DifferentiablePointClouds
from diffrender.catalogue.points.gaussian_splatting_2d import GaussianSplatting2d
from diffrender.catalogue.points.gaussian_splatting_3d import GaussianSplatting3d
from diffrender.catalogue.points.mip_splatting import MipSplatting
from diffrender.catalogue.points.soft_discs import SoftDiscs
from diffrender.catalogue.points.spheres import Spheres
from diffrender.catalogue.points.surface_splatting import SurfaceSplatting


def shifted(alpha: Tensor) -> Tensor:
    """Opacity as splatting draws it: less what is not drawn."""
    return (alpha.clamp(max=0.99) - 1 / 255).clamp(min=0)


def test_a_projected_gaussian() -> None:
    drawn = GaussianSplatting3d().render(splats([[0, 0, 2]]), camera())
    x, y = from_middle().unbind(-1)
    # Deviations of 0.2 and 0.1 m at 2 m under a focal length of 20 px: 2 and 1 px.
    alpha = shifted(0.6 * torch.exp(-0.5 * (x**2 / 4.3 + y**2 / 1.3)))
    torch.testing.assert_close(drawn.silhouette, alpha)
    behind = torch.tensor(BACKGROUND).double()
    red = torch.tensor([1.0, 0, 0]).double()
    torch.testing.assert_close(
        drawn.image, alpha[..., None] * red + (1 - alpha)[..., None] * behind
    )
    assert drawn.depth[4, 5] == 2


def test_gaussians_blend_nearest_first() -> None:
    """Listed back to front; drawn front to back."""
    drawn = GaussianSplatting3d().render(splats([[0, 0, 4], [0, 0, 2]]), camera())
    alpha = float(shifted(torch.tensor(0.6)))
    behind = torch.tensor(BACKGROUND).double()
    expected = (1 - alpha) ** 2 * behind
    expected[1] += alpha  # the second, in front
    expected[0] += alpha * (1 - alpha)
    torch.testing.assert_close(drawn.image[4, 5], expected)
    mean = (2 * alpha + 4 * alpha * (1 - alpha)) / (1 - (1 - alpha) ** 2)
    assert drawn.depth[4, 5].item() == pytest.approx(mean)


def test_a_filtered_gaussian_keeps_what_it_covers() -> None:
    x, y = from_middle().unbind(-1)
    drawn = MipSplatting(low_pass=0.5).render(splats([[0, 0, 2]]), camera())
    fall = torch.exp(-0.5 * (x**2 / 4.5 + y**2 / 1.5))
    torch.testing.assert_close(drawn.silhouette, shifted(0.6 * (4 / 6.75) ** 0.5 * fall))
    # Far away it is a fifth of a pixel: a filter that widens alone covers many times as much.
    far = splats([[0, 0, 20]])
    known = 0.6 * 2 * math.pi * 0.2 * 0.1  # o 2π √|Σ'| px²
    wide = GaussianSplatting3d(low_pass=0.3).render(far, camera()).silhouette.sum()
    kept = MipSplatting(low_pass=0.3).render(far, camera()).silhouette.sum()
    assert wide > 10 * known
    # Less what is below 1/255: for a Gaussian of height a, that is a share r (1 + ln 1/r), r = c/a.
    height = 0.6 * 0.2 * 0.1 / math.sqrt(0.34 * 0.31)
    lost = (1 / 255 / height) * (1 + math.log(255 * height))
    assert kept.item() == pytest.approx(known * (1 - lost), rel=0.02)


def test_a_disc_in_front_of_the_camera() -> None:
    drawn = GaussianSplatting2d().render(splats([[0, 0, 2]]), camera())
    x, y = from_middle().unbind(-1)
    plane = x**2 / 4 + y**2
    alpha = shifted(0.6 * torch.exp(-0.5 * torch.minimum(plane, 2 * (x**2 + y**2))))
    torch.testing.assert_close(drawn.silhouette, alpha)


def test_a_tilted_disc_is_met_where_the_ray_meets_its_plane() -> None:
    tilt = 0.9
    scene = splats([[0.1, 0.05, 2]], tilt=tilt)
    drawn = GaussianSplatting2d().render(scene, camera())
    content = scene.content
    assert isinstance(content, Splats)
    offset = from_middle() / 20
    rays = torch.cat([offset, torch.ones(*SIZE, 1).double()], dim=-1)
    # t ray = centre + u a + v b, solved by the determinant of three columns.
    axes, centre = content.axes[0], content.centres[0]
    system = torch.cat([axes.expand(*SIZE, 3, 2), -rays[..., None]], dim=-1)
    u, v, t = torch.linalg.solve(system, (-centre).expand(*SIZE, 3)).unbind(-1)
    screen = (from_middle() - 20 * centre[:2] / 2).square().sum(-1) / 0.5
    on_plane = u**2 + v**2
    alpha = shifted(0.6 * torch.exp(-0.5 * torch.minimum(on_plane, screen)))
    torch.testing.assert_close(drawn.silhouette, alpha)
    on = (alpha > 0) & (on_plane < screen)
    assert int(on.sum()) > 8
    torch.testing.assert_close(drawn.depth[on], t[on])
    assert drawn.depth[on].max() - drawn.depth[on].min() > 0.2  # the tilt shows


def test_a_disc_from_the_edge_is_a_dot() -> None:
    drawn = GaussianSplatting2d().render(splats([[0, 0, 2]], tilt=math.pi / 2), camera())
    x, y = from_middle().unbind(-1)
    # Off the middle column every ray meets the plane, far out; on it the plane is a line.
    dot = shifted(0.6 * torch.exp(-(x**2 + y**2)))
    torch.testing.assert_close(drawn.silhouette[:, :5], dot[:, :5], atol=1e-2, rtol=0)
    assert drawn.silhouette.isfinite().all()


def test_a_soft_disc() -> None:
    drawn = SoftDiscs(radius=0.8).render(points([[0, 0, 2]]), camera())
    alpha = (1 - from_middle().square().sum(-1) / 3.6**2).clamp(min=0)
    torch.testing.assert_close(drawn.silhouette, alpha, atol=2e-6, rtol=0)


def test_only_the_nearest_discs_are_kept() -> None:
    scene = points([[0, 0, 3], [0, 0, 2]], opacity=0.5)
    both, one = (SoftDiscs(radius=0.8, layers=k).render(scene, camera()) for k in (2, 1))
    torch.testing.assert_close(both.silhouette[4, 5].item(), 0.75)
    torch.testing.assert_close(one.silhouette[4, 5].item(), 0.5)
    assert one.depth[4, 5] == 2


def test_spheres_share_a_pixel_by_a_softmax() -> None:
    technique = Spheres(gamma=0.1, growth=1.0, far=20.0, background=0.3)
    drawn = technique.render(points([[0.1, 0, 2], [0, 0.15, 3]]), camera())
    # The axis passes the centres at 0.1 and 0.15 m.
    shares = [(1 - off / 0.3) * math.exp((20 - z) / 19.8 / 0.1) for off, z in [(0.1, 2), (0.15, 3)]]
    whole = sum(shares) + math.exp(0.3 / 0.1)
    expected = [share / whole for share in shares]
    behind = (1 - sum(expected)) * torch.tensor(BACKGROUND).double()
    behind[0] += expected[0]
    behind[1] += expected[1]
    torch.testing.assert_close(drawn.image[4, 5], behind)
    assert drawn.silhouette[4, 5].item() == pytest.approx(sum(expected))


def test_a_small_gamma_shows_the_nearest_sphere() -> None:
    drawn = Spheres(gamma=1e-4).render(points([[0.1, 0, 3], [0, 0, 2]]), camera())
    torch.testing.assert_close(drawn.image[4, 5], torch.tensor([0.0, 1, 0]).double())
    # Both spheres' outlines are round: farther than 0.45 m from the axis at its depth is nothing.
    away = from_middle().norm(dim=-1)
    assert drawn.silhouette[away > 20 * 0.55 / 2].lt(1e-6).all()


def test_spheres_off_the_axis_are_not_cut_off() -> None:
    """Wide view: every ray that passes a centre nearer than its radius sees the sphere."""
    wide = dataclasses.replace(
        camera(), intrinsics=camera().intrinsics * torch.tensor([[0.2], [0.2], [1]])
        + torch.tensor([[0, 0, 4.4], [0, 0, 3.6], [0, 0, 0]])
    )  # fmt: skip
    scene = points([[1.6, 0.9, 1.7]], radius=0.5)
    drawn = Spheres(growth=1.0, gamma=1e-3).render(scene, wide)
    rays = torch.nn.functional.normalize(
        torch.cat([from_middle() / 4, torch.ones(*SIZE, 1).double()], dim=-1), dim=-1
    )
    centre = torch.tensor([1.6, 0.9, 1.7]).double()
    off = torch.linalg.cross(rays, centre.expand_as(rays)).norm(dim=-1)
    assert int((off < 0.499).sum()) > 4
    assert torch.equal(drawn.silhouette > 0, off < 0.5)


def test_a_point_cloud_of_one_is_a_gaussian() -> None:
    """A point in the middle of a cell, blurred by one pixel: exp(-d²/2) in its plane."""
    technique = DifferentiablePointClouds(planes=4, sigma=1 / 9)
    # Two more out of view fix the range of depths to 2 ... 6 m: cells of 1 m.
    scene = points([[0, 0, 3.5], [50, 0, 2], [50, 0, 6]], opacity=0.8)
    drawn = technique.render(scene, camera())
    across = torch.exp(-0.5 * from_middle().square().sum(-1))
    across[from_middle().abs().amax(-1) > 3] = 0
    planes = torch.exp(-0.5 * (torch.arange(4) - 1.0) ** 2).double()
    # The range is widened by a millimetre, so that the point is a little off its cell's middle.
    through = (1 - 0.8 * across[..., None] * planes).prod(-1)
    torch.testing.assert_close(drawn.silhouette, 1 - through, atol=2e-3, rtol=0)
    seen = drawn.silhouette > 1e-3
    red = (drawn.image - (1 - drawn.silhouette)[..., None] * torch.tensor(BACKGROUND).double())[
        seen
    ]
    torch.testing.assert_close(red[:, 0], drawn.silhouette[seen])
    torch.testing.assert_close(red[:, 1:], torch.zeros_like(red[:, 1:]))


def test_splats_are_cut_off_and_averaged() -> None:
    drawn = SurfaceSplatting(low_pass=0.0).render(
        splats([[0, 0, 2], [0.1, 0, 2.1], [0, 0, 4]]), camera()
    )
    x, y = from_middle().unbind(-1)
    first = torch.exp(-0.5 * (x**2 / 4 + y**2))
    assert drawn.silhouette.unique().tolist() == [0, 1]
    # The middle shows the mean of the first two, by their densities, and nothing of the third.
    scale = 2 / 2.1
    second = math.exp(-0.5 * (0.1 * 20 / 2.1) ** 2 / (2 * scale) ** 2) / scale**2
    red = float(first[4, 5]) / (float(first[4, 5]) + second)
    torch.testing.assert_close(
        drawn.image[4, 5], torch.tensor([red, 1 - red, 0], dtype=torch.float64)
    )
    alone = SurfaceSplatting(low_pass=0.0).render(splats([[0, 0, 2]]), camera())
    form = x**2 / 4 + y**2
    clear = (form - 2).abs() > 1e-6  # eight pixels lie on the ellipse itself
    assert torch.equal(alone.silhouette[clear] > 0, form[clear] < 2)
