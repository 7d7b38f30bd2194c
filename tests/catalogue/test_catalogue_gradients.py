"""The examiner itself is examined: on squares whose derivative is known, and on false claims."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor

from diffrender.cameras import Camera
from diffrender.catalogue import (
    Card,
    Claim,
    Light,
    Rendering,
    Scene,
    Triangles,
    find_technique,
    list_techniques,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.evaluate import (
    Subject,
    check_claim,
    check_claims,
    difference_of_own,
    difference_of_triangles,
    gradient_pictures,
    in_double,
    moves_of,
    silhouette_pixels,
    supersampled,
)
from diffrender.catalogue.evaluate.gradients import BIASED, EXACT, OWN, score
from diffrender.catalogue.evaluate.moves import pixels_per_step, within_bounds
from diffrender.errors import InputError


def square(left: float = 2.25, right: float = 5.25) -> tuple[Scene, Camera]:
    """A white square over black: pixels left to right, rows 2 to 6, of an 8 x 8 picture at z = 1.

    One pixel is an eighth of a metre there.
    """
    x = torch.tensor([left, right, right, left]) / 8 - 0.5
    y = torch.tensor([2.0, 2.0, 6.0, 6.0]) / 8 - 0.5
    corners = torch.stack([x, y, torch.ones(4)], dim=1)
    mesh = Triangles(corners, torch.tensor([[0, 2, 1], [0, 3, 2]]), torch.ones(4, 3))
    light = Light(torch.tensor([0.0, 0.0, -1.0]), torch.zeros(3), torch.ones(3))
    intrinsics = torch.tensor([[8.0, 0.0, 4.0], [0.0, 8.0, 4.0], [0.0, 0.0, 1.0]])
    return Scene(mesh, light, torch.zeros(3)), Camera(
        intrinsics, torch.eye(3), torch.zeros(3), (8, 8)
    )


CARD = find_technique("pixel-pair-antialiasing").card


class _Hard(torch.autograd.Function):
    """A rule that looks at the incoming sign: only pixels that should rise are answered."""

    @staticmethod
    def forward(ctx: Any, t: Tensor) -> Tensor:
        return torch.zeros(4, 4, 3) + t * 0

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:  # type: ignore[override]
        return 2 * grad.clamp(min=0).sum()


class _Once(torch.autograd.Function):
    """A kernel without second derivatives."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, t: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * t

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[None, Tensor]:  # type: ignore[override]
        return None, (grad * ctx.saved_tensors[0]).sum()


@dataclass(frozen=True)
class Toy:
    """Draws x t or the like, where t is the camera's translation along x."""

    rule: str = "plain"
    card: ClassVar[Card] = CARD
    pattern: Tensor = field(
        default_factory=lambda: torch.arange(48.0).view(4, 4, 3).sub(20), compare=False
    )

    def prepare(self, scene: Scene) -> Scene:
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        t = camera.translation[0]
        if self.rule == "sign":
            image = _Hard.apply(t)
        elif self.rule == "once":
            image = _Once.apply(self.pattern, t)
        else:
            image = self.pattern * torch.sin(t)
        return Rendering(image, torch.zeros(4, 4), torch.zeros(4, 4))


@dataclass(frozen=True)
class Liar:
    """Pixel pairs whose gradient is turned round."""

    sign: float = -1.0
    card: ClassVar[Card] = CARD

    def prepare(self, scene: Scene) -> Scene:
        return scene

    def render(self, scene: Scene, camera: Camera) -> Rendering:
        honest = find_technique("pixel-pair-antialiasing").render(scene, camera)
        image = honest.image.detach() * (1 - self.sign) + honest.image * self.sign
        return dataclasses.replace(honest, image=image)


def moves(scene: Scene) -> Any:
    return moves_of("pose", scene)[:1]


def test_supersampled_square_covers_its_area() -> None:
    picture = supersampled(*square())
    assert picture.shape == (8, 8, 4)
    expected = torch.zeros(8, 8)
    expected[2:6, 2:6] = torch.tensor([0.75, 1.0, 1.0, 0.25])
    torch.testing.assert_close(picture[..., 3], expected)
    torch.testing.assert_close(picture[..., 0], expected)


