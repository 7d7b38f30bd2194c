"""The mesh auto-encoder: a prior like any other, learned, resumed, saved and read."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from diffrender.blocksparse import SparsityConfig
from diffrender.errors import InputError
from diffrender.meshes import Mesh
from diffrender.shape_priors import (
    AutoencoderSettings,
    DecoderSettings,
    NeuralPrior,
    TrainingReport,
    fit_prior,
    learn_autoencoder,
    load_prior,
    save_prior,
    train_point_autoencoder,
)
from diffrender.shape_priors.build_asset import draw_fleet
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.learn import prior_of_set, read_mesh_set
from diffrender.shape_priors.learn_autoencoder import Labels
from diffrender.shape_priors.point_encoder import PointEncoder, surface_points

FLIP = torch.tensor([1.0, 1.0, -1.0])
SPARSE = SparsityConfig(density=0.5, block_size=8, mode="dynamic", backend="torch")
SMALL = AutoencoderSettings(
    latent_size=4,
    decoder=DecoderSettings(width=32, hidden=2, sparsity=SPARSE),
    encoder_width=32,
    points=64,
    steps=30,
    encoder_steps=30,
    batch=16,
    learning_rate=1e-3,
    mask_interval=5,
    checkpoint_every=20,
)


@pytest.fixture(scope="module")
def cars() -> list[Mesh]:
    shapes, sizes = draw_fleet(60, torch.Generator().manual_seed(1))
    faces = torch.from_numpy(lattice().faces)
    return [Mesh(v * s[[0, 2, 1]], faces) for v, s in zip(shapes, sizes, strict=True)]


@pytest.fixture(scope="module")
def learned(cars: list[Mesh]) -> NeuralPrior:
    return learn_autoencoder(cars, SMALL, torch.Generator().manual_seed(0), Labels("mine", "x"))


def topology() -> tuple[Tensor, Tensor]:
    return torch.from_numpy(lattice().faces), torch.from_numpy(lattice().mirror)


def test_it_is_a_prior_like_any_other(learned: NeuralPrior) -> None:
    latent = torch.randn(3, 4, generator=torch.Generator().manual_seed(2))
    unit = learned.decode(latent)
    assert unit.shape == (3, 530, 3)
    mirror = topology()[1]
    assert torch.equal(unit[:, mirror] * FLIP, unit)  # exactly
    low, high = unit.amin(1), unit.amax(1)
    torch.testing.assert_close(high - low, torch.ones(3, 3))
    size = torch.tensor([4.0, 1.7, 1.5])
    mesh = learned.mesh(latent[0], size)
    torch.testing.assert_close(
        (mesh.vertices.amax(0) - mesh.vertices.amin(0))[[0, 2, 1]], size, atol=1e-5, rtol=0
    )
    assert (learned.name, learned.licence, learned.part_names) == ("mine", "x", ("body",))


def test_the_basis_is_the_derivative_at_the_mean(learned: NeuralPrior) -> None:
    zero = torch.zeros(4)
    torch.testing.assert_close(learned.mean, learned.decode(zero))
    double = learned.to(torch.float64)
    few = torch.arange(0, 530, 60)
    found = torch.autograd.functional.jacobian(lambda z: double.decode(z)[few], zero.double())
    basis = learned.basis.double().permute(1, 2, 0)
    torch.testing.assert_close(basis[few], found, atol=1e-3, rtol=0)
    jacobian = double.decode_jacobian(zero.double())
    torch.testing.assert_close(jacobian[few], found, atol=1e-6, rtol=0)
    assert learned.mean.dtype == torch.float32  # the copy moved, not the original
    assert learned.to("cpu") is learned


def test_place_gradient(learned: NeuralPrior) -> None:
    double = learned.to(torch.float64)
    latent = torch.tensor([0.3, -0.2, 0.5, 0.1], dtype=torch.float64, requires_grad=True)
    size = torch.tensor([4.0, 1.7, 1.5], dtype=torch.float64, requires_grad=True)
    place = torch.zeros(3, dtype=torch.float64, requires_grad=True)

    def few(latent: Tensor, size: Tensor, location: Tensor) -> Tensor:
        return double.place(latent, size, torch.eye(3).double(), location)[::200]

    assert torch.autograd.gradcheck(few, (latent, size, place))


def test_the_encoder_reads_meshes_of_any_topology(learned: NeuralPrior, cars: list[Mesh]) -> None:
    mesh = cars[7]
    latent = learned.encode(mesh, torch.Generator().manual_seed(0))
    assert latent.shape == (4,)
    finer = Mesh(
        torch.cat([mesh.vertices, mesh.vertices[mesh.faces].mean(1)]),
        torch.cat(
            [
                torch.stack([mesh.faces[:, i], mesh.faces[:, (i + 1) % 3],
                             530 + torch.arange(len(mesh.faces))], 1)
                for i in range(3)
            ]
        ),
    )  # fmt: skip
    again = learned.encode(finer, torch.Generator().manual_seed(1))
    # Only the draw of the points differs.
    torch.testing.assert_close(again, latent, atol=0.25, rtol=0)


def test_training_improves_on_the_components_it_starts_from(cars: list[Mesh]) -> None:
    settings = dataclasses.replace(
        SMALL, decoder=DecoderSettings(width=64, hidden=2), steps=250, encoder_steps=800,
        encoder_rate=3e-3, mix=0.3,
    )  # fmt: skip
    losses: list[TrainingReport] = []
    shapes, _ = draw_fleet(60, torch.Generator().manual_seed(1))
    weights = torch.tensor([3.9, 1.5, 1.6])
    decoder, encoder = train_point_autoencoder(
        shapes, topology(), weights, settings, torch.Generator().manual_seed(0),
        progress=losses.append,
    )  # fmt: skip
    assert [r.step for r in losses] == list(range(1, 1051))
    assert losses[-1].steps == 1050
    assert losses[-1].rate > 0
    first = sum(r.loss for r in losses[:10])
    assert sum(r.loss for r in losses[200:250]) / 5 < 0.99 * first
    read = sum(r.loss for r in losses[250:260])  # the encoder over points starts at random
    assert sum(r.loss for r in losses[-50:]) / 5 < 0.9 * read
    points = surface_points(shapes, topology()[0], 256, torch.Generator().manual_seed(3), weights)
    with torch.no_grad():
        latents = encoder(points)
        away = ((decoder(latents) - shapes) * weights).norm(dim=-1).mean()
        flat = ((decoder(torch.zeros(4)) - shapes) * weights).norm(dim=-1).mean()
    assert float(away) < 0.95 * float(flat)
    assert float(latents.std(0).max()) < 2


def test_a_resumed_training_ends_with_the_same_bits(tmp_path: Path) -> None:
    shapes, _ = draw_fleet(30, torch.Generator().manual_seed(1))
    weights, file = torch.tensor([3.9, 1.5, 1.6]), tmp_path / "run.ckpt"

    def train(checkpoint: Path | None, progress: Callable[[TrainingReport], None] | None) -> Tensor:
        decoder, encoder = train_point_autoencoder(
            shapes, topology(), weights, SMALL, torch.Generator().manual_seed(0), checkpoint,
            progress,
        )  # fmt: skip
        return torch.cat([decoder(torch.ones(4)).flatten(), encoder(shapes[0]).flatten()])

    def kill(now: TrainingReport) -> None:
        if now.step == 47:
            raise KeyboardInterrupt

    whole = train(None, None)
    with pytest.raises(KeyboardInterrupt):
        train(file, kill)
    steps: list[int] = []
    assert torch.equal(train(file, lambda now: steps.append(now.step)), whole)
    assert steps[0] == 41  # at most one checkpoint's worth is lost
    other = dataclasses.replace(SMALL, batch=8)
    with pytest.raises(InputError, match="a run with other settings or data"):
        train_point_autoencoder(
            shapes, topology(), weights, other, torch.Generator().manual_seed(0), file
        )
    with pytest.raises(InputError, match="a run with other settings or data"):
        train_point_autoencoder(
            shapes, topology(), weights, SMALL, torch.Generator().manual_seed(1), file
        )
    file.write_bytes(b"nonsense")
    with pytest.raises(InputError, match="not a readable checkpoint"):
        train(file, None)


def test_fitting_takes_either_kind(learned: NeuralPrior, cars: list[Mesh]) -> None:
    target = learned.mesh(torch.tensor([0.8, -0.5, 0.3, 0.0]))
    found = fit_prior(learned, target.vertices, target.faces)
    assert found.iou > 0.97
    torch.testing.assert_close(found.size, learned.size_mean, atol=0.03, rtol=0)


def test_round_trip(learned: NeuralPrior, tmp_path: Path) -> None:
    path = save_prior(learned, tmp_path / "ae.safetensors")
    copy = load_prior(path)
    assert isinstance(copy, NeuralPrior)
    latent = torch.ones(2, 4)
    # The back-end is the reader's: sums differ in their last bits.
    torch.testing.assert_close(copy.decode(latent), learned.decode(latent), atol=1e-5, rtol=0)
    points = torch.rand(50, 3)
    assert copy.encoder is not None and learned.encoder is not None
    assert torch.equal(copy.encoder(points), learned.encoder(points))
    assert copy.decoder is not None
    assert copy.decoder.settings.sparsity == dataclasses.replace(
        SPARSE, block_size=(8, 8), backend=None
    )
    again = save_prior(copy, tmp_path / "again.safetensors")
    first, second = load_file(path), load_file(again)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_broken_files_are_refused(learned: NeuralPrior, tmp_path: Path) -> None:
    from safetensors import safe_open

    path = save_prior(learned, tmp_path / "ae.safetensors")
    tensors = load_file(path)
    with safe_open(str(path), framework="pt") as file:
        metadata = dict(file.metadata())
    networks = json.loads(metadata["networks"])

    def refused(message: str, change: dict[str, object], **given: Tensor | None) -> None:
        merged = {**tensors, **given}
        kept = {n: t for n, t in merged.items() if t is not None}
        text = json.dumps({**networks, **change})
        broken = tmp_path / "broken.safetensors"
        save_file(kept, broken, {**metadata, "networks": text})
        with pytest.raises(InputError, match=message):
            load_prior(broken)

    refused("networks of version 7", {"version": 7})
    refused("must hold exactly", {"more": 1})
    refused("a width of 0", {"decoder": {**networks["decoder"], "width": 0}})
    refused("the width 64 of the header", {"decoder": {**networks["decoder"], "width": 64}})
    refused("a sparsity of unknown form", {"decoder": {**networks["decoder"], "sparsity": {}}})
    refused(r"unknown: \['surplus'\]", {}, surplus=torch.zeros(1))
    refused(r"missing: \['decoder.linear.bias'\]", {}, **{"decoder.linear.bias": None})
    holes = tensors["decoder.linear.bias"].clone()
    holes[0] = torch.nan
    refused("not finite", {}, **{"decoder.linear.bias": holes})
    refused("expected", {}, **{"encoder.head.2.weight": torch.zeros(3, 32)})
    refused("mirror is no mirror", {}, mirror=torch.zeros(530, dtype=torch.int32))
    columns = tensors["decoder.network.2.column_indices"]
    refused("does not fit its pattern", {},
            **{"decoder.network.2.column_indices": columns.repeat(9)})  # fmt: skip


def test_the_shipped_one_is_small_and_has_all_parts() -> None:
    prior = load_prior("car-autoencoder")
    assert isinstance(prior, NeuralPrior)
    assert prior.latent_size == 8
    assert prior.licence == "Apache-2.0"
    assert prior.part_names == load_prior("car").part_names
    assert prior.encoder is not None
    assert prior.texture is not None
    shapes, sizes = draw_fleet(20, torch.Generator().manual_seed(9))  # another seed's cars
    mean, found = [], []
    for shape, size in zip(shapes, sizes, strict=True):
        mesh = Mesh(shape, prior.faces)
        latent = prior.encode(mesh, torch.Generator().manual_seed(0))
        metric = size[[0, 2, 1]]
        found.append(((prior.decode(latent) - shape) * metric).norm(dim=-1).mean())
        mean.append(((prior.mean - shape) * metric).norm(dim=-1).mean())
    assert float(torch.stack(found).mean()) < 0.7 * float(torch.stack(mean).mean())


def test_wrong_inputs_are_refused(cars: list[Mesh]) -> None:
    with pytest.raises(InputError, match="mix is 2"):
        AutoencoderSettings(mix=2)
    with pytest.raises(InputError, match="encoder_rate is 0"):
        AutoencoderSettings(encoder_rate=0)
    with pytest.raises(InputError, match="4 meshes cannot give 4 latents"):
        learn_autoencoder(cars[:4], SMALL)
    with pytest.raises(InputError, match="width 6, expected"):
        PointEncoder(4, 6)
    with pytest.raises(InputError, match="0 points"):
        surface_points(torch.zeros(4, 3), torch.tensor([[0, 1, 2]]), 0, torch.Generator())
    with pytest.raises(InputError, match="not finite"):
        train_point_autoencoder(
            torch.full((9, 530, 3), torch.nan), topology(), torch.ones(3), SMALL, torch.Generator()
        )
    read = read_mesh_set(cars)
    assert prior_of_set(read.subset(torch.arange(30)), 4, "a", "b").latent_size == 4
    with pytest.raises(InputError, match="no meshes"):
        read_mesh_set([])
