"""The prior: unit box, symmetry, gradients, placing, texture."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

from diffrender.errors import InputError
from diffrender.rotations import yaw_to_matrix
from diffrender.shape_priors import ShapePrior, default_texture, load_prior, part_colours
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.prior import unit_box


@pytest.fixture
def tiny() -> ShapePrior:
    """A tetrahedron with two latents, in float64."""
    generator = torch.Generator().manual_seed(0)
    mean = torch.tensor([[0.4, 0.0, -0.5], [-0.5, -0.1, 0.3], [0.5, -0.2, 0.5], [0.0, -1.0, 0.1]])
    return ShapePrior(
        mean=mean.double(),
        basis=0.05 * torch.randn(2, 4, 3, generator=generator, dtype=torch.float64),
        faces=torch.tensor([[0, 1, 2], [0, 3, 1], [1, 3, 2], [2, 3, 0]]),
        face_parts=torch.zeros(4, dtype=torch.int64),
        size_mean=torch.tensor([4.0, 1.6, 1.5], dtype=torch.float64),
        size_sigma=torch.ones(3, dtype=torch.float64),
        part_names=("body",),
        name="tiny",
        licence="none",
    )


def test_a_digest_is_of_what_latents_mean(tiny: ShapePrior) -> None:
    digest = tiny.digest()
    assert len(digest) == 16 and int(digest, 16) >= 0
    assert digest == tiny.to(torch.float32).digest()
    assert digest == dataclasses.replace(tiny, name="other", size_mean=2 * tiny.size_mean).digest()
    for changed in (
        dataclasses.replace(tiny, mean=1.1 * tiny.mean),
        dataclasses.replace(tiny, basis=tiny.basis.flip(0)),
        dataclasses.replace(tiny, faces=tiny.faces.flip(0)),
    ):
        assert changed.digest() != digest


def test_decode_fills_the_unit_box_exactly(car: ShapePrior) -> None:
    latent = 1.5 * torch.randn(80, 8, generator=torch.Generator().manual_seed(1))
    vertices = car.decode(latent)
    assert vertices.shape == (80, len(car.mean), 3)
    low, high = vertices.amin(-2), vertices.amax(-2)
    assert torch.equal(low, torch.tensor([-0.5, -1.0, -0.5]).expand(80, 3))
    assert torch.equal(high, torch.tensor([0.5, 0.0, 0.5]).expand(80, 3))


def test_decode_is_symmetric_and_keeps_a_positive_volume(car: ShapePrior) -> None:
    latent = torch.randn(20, 8, generator=torch.Generator().manual_seed(2))
    vertices = car.decode(latent)
    mirrored = vertices[:, torch.from_numpy(lattice().mirror)] * torch.tensor([1, 1, -1])
    torch.testing.assert_close(mirrored, vertices, atol=1e-5, rtol=0)
    a, b, c = vertices[:, car.faces].unbind(2)
    volume = (a * torch.linalg.cross(b, c)).sum((-1, -2)) / 6
    assert (volume > 0.45).all()
    assert (volume < 0.85).all()


def test_decode_takes_any_leading_dimensions(car: ShapePrior) -> None:
    latent = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(3))
    vertices = car.decode(latent)
    torch.testing.assert_close(vertices[1, 2], car.decode(latent[1, 2]), atol=1e-6, rtol=0)


def test_decode_gradient(tiny: ShapePrior) -> None:
    latent = torch.tensor([[0.3, -0.2], [0.1, 0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(tiny.decode, (latent,))


def test_place_gradient(tiny: ShapePrior) -> None:
    generator = torch.Generator().manual_seed(4)
    draws = [torch.randn(2, n, generator=generator, dtype=torch.float64) for n in (2, 3, 3)]
    latent, size, location = (0.3 * draws[0], draws[1].exp(), draws[2])
    rotation = yaw_to_matrix(torch.tensor([0.3, -2.0], dtype=torch.float64))
    inputs = tuple(t.clone().requires_grad_() for t in (latent, size, rotation, location))
    assert torch.autograd.gradcheck(tiny.place, inputs)


def test_latents_move_the_shipped_shape_smoothly(car: ShapePrior) -> None:
    car = car.to(torch.float64)
    latent = torch.full((8,), 0.2, dtype=torch.float64, requires_grad=True)
    weights = torch.randn(len(car.mean), 3, generator=torch.Generator().manual_seed(5)).double()
    (car.decode(latent) * weights).sum().backward()
    step = 1e-6
    for i in range(8):
        moved = torch.zeros(8, dtype=torch.float64)
        moved[i] = step
        with torch.no_grad():
            ahead = (car.decode(latent + moved) * weights).sum()
            behind = (car.decode(latent - moved) * weights).sum()
        assert float(latent.grad[i]) == pytest.approx(float(ahead - behind) / (2 * step), rel=1e-5)


def test_convention_place_puts_the_bottom_centre_at_location(car: ShapePrior) -> None:
    size, location = torch.tensor([4.0, 1.7, 1.5]), torch.tensor([2.0, 1.65, 20.0])
    # Yaw of -90 degrees: the car points away from the camera, along +z.
    placed = car.place(torch.zeros(8), size, yaw_to_matrix(torch.tensor(-math.pi / 2)), location)
    low, high = placed.amin(0), placed.amax(0)
    torch.testing.assert_close(high - low, torch.tensor([1.7, 1.5, 4.0]), atol=1e-4, rtol=0)
    torch.testing.assert_close(
        torch.stack([(low + high)[0] / 2, high[1], (low + high)[2] / 2]),
        location, atol=1e-4, rtol=0,
    )  # fmt: skip
    lights = car.faces[car.face_parts == car.part_names.index("head_light")]
    assert float(placed[lights][..., 2].min()) > 21.0


def test_mesh_has_metric_size_parts_and_texture(car: ShapePrior) -> None:
    texture = default_texture(car, resolution=128)
    mesh = car.mesh(size=torch.tensor([4.2, 1.8, 1.4]), texture=texture)
    extent = mesh.vertices.amax(0) - mesh.vertices.amin(0)
    torch.testing.assert_close(extent, torch.tensor([4.2, 1.4, 1.8]), atol=1e-5, rtol=0)
    assert mesh.face_parts is car.face_parts
    assert mesh.texture is texture
    default = car.mesh().vertices
    torch.testing.assert_close(
        default.amax(0) - default.amin(0), car.size_mean[[0, 2, 1]], atol=1e-5, rtol=0
    )


def test_texture_shows_each_part_where_its_faces_lie(car: ShapePrior) -> None:
    paint = (0.1, 0.2, 0.9)
    size = 512
    texture = default_texture(car, paint=paint, resolution=size)
    assert texture.shape == (size, size, 3)
    assert float(texture.min()) >= 0
    assert float(texture.max()) <= 1
    middle = (car.uv[car.face_uv].mean(1) * size).long()
    seen = texture[middle[:, 1], middle[:, 0]]
    wanted = part_colours(car, paint)[car.face_parts]
    not_wheel = car.face_parts != car.part_names.index("wheel")  # those have rims
    torch.testing.assert_close(seen[not_wheel], wanted[not_wheel])
    rims = (texture - torch.tensor([0.62, 0.63, 0.65])).abs().amax(-1) < 1e-6
    columns = rims.any(0).float()
    assert int((columns.diff() == 1).sum()) >= 2  # front and rear wheels
    assert 0.003 < float(rims.float().mean()) < 0.03


def test_to_moves_floats_only(car: ShapePrior) -> None:
    moved = car.to(torch.float64)
    assert moved.mean.dtype == moved.basis.dtype == moved.size_mean.dtype == torch.float64
    assert moved.faces.dtype == torch.int64
    assert moved.name == car.name
    assert moved.decode(torch.zeros(8, dtype=torch.float64)).dtype == torch.float64


def test_wrong_shapes_are_named(car: ShapePrior, tiny: ShapePrior) -> None:
    with pytest.raises(InputError, match=r"latent has shape \(3, 7\), expected \(\.\.\., 8\)"):
        car.decode(torch.zeros(3, 7))
    with pytest.raises(InputError, match=r"size has shape \(2,\)"):
        car.place(torch.zeros(8), torch.zeros(2), torch.eye(3), torch.zeros(3))
    with pytest.raises(InputError, match="'tiny' has no texture coordinates"):
        tiny.mesh(texture=torch.zeros(4, 4, 3))
    with pytest.raises(InputError, match="'tiny' has no texture coordinates"):
        default_texture(tiny)
    with pytest.raises(InputError, match="resolution 4, expected 16 to 8192"):
        default_texture(car, resolution=4)


def test_size_prior_is_the_stated_one(car: ShapePrior) -> None:
    torch.testing.assert_close(car.size_mean, torch.tensor([3.88, 1.63, 1.53]))
    assert (car.size_sigma > 0.05).all()
    assert (car.size_sigma < 0.6).all()


@pytest.mark.parametrize("name", ["car", "car-autoencoder"])
def test_expand_gives_the_shapes_and_their_derivatives(name: str) -> None:
    prior = load_prior(name).to(torch.float64)
    generator = torch.Generator().manual_seed(4)
    latent = 0.7 * torch.randn(3, prior.latent_size, generator=generator, dtype=torch.float64)
    vertices, slopes = prior.expand(latent.requires_grad_())
    assert not vertices.requires_grad and not slopes.requires_grad
    torch.testing.assert_close(unit_box(vertices), prior.decode(latent).detach())
    few = torch.arange(0, vertices.shape[1], 25)
    slopes = slopes.expand(3, -1, -1, -1)[:, :, few]

    def raw(one: torch.Tensor) -> torch.Tensor:
        if name != "car":
            return prior.decode(one)[few]
        return (prior.mean + torch.einsum("d,dvk->vk", one, prior.basis))[few]

    for one, slope in zip(latent.detach(), slopes, strict=True):
        exact = torch.autograd.functional.jacobian(raw, one).permute(2, 0, 1)
        torch.testing.assert_close(slope, exact, atol=1e-6, rtol=1e-6)