def test_tiles_of_rows_do_not_show() -> None:
    scene, camera = standard_scene(), standard_camera((36, 48))
    whole = supersampled(scene, camera, 8)
    from diffrender.catalogue.evaluate import reference

    patched = pytest.MonkeyPatch()
    with patched.context() as patch:
        patch.setattr(reference, "_TILE", 5000)
        torch.testing.assert_close(supersampled(scene, camera, 8), whole)


def test_moving_square_has_its_closed_derivative() -> None:
    """Coverage of the left column falls by 8 pixels a metre, that of the right one rises."""
    scene, camera = square()
    (move,) = moves(scene)
    assert pixels_per_step(move, scene, camera) == pytest.approx(8, rel=1e-3)
    reference = difference_of_triangles(move, scene, camera)
    expected = torch.zeros(8, 8)
    expected[2:6, 2], expected[2:6, 5] = -8.0, 8.0
    # A sample is a sixteenth of a pixel, the step 0.6 pixels: a tenth of the value at most.
    torch.testing.assert_close(reference[..., 3], expected, atol=0.9, rtol=0)
    ours = gradient_pictures(find_technique("pixel-pair-antialiasing"), scene, camera, [move])
    assert ours.stride == 1 and ours.linear
    assert score(ours.pictures[0], reference, torch.ones(8, 8, dtype=torch.bool)).cosine > 0.97


def test_silhouette_pixels_of_a_square() -> None:
    found = silhouette_pixels(*square())
    assert not found[4, 3] and not found[0].any() and not found[:, 0].any()
    assert found[2:6, 2].all() and found[2:6, 5].all() and found[2, 2:6].all()


def test_a_fold_of_one_part_is_a_silhouette() -> None:
    scene, camera = standard_scene(), standard_camera((48, 64))
    found = silhouette_pixels(scene, camera)
    assert not found[24, 48]  # the middle of the ball
    assert not found[2, 2]  # the sky
    assert 0.2 < found.float().mean() < 0.7


@pytest.mark.parametrize("rule", ["plain", "once"])
def test_gradient_picture_of_a_product(rule: str) -> None:
    scene, camera = square()
    found = gradient_pictures(Toy(rule), scene, camera, moves(scene))
    assert found.linear and found.stride == 1
    torch.testing.assert_close(found.pictures[0, ..., :3], Toy().pattern)
    assert (found.pictures[..., 3] == 0).all()


def test_fewer_pixels_where_all_take_too_long() -> None:
    scene, camera = square()
    found = gradient_pictures(Toy("once"), scene, camera, moves(scene), seconds=0.0)
    assert found.stride == 4 and found.pictures.shape == (1, 1, 1, 4)
    torch.testing.assert_close(found.pictures[0, 0, 0, :3], Toy().pattern[2, 2])
    patient = gradient_pictures(Toy("once"), scene, camera, moves(scene), seconds=1e9)
    assert patient.stride == 1


def test_a_rule_that_looks_at_the_sign_is_asked_both_ways() -> None:
    scene, camera = square()
    found = gradient_pictures(Toy("sign"), scene, camera, moves(scene))
    assert not found.linear
    torch.testing.assert_close(found.pictures[0, ..., :3], torch.ones(4, 4, 3))


def test_own_difference_is_the_derivative() -> None:
    scene, camera = in_double(*square())
    (move,) = moves(scene)
    found = difference_of_own(Toy(), move, move, scene, scene, camera)
    torch.testing.assert_close(found[..., :3].float(), Toy().pattern)


@pytest.mark.parametrize("parameter", ["vertices", "attributes", "texture", "light"])
def test_moves_start_at_the_scene(parameter: Any) -> None:
    scene, camera = standard_scene(textured=True), standard_camera((4, 4))
    (move,) = moves_of(parameter, scene)
    there, seen_by = move.apply(scene, camera, torch.tensor(0.0))
    assert seen_by is camera
    before, after = scene.parameters(), there.parameters()
    assert all(torch.equal(before[name], after[name]) for name in before)
    moved = move.apply(scene, camera, torch.tensor(0.1))[0].parameters()
    assert [n for n in before if not torch.equal(before[n], moved[n])] == [parameter]


