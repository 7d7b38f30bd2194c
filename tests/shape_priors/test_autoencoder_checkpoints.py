"""Checkpoints of the auto-encoder that were broken: refused by their name."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffrender.errors import InputError
from diffrender.shape_priors import AutoencoderSettings, DecoderSettings, train_point_autoencoder
from diffrender.shape_priors.build_asset import draw_fleet
from diffrender.shape_priors.car_lattice import lattice

SHORT = AutoencoderSettings(
    latent_size=4,
    decoder=DecoderSettings(width=32, hidden=2),
    encoder_width=32,
    points=64,
    steps=2,
    encoder_steps=2,
    batch=16,
    checkpoint_every=3,
)


def _train(
    file: Path, shapes: torch.Tensor, topology: tuple[torch.Tensor, torch.Tensor], metres: float
) -> None:
    train_point_autoencoder(
        shapes, topology, torch.tensor([3.9, metres, 1.6]), SHORT,
        torch.Generator().manual_seed(0), file,
    )  # fmt: skip


def test_a_run_goes_on_only_with_the_shapes_and_metres_it_began_with(tmp_path: Path) -> None:
    shapes, _ = draw_fleet(30, torch.Generator().manual_seed(1))
    faces, mirror = torch.from_numpy(lattice().faces), torch.from_numpy(lattice().mirror)
    file = tmp_path / "run.ckpt"
    _train(file, shapes, (faces, mirror), 1.5)
    _train(file, shapes, (faces, mirror), 1.5)
    for others in (
        (shapes, (faces, mirror), 1.6),
        (shapes.flip(0), (faces, mirror), 1.5),  # of the same sum
        (shapes, (faces.flip(0), mirror), 1.5),
    ):
        with pytest.raises(InputError, match=r"run\.ckpt is of a run with other settings or data"):
            _train(file, *others)


@pytest.mark.parametrize("words", [2, 3])  # the seed; and the digest of what is trained on
def test_a_run_begun_when_less_was_kept_goes_on(words: int, tmp_path: Path) -> None:
    shapes, _ = draw_fleet(30, torch.Generator().manual_seed(1))
    topology = torch.from_numpy(lattice().faces), torch.from_numpy(lattice().mirror)
    file = tmp_path / "run.ckpt"
    _train(file, shapes, topology, 1.5)
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["diffrender.training"])
    header["identity"] = header["identity"].rsplit(" ", words)[0]
    save_file(load_file(file), file, {"diffrender.training": json.dumps(header)})
    _train(file, shapes, topology, 1.5)
    with pytest.raises(InputError, match="other settings or data"):
        _train(file, 0.9 * shapes, topology, 1.5)


@pytest.mark.parametrize(
    ("lost", "message"),
    [
        ("facts", "holds no options and schedule"),
        ("groups", "the moments do not fit the optimizer"),
        ("generator.state", "holds no state of the generator"),
        ("pair.exp_avg.0", "the moments do not fit the optimizer"),
    ],
)
def test_a_checkpoint_that_lacks_a_part_is_refused(lost: str, message: str, tmp_path: Path) -> None:
    shapes, _ = draw_fleet(30, torch.Generator().manual_seed(1))
    file = tmp_path / "run.ckpt"
    topology = torch.from_numpy(lattice().faces), torch.from_numpy(lattice().mirror)

    def train() -> None:
        train_point_autoencoder(
            shapes, topology, torch.tensor([3.9, 1.5, 1.6]), SHORT,
            torch.Generator().manual_seed(0), file,
        )  # fmt: skip

    train()
    with safe_open(file, "pt") as opened:
        header = json.loads(opened.metadata()["diffrender.training"])
    tensors = load_file(file)
    if lost == "facts":
        del header["facts"]
    elif lost == "groups":
        header["facts"]["pair"]["groups"] = [{}]
    else:
        del tensors[lost]
    save_file(tensors, file, {"diffrender.training": json.dumps(header)})
    with pytest.raises(InputError, match=rf"run\.ckpt: {message}"):
        train()
