"""The neural decoder: symmetry, where it starts, gradients, training with dynamic masks."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from diffrender.blocksparse import DynamicBlockSparseLinear, SparsityConfig
from diffrender.errors import InputError
from diffrender.shape_priors import ShapePrior
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.decoder import DecoderSettings, ShapeDecoder
from diffrender.shape_priors.decoder_training import (
    TrainingSettings,
    train_autoencoder,
    vertex_errors,
)
from diffrender.shape_priors.pca import principal_components
from diffrender.shape_priors.prior import unit_box

SPARSE = SparsityConfig(density=0.25, block_size=4, mode="dynamic", backend="torch")
SMALL = DecoderSettings(width=32, hidden=2, sparsity=SPARSE)
# A bar of six vertices: two pairs across z = 0 and two vertices within that plane.
MIRROR = torch.tensor([1, 0, 2, 4, 3, 5])
MEAN = torch.tensor(
    [
        [-0.5, 0.0, -0.5], [-0.5, 0.0, 0.5], [0.0, -0.7, 0.0],
        [0.5, 0.0, -0.4], [0.5, 0.0, 0.4], [0.1, -1.0, 0.0],
    ]
)  # fmt: skip


def mirror() -> Tensor:
    return torch.from_numpy(lattice().mirror)


def decoder_of(car: ShapePrior, settings: DecoderSettings) -> ShapeDecoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return ShapeDecoder(car.mean, car.basis, mirror(), settings)


def bars(count: int, seed: int) -> Tensor:
    """Shapes that bend: the roof's place is the square of the front's width."""
    generator = torch.Generator().manual_seed(seed)
    code = torch.rand(count, generator=generator)
    shapes = MEAN.expand(count, -1, -1).clone()
    shapes[:, 3, 2] = -0.1 - 0.4 * code
    shapes[:, 4, 2] = 0.1 + 0.4 * code
    shapes[:, 5, 0] = code.square() - 0.5
    shapes[:, 2, 0] = 0.3 * code.sqrt()
    return shapes


def components(shapes: Tensor, count: int) -> tuple[Tensor, Tensor]:
    mean, basis, _ = principal_components(shapes, count, torch.ones(3))
    return mean, basis


@pytest.mark.parametrize("sparsity", [None, SPARSE])
def test_training_starts_where_the_prior_stands(
    car: ShapePrior, sparsity: SparsityConfig | None
) -> None:
    decoder = decoder_of(car, DecoderSettings(width=32, hidden=2, sparsity=sparsity))
    latent = torch.randn(2, 3, 8, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(decoder(latent), car.decode(latent), atol=2e-5, rtol=0)


def test_convention_left_mirrors_right_across_z(car: ShapePrior) -> None:
    decoder = decoder_of(car, SMALL)
    for parameter in decoder.parameters():
        torch.nn.init.normal_(parameter, std=0.2, generator=torch.Generator().manual_seed(2))
    vertices = decoder(torch.ones(5, 8)).detach()
    image = vertices[:, mirror()] * torch.tensor([1.0, 1.0, -1.0])
    torch.testing.assert_close(vertices, image, atol=1e-6, rtol=0)
    assert bool((vertices[:, mirror() == torch.arange(530), 2] == 0).all())
    low, high = vertices.amin(1), vertices.amax(1)
    box = torch.tensor([[-0.5, -1.0, -0.5], [0.5, 0.0, 0.5]])
    torch.testing.assert_close(torch.stack([low, high], 1), box.expand(5, -1, -1))
    assert float((vertices[0] - car.decode(torch.ones(8))).abs().max()) > 0.01


def test_gradient_reaches_the_latents() -> None:
    basis = torch.zeros(2, 6, 3)
    basis[0, 3, 2], basis[0, 4, 2], basis[1, 5, 0] = -0.1, 0.1, 0.2
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        decoder = ShapeDecoder(MEAN, basis, MIRROR, DecoderSettings(width=8, hidden=2)).double()
    torch.nn.init.normal_(decoder.network[-1].weight, std=0.1)
    latent = torch.tensor([[0.3, -0.4]], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(decoder, (latent,))


def test_layers_are_sparse_where_asked(car: ShapePrior) -> None:
    decoder = decoder_of(car, SMALL)
    sparse = [m for m in decoder.modules() if isinstance(m, DynamicBlockSparseLinear)]
    assert [(m.in_features, m.out_features) for m in sparse] == [(32, 32), (32, 872)]
    assert [m.density for m in sparse] == [0.25, 0.25]
    # 50 vertices lie in the plane and 480 mirror each other: 290 are free, 870 coordinates.
    assert len(decoder.symmetry.free) == 290
    again = copy.deepcopy(decoder)
    again.load_state_dict(decoder.state_dict())
    latent = torch.ones(8)
    assert torch.equal(again(latent), decoder(latent))


@pytest.mark.parametrize("sparsity", [None, SPARSE])
def test_training_learns_what_components_cannot(sparsity: SparsityConfig | None) -> None:
    shapes = bars(200, 0)
    settings = DecoderSettings(width=32, hidden=2, sparsity=sparsity)
    training = TrainingSettings(steps=300, batch=32, learning_rate=1e-2, mask_interval=20)
    ones, prior = torch.ones(3), components(shapes, 1)
    net, losses = train_autoencoder(
        shapes, prior, MIRROR, ones, settings, training, torch.Generator().manual_seed(0)
    )
    assert len(losses) == 300
    held = bars(50, 1)
    with torch.no_grad():
        error, chamfer = vertex_errors(net(held), held, torch.ones(50, 3))
        latents = net.encode(shapes)
    hardly = TrainingSettings(steps=1, batch=1, learning_rate=1e-9)
    start, _ = train_autoencoder(
        shapes, prior, MIRROR, ones, settings, hardly, torch.Generator().manual_seed(0)
    )
    with torch.no_grad():
        before, _ = vertex_errors(start(held), held, torch.ones(50, 3))
    # What it starts from is the projection onto the component.
    mean, basis = prior
    code = (held - mean).flatten(1) @ basis.flatten(1).mT / basis.square().sum()
    linear = unit_box(mean + code[..., None] * basis[0])
    torch.testing.assert_close(start(held).detach(), linear.float(), atol=1e-5, rtol=0)
    assert float(error.mean()) < 0.4 * float(before.mean())
    assert bool((chamfer <= error + 1e-6).all())
    assert float(latents.mean()) == pytest.approx(0, abs=1e-4)
    assert float(latents.std()) == pytest.approx(1, abs=1e-3)


def test_masks_change_and_training_is_repeatable() -> None:
    settings = DecoderSettings(width=16, hidden=2, sparsity=SPARSE)

    def run(interval: int) -> tuple[list[Tensor], list[float]]:
        training = TrainingSettings(steps=12, batch=8, mask_interval=interval)
        net, losses = train_autoencoder(
            bars(20, 0), components(bars(20, 0), 2), MIRROR, torch.ones(3), settings, training,
            torch.Generator().manual_seed(3),
        )  # fmt: skip
        layers = [m for m in net.modules() if isinstance(m, DynamicBlockSparseLinear)]
        return [layer.pattern.current.mask() for layer in layers], losses

    masks, losses = run(2)
    again, same = run(2)
    fixed, _ = run(100)
    assert losses == same
    assert all(torch.equal(a, b) for a, b in zip(masks, again, strict=True))
    assert [int(m.sum()) for m in masks] == [int(m.sum()) for m in fixed]
    assert any(not torch.equal(a, b) for a, b in zip(masks, fixed, strict=True))


def test_errors_of_a_known_shift() -> None:
    shapes = MEAN[None]
    error, chamfer = vertex_errors(
        shapes + torch.tensor([0.01, 0.0, 0.0]), shapes, torch.tensor([[4.0, 2.0, 1.5]])
    )
    assert float(error) == pytest.approx(0.04, abs=1e-6)
    assert float(chamfer) == pytest.approx(0.04, abs=1e-6)


def test_wrong_inputs_are_refused(car: ShapePrior) -> None:
    with pytest.raises(InputError, match="width is 30, expected a multiple"):
        DecoderSettings(width=30, sparsity=SPARSE)
    with pytest.raises(InputError, match="hidden is 0"):
        DecoderSettings(hidden=0)
    with pytest.raises(InputError, match="steps is 0"):
        TrainingSettings(steps=0)
    with pytest.raises(InputError, match="mirror is no mirror"):
        ShapeDecoder(car.mean, car.basis, torch.zeros(530, dtype=torch.int64), SMALL)
    with pytest.raises(InputError, match="mean is 1 from its mirror image"):
        ShapeDecoder(MEAN + torch.tensor([0, 0, 0.5]), torch.ones(1, 6, 3), MIRROR, SMALL)
    with pytest.raises(InputError, match="basis is zero"):
        ShapeDecoder(MEAN, torch.zeros(1, 6, 3), MIRROR, SMALL)
    with pytest.raises(InputError, match="latent has shape"):
        decoder_of(car, SMALL)(torch.ones(7))
    shapes = bars(20, 0)
    shapes[3, 0, 0] = torch.nan
    with pytest.raises(InputError, match="shape 3 holds coordinates that are not finite"):
        train(shapes, TrainingSettings())
    with pytest.raises(InputError, match="the loss is nan at step 1.*lower learning_rate"):
        train(bars(20, 0), TrainingSettings(learning_rate=1e38))


def train(shapes: Tensor, training: TrainingSettings) -> None:
    generator = torch.Generator().manual_seed(0)
    prior = components(bars(20, 0), 1)
    train_autoencoder(shapes, prior, MIRROR, torch.ones(3), SMALL, training, generator)