def test_densities_are_examined_within_their_bounds() -> None:
    scene = find_technique("visual-hull").prepare(standard_scene())
    filled = scene.parameters()["density"]
    drawn = within_bounds(scene).parameters()["density"]
    assert filled.min() == 0 < drawn.min() and drawn.max() < filled.max()
    assert (drawn - filled).abs().max() <= 0.1 * filled.max()
    signed = scene.replaced("density", filled - 0.5)
    assert within_bounds(signed) is signed
    assert (
        within_bounds(standard_scene()).parameters().keys() == standard_scene().parameters().keys()
    )


def test_claims_of_every_kind_are_examined_together() -> None:
    """A density is examined elsewhere than the pose, which keeps its own picture."""
    technique = find_technique("emission-absorption")
    claims = [c for c in technique.card.claims if c.parameter in ("pose", "density")]
    assert len(claims) == 2
    for result in check_claims(Subject(technique, (16, 24)), claims):
        assert result.holds, str(result)


def test_the_camera_keeps_its_distance_when_turned() -> None:
    scene, camera = standard_scene(), standard_camera((4, 4))
    turned = moves_of("pose", scene)[1].apply(scene, camera, torch.tensor(0.3))[1]
    assert turned.centre.norm() == pytest.approx(camera.centre.norm().item(), rel=1e-5)
    assert turned.centre[1] == pytest.approx(camera.centre[1].item(), rel=1e-5)
    torch.testing.assert_close(turned.rotation @ turned.rotation.T, torch.eye(3))


def test_a_parameter_that_is_not_there() -> None:
    with pytest.raises(InputError, match="Triangles holds no 'density', it holds vertices"):
        moves_of("density", standard_scene())
    move = moves_of("light", standard_scene())[0]
    with pytest.raises(InputError, match="no length in pixels"):
        pixels_per_step(move, *square())


def test_false_claims_do_not_hold() -> None:
    claim = Claim("attributes", "interior", "exact")
    small = (16, 24)
    true = check_claim(Liar(1.0), claim, small)
    assert true.holds and true.cosine > 0.99
    for sign in (-1.0, 0.0):  # turned round, and none
        false = check_claim(Liar(sign), claim, small)
        assert not false.holds and "DOES NOT HOLD" in str(false)
        assert not check_claim(Liar(sign), Claim("attributes", "both", "biased"), small).holds


def test_random_pictures_do_not_pass_as_biased() -> None:
    generator = torch.Generator().manual_seed(3)
    everywhere = torch.ones(48, 64, dtype=torch.bool)
    for _ in range(20):
        a, b = (torch.randn(48, 64, 3, generator=generator) for _ in range(2))
        assert not score(a, b, everywhere).reaches(BIASED)


def test_thresholds_are_ordered() -> None:
    assert BIASED.cosine < EXACT.cosine < OWN.cosine


CLAIMS = [(n, c) for n in list_techniques() for c in find_technique(n).card.claims]


@pytest.mark.slow
@pytest.mark.parametrize(("name", "claim"), CLAIMS, ids=[f"{n}-{c.parameter}" for n, c in CLAIMS])
def test_claim(name: str, claim: Claim) -> None:
    # Patience enough for every pixel on a busy machine: every other one is another, rougher test.
    (result,) = check_claims(Subject(find_technique(name), seconds=400.0), [claim])
    assert result.holds, str(result)


# Techniques with a second derivative, or a backward pass of a millisecond.
QUICK = ("pixel-pair-antialiasing", "rasterize-then-splat", "unclamped-barycentrics")


@pytest.mark.parametrize("name", QUICK)
def test_claims_of_quick_techniques(name: str) -> None:
    technique = find_technique(name)
    claims = [c for c in technique.card.claims if c.parameter in ("pose", "attributes")]
    for result in check_claims(Subject(technique, (24, 32)), claims):
        assert result.holds, str(result)
