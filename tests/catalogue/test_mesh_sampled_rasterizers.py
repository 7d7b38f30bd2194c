"""Rasterizers smoothed by splats or by chance: pictures, closed forms, derivatives."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from soft_scenes import (
    cosine,
    gradient_picture,
    hard,
    reference_picture,
    slopes,
    square_scene,
    toy_camera,
    toy_scene,
)
from torch import Tensor

from diffrender.catalogue import (
    as_triangles,
    find_technique,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.mesh.perturbed_rasterizer import PerturbedRasterizer, perturbed_choice
from diffrender.catalogue.mesh.plateau_reduced import PlateauReduced, smoothed
from diffrender.catalogue.mesh.rasterize_then_splat import RasterizeThenSplat
from diffrender.catalogue.mesh.soft_rasterizer import SoftRasterizer
from diffrender.catalogue.mesh.stochastic_gradients import StochasticGradients
from diffrender.errors import InputError
from diffrender.raster import rasterize

SIZE = (36, 48)
NAMES = ["rasterize-then-splat", "perturbed-rasterizer", "stochastic-gradients", "plateau-reduced"]


@pytest.mark.parametrize("name", NAMES)
def test_the_standard_scene_is_where_the_hard_one_is(name: str) -> None:
    camera, technique = standard_camera(SIZE), find_technique(name)
    drawn = technique.render(standard_scene(), camera)
    mask, depth = hard(camera)
    assert 0 <= drawn.silhouette.min() and drawn.silhouette.max() <= 1
    ours = (drawn.silhouette > 0.4).float()
    # The mean over poses shifts the floor's near edge, which is seen at a flat angle.
    assert torch.minimum(mask, ours).sum() / torch.maximum(mask, ours).sum() > 0.93
    seen = (mask > 0) & (drawn.silhouette > 0.9)
    assert (drawn.depth - depth).abs()[seen].median() < 0.03
    assert drawn.depth[0, 0] == 0 and drawn.silhouette[0, 0] == 0
    assert torch.allclose(drawn.image[0, 0], standard_scene().background)
    again = technique.render(standard_scene(), camera)
    assert torch.equal(drawn.image, again.image)


@pytest.mark.parametrize("parameter", ["vertices", "pose", "intrinsics"])
@pytest.mark.parametrize(
    ("technique", "least"),
    [
        # The mask of samples at pixel centres, blurred by a pixel, does not know where in a pixel
        # an outline passes, and spreads its derivative evenly over two.
        (RasterizeThenSplat(), 0.75),
        (PerturbedRasterizer(distance_noise=0.4, samples=256), 0.85),
        # Moves of vertices in depth change how a face is seen, of which it knows nothing.
        (StochasticGradients(samples=256), 0.75),
    ],
)
def test_gradients_point_where_those_of_the_area_sampled_picture_do(
    technique: RasterizeThenSplat | PerturbedRasterizer | StochasticGradients,
    least: float,
    parameter: str,
) -> None:
    scene = toy_scene()
    ours = gradient_picture(technique, scene, parameter)
    reference = reference_picture(scene, parameter)
    print(
        type(technique).__name__, parameter, cosine(ours, reference), ours.norm() / reference.norm()
    )
    assert cosine(ours, reference) > least
    # They blur, so that what is large on an outline is spread over its neighbours, and shrinks.
    assert 0.5 < ours.norm() / reference.norm() < 1.3


@pytest.mark.parametrize("parameter", ["attributes", "light"])
@pytest.mark.parametrize("technique", [RasterizeThenSplat(), PerturbedRasterizer()])
def test_colours_have_the_gradients_of_the_own_picture(
    technique: RasterizeThenSplat | PerturbedRasterizer, parameter: str
) -> None:
    slope, difference = slopes(technique, toy_scene(), parameter)
    assert slope == pytest.approx(difference, rel=1e-5)
    assert abs(difference) > 1e-2


def test_stochastic_colour_gradients_average_to_the_exact_ones() -> None:
    technique = StochasticGradients(samples=256)
    slope, difference = slopes(technique, toy_scene(), "attributes")
    assert slope == pytest.approx(difference, rel=0.15)


def test_a_splatted_square_is_the_blurred_mask() -> None:
    scene, camera = square_scene(), toy_camera()
    mesh = as_triangles(scene)
    mask = rasterize((mesh.vertices, mesh.faces), camera).mask()
    assert mask.sum() == 64
    line = (-(torch.tensor([-1.0, 0, 1]).double() ** 2) / (2 * 0.5**2)).exp()
    kernel = line[:, None] * line / line.sum() ** 2
    blurred = torch.nn.functional.conv2d(mask[None, None], kernel[None, None], padding=1)[0, 0]
    drawn = RasterizeThenSplat().render(scene, camera)
    assert torch.allclose(drawn.silhouette, blurred, atol=1e-9)
    assert torch.allclose(drawn.depth[blurred > 0], torch.tensor(4.0).double())


def test_a_splatted_plane_is_whole_at_the_border() -> None:
    scene, camera = square_scene(), toy_camera()
    middle = scene.content.parameters()["vertices"].mean(0)
    vertices = middle + 20 * (scene.content.parameters()["vertices"] - middle)
    drawn = RasterizeThenSplat().render(scene.replaced("vertices", vertices), camera)
    assert torch.allclose(drawn.silhouette, torch.ones(16, 20).double())
    assert torch.allclose(drawn.depth, torch.full((16, 20), 4.0).double())
    half = vertices.clone()
    half[:, 0] = torch.where(half[:, 0] > 0, 0.0, half[:, 0])  # the left half of the picture
    drawn = RasterizeThenSplat().render(scene.replaced("vertices", half), camera)
    assert torch.allclose(drawn.silhouette, drawn.silhouette[8].expand(16, 20))


def test_a_splatted_square_moves_by_its_outline() -> None:
    """Coverage lost on the left and won on the right: the rows of the square, by the splats.

    A Gaussian that is summed over three columns only moves a little less than it should.
    """
    scene, camera = square_scene(), toy_camera()
    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    step = torch.tensor([4 / 24, 0, 0]).double()  # a pixel to the right
    vertices = as_triangles(scene).vertices + shift * step
    drawn = RasterizeThenSplat().render(scene.replaced("vertices", vertices), camera)
    halves = drawn.silhouette[:, :10].sum(), drawn.silhouette[:, 10:].sum()
    rates = [torch.autograd.grad(half, shift, retain_graph=True)[0].item() for half in halves]
    share = math.exp(-2) / (1 + 2 * math.exp(-2))  # of a splat beside its own column
    rate = 8 * 2 * share / 0.5**2  # eight rows; 0.85 for each of them instead of 1
    assert rates == pytest.approx([-rate, rate])


def _normal(x: float) -> float:
    return (1 + math.erf(x / math.sqrt(2))) / 2


def _density(x: float) -> float:
    return math.exp(-x * x / 2) / math.sqrt(2 * math.pi)


def test_perturbed_choices_are_normal_probabilities() -> None:
    """One face alone is seen if d + Z > 0; of two that surely cover, the one that draws nearer."""
    noise = torch.randn(2, 40000, 3, generator=torch.Generator().manual_seed(3)).double()
    distance = torch.tensor([0.4, 30.0, 30.0]).double().requires_grad_()
    nearness = torch.tensor([0.0, 0.5, 0.1]).double().requires_grad_()
    pixel = torch.tensor([0, 1, 1])
    weight = perturbed_choice(distance, nearness, noise, pixel, 2)
    expected = [_normal(0.4), _normal(0.4 / math.sqrt(2)), _normal(-0.4 / math.sqrt(2))]
    assert weight.tolist() == pytest.approx(expected, abs=0.01)
    (slope,) = torch.autograd.grad(weight[0], distance, retain_graph=True)
    assert slope.tolist() == pytest.approx([_density(0.4), 0, 0], abs=0.01)
    (slope,) = torch.autograd.grad(weight[1], nearness)
    rate = _density(0.4 / math.sqrt(2)) / math.sqrt(2)
    assert slope.tolist() == pytest.approx([0, rate, -rate], abs=0.02)


def test_perturbed_choice_with_no_face_in_front_is_nothing() -> None:
    noise = torch.zeros(2, 4, 1)
    weight = perturbed_choice(torch.tensor([-1.0]), torch.zeros(1), noise, torch.tensor([0]), 1)
    assert weight.item() == 0


def test_smoothing_a_step_gives_the_normal_distribution() -> None:
    def step(at: Tensor) -> Tensor:
        return (at[:1] > 0.2).to(at)

    at = torch.tensor([0.5, 3.0], dtype=torch.float64, requires_grad=True)
    spread = torch.tensor([0.4, 1.0]).double()
    value = smoothed(step, at, spread, pairs=4000, seed=1)
    assert value.item() == pytest.approx(_normal(0.3 / 0.4), abs=0.02)
    (slope,) = torch.autograd.grad(value.sum(), at)
    assert slope[0].item() == pytest.approx(_density(0.3 / 0.4) / 0.4, rel=0.02)
    assert slope[1].item() == pytest.approx(0, abs=0.02)


def test_smoothing_keeps_the_slope_of_a_parabola() -> None:
    at = torch.tensor([0.7], dtype=torch.float64, requires_grad=True)
    value = smoothed(torch.square, at, torch.tensor([0.3]).double(), pairs=2000, seed=0)
    assert value.item() == pytest.approx(0.7**2 + 0.3**2, rel=0.02)
    (slope,) = torch.autograd.grad(value.sum(), at)
    assert slope.item() == pytest.approx(2 * 0.7, rel=2e-3)  # by strata: nearly no variance


@pytest.mark.parametrize("direction", range(6))
def test_plateau_reduced_pose_gradient_is_that_of_the_picture_at_a_small_spread(
    direction: int,
) -> None:
    """With little blur it estimates the inner technique's derivative, taken here by itself."""
    scene = toy_scene()
    base = toy_camera()
    camera = dataclasses.replace(base, translation=torch.tensor([0.1, -0.05, 0.2]).double())
    weights = torch.rand(16, 20, 3, generator=torch.Generator().manual_seed(2)).double()
    soft = SoftRasterizer(sigma=3e-2, gamma=3e-2)
    technique = PlateauReduced(soft, angle=2e-3, distance=5e-3, pairs=16)
    slopes_of = []
    for tried in (technique, soft):
        amount = torch.zeros(6, dtype=torch.float64, requires_grad=True)
        x, y, z = amount[:3]
        zero = torch.zeros_like(x)
        skew = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3)
        posed = dataclasses.replace(
            camera,
            rotation=torch.linalg.matrix_exp(skew) @ camera.rotation,
            translation=camera.translation + amount[3:],
        )
        image = tried.render(scene, posed).image
        (slope,) = torch.autograd.grad((image * weights).sum(), amount)
        slopes_of.append(slope)
    ours, theirs = slopes_of
    assert ours[direction].item() == pytest.approx(
        theirs[direction].item(), abs=0.1 * float(theirs.norm())
    )


