"""Triangle splatting: its window, its blending, its pictures and their derivatives."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from soft_scenes import hard, slopes, toy_camera, toy_scene

from diffrender.cameras import Camera
from diffrender.catalogue import as_triangles, find_technique, standard_camera, standard_scene
from diffrender.catalogue.mesh._face_pixels import FacePixels
from diffrender.catalogue.points.triangle_splatting import (
    TriangleSplats,
    TriangleSplatting,
    composite,
)
from diffrender.errors import InputError

SIZE = (36, 48)


def splats_before_the_camera() -> tuple[TriangleSplats, Camera]:
    """A triangle with legs of 12 pixels at depth 2, twice: the second one behind, bluish."""
    flat = torch.tensor([[1.0, 1, 1], [13, 1, 1], [1, 13, 1]]).double()
    corners = torch.stack([2 * flat, 3 * flat])
    colours = torch.tensor([[1.0, 0, 0], [0, 0.5, 1]]).double()
    camera = Camera(torch.eye(3).double(), torch.eye(3).double(), torch.zeros(3).double(), (14, 14))
    return TriangleSplats(corners, colours, torch.tensor([0.6, 0.5]).double()), camera


def test_the_window_is_one_at_the_incentre_and_falls_to_the_sides() -> None:
    splats, camera = splats_before_the_camera()
    scene = dataclasses.replace(toy_scene(), content=splats.replaced("density", torch.eye(2)[0]))
    drawn = TriangleSplatting(smoothness=2.0).render(scene, camera)
    inradius = 12 * 12 / (12 + 12 + 12 * 2**0.5)
    # Pixel (row 3, column 4) has its centre 2.5 pixels from the upper side, the nearest one.
    assert drawn.silhouette[3, 4].item() == pytest.approx((2.5 / inradius) ** 2)
    assert drawn.silhouette[1, 1].item() == pytest.approx((0.5 / inradius) ** 2)
    assert drawn.silhouette[0].max() == 0
    assert drawn.silhouette[4, 4].item() == pytest.approx(0.99, abs=0.01)  # 0.015 off the incentre


def test_the_nearer_splat_covers_the_other() -> None:
    splats, camera = splats_before_the_camera()
    scene = dataclasses.replace(toy_scene(), content=splats)
    drawn = TriangleSplatting().render(scene, camera)
    inradius = 12 * 12 / (12 + 12 + 12 * 2**0.5)
    window = 2.5 / inradius
    near, far = 0.6 * window, (1 - 0.6 * window) * 0.5 * window
    rest = (1 - near - far) * scene.background
    expected = near * splats.colours[0] + far * splats.colours[1] + rest
    assert torch.allclose(drawn.image[3, 4], expected)
    depth = (near * 2 + far * 3) / (near + far)
    assert drawn.depth[3, 4].item() == pytest.approx(depth)
    turned = TriangleSplats(splats.corners.flip(0), splats.colours.flip(0), splats.opacity.flip(0))
    again = TriangleSplatting().render(dataclasses.replace(scene, content=turned), camera)
    assert torch.allclose(drawn.image, again.image)


def test_compositing_is_that_of_a_loop() -> None:
    made = torch.Generator().manual_seed(4)
    face = torch.arange(8).repeat(5)
    pixel = torch.arange(5).repeat_interleave(8)
    shuffled = torch.randperm(40, generator=made)
    face, pixel = face[shuffled], pixel[shuffled]
    alpha = torch.rand(40, generator=made, dtype=torch.float64)
    depth = torch.rand(8, generator=made, dtype=torch.float64)
    none = alpha.new_zeros(40)
    pairs = FacePixels(face, pixel, 5, none, none > 1, none.expand(3, 40).T, none)
    weight = composite(alpha, depth, pairs)
    for n in range(40):
        nearer = (pixel == pixel[n]) & (depth[face] < depth[face[n]])
        expected = alpha[n] * (1 - alpha[nearer]).prod()
        assert weight[n].item() == pytest.approx(expected.item())
    inputs = (alpha[:40].clone().requires_grad_(), depth, pairs)
    assert torch.autograd.gradcheck(composite, inputs)


def test_the_standard_scene_is_where_the_hard_one_is() -> None:
    camera = standard_camera(SIZE)
    drawn = find_technique("triangle-splatting").render(standard_scene(), camera)
    mask, depth = hard(camera)
    ours = (drawn.silhouette > 0.4).float()
    # Splats are larger than their faces by a few tenths of a pixel, and fade to their borders.
    assert torch.minimum(mask, ours).sum() / torch.maximum(mask, ours).sum() > 0.9
    seen = (mask > 0) & (drawn.silhouette > 0.9)
    # Some of the car's far side shines through: a few centimetres in the mean of eight metres.
    assert (drawn.depth - depth).abs()[seen].median() < 0.15
    assert torch.equal(drawn.image[0, 0], standard_scene().background)


def test_without_smoothness_and_growth_it_is_the_mesh() -> None:
    scene, camera = toy_scene(), toy_camera()
    drawn = TriangleSplatting(smoothness=1e-4, growth=1.0, opacity=1.0).render(scene, camera)
    mask = find_technique("unclamped-barycentrics").render(scene, camera).silhouette
    assert (drawn.silhouette - mask).abs().max() < 0.011  # opacity ends at 0.99


@pytest.mark.parametrize("parameter", ["vertices", "attributes", "density", "pose", "intrinsics"])
def test_gradients_are_those_of_the_own_picture(parameter: str) -> None:
    technique = TriangleSplatting(opacity=0.8)
    scene = technique.prepare(toy_scene())
    slope, difference = slopes(technique, scene, parameter)
    assert slope == pytest.approx(difference, rel=1e-5)
    assert abs(difference) > 1e-2


def test_splats_follow_the_triangles() -> None:
    """`prepare` is differentiable: a picture's gradient reaches vertices and light."""
    scene = toy_scene()
    vertices = as_triangles(scene).vertices.clone().requires_grad_()
    light = scene.parameters()["light"].clone().requires_grad_()
    lit = scene.replaced("light", light).replaced("vertices", vertices)
    TriangleSplatting().render(lit, toy_camera()).image.square().sum().backward()
    for leaf in (vertices, light):
        assert leaf.grad is not None and leaf.grad.abs().max() > 1e-3


def test_broken_inputs_are_refused() -> None:
    with pytest.raises(InputError, match="smoothness is -1, expected a positive number"):
        TriangleSplatting(smoothness=-1)
    with pytest.raises(InputError, match="opacity is 2, expected"):
        TriangleSplatting(opacity=2)
    splats, _ = splats_before_the_camera()
    with pytest.raises(InputError, match="no parameter 'texture' here, expected one of vertices"):
        splats.replaced("texture", splats.colours)
    with pytest.raises(InputError, match="TriangleSplats.opacity has shape"):
        splats.replaced("density", torch.ones(3))