def test_plateau_reduced_feels_what_is_far_away() -> None:
    """A square beside its target, apart from it: a plateau for every local technique."""
    scene, camera = square_scene(), toy_camera()
    target = torch.zeros(camera.size, dtype=torch.float64)
    target[3:13, 15:19] = 1.0

    def pull(name: str | PlateauReduced) -> float:
        technique = find_technique(name) if isinstance(name, str) else name
        leaf = camera.translation.clone().requires_grad_()
        drawn = technique.render(scene, dataclasses.replace(camera, translation=leaf))
        (slope,) = torch.autograd.grad((drawn.silhouette * target).sum(), leaf)
        return float(slope[0])

    assert pull("pixel-pair-antialiasing") == 0
    wide = PlateauReduced(angle=0.01, distance=0.4, pairs=16)
    assert pull(wide) > 1  # towards +x
    assert wide.narrowed(0.5).distance == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RasterizeThenSplat(sigma=0), "sigma is 0, expected a positive number of pixels"),
        (lambda: RasterizeThenSplat(layers=1), "layers is 1, expected at least 2"),
        (lambda: PerturbedRasterizer(depth_noise=-1), "depth_noise -1, expected positive"),
        (lambda: StochasticGradients(samples=0), "samples is 0, expected at least 1"),
        (lambda: PlateauReduced(angle=0), "angle is 0 and distance 0.05, expected positive"),
        (lambda: PlateauReduced("nobody").prepare(toy_scene()), "no technique named 'nobody'"),
    ],
)
def test_settings_out_of_range_are_refused(make: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        make()  # type: ignore[operator]
