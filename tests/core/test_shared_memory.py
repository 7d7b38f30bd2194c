"""What is kept for the next caller is not what callers get: writing into it changes nothing."""

from __future__ import annotations

import numpy as np
import torch

from diffrender.datasets.synthetic import SyntheticStreets
from diffrender.heading import shipped_heading, to_tensors
from diffrender.shape_priors import load_prior, sample_car


def test_cars_do_not_share_their_topology() -> None:
    before = SyntheticStreets(1, 1, (32, 106))[0].image
    mesh = sample_car("van", torch.Generator().manual_seed(0)).mesh
    assert mesh.face_parts is not None and mesh.face_uv is not None and mesh.uv is not None
    for values in (mesh.faces, mesh.face_parts, mesh.face_uv, mesh.uv):
        values.zero_()
    assert np.array_equal(SyntheticStreets(1, 1, (32, 106))[0].image, before)
    other = sample_car("van", torch.Generator().manual_seed(0)).mesh
    assert other.faces.max() > 0 and other.face_uv is not None and other.face_uv.max() > 0


def test_the_free_prior_is_the_callers_own() -> None:
    with torch.inference_mode():
        first = load_prior("free")
    mean = first.size_mean.tolist()
    first.size_mean.mul_(10)
    again = load_prior("free")
    assert again.size_mean.tolist() == mean
    latent = torch.zeros(again.latent_size, requires_grad=True)
    again.decode(latent).sum().backward()
    assert latent.grad is not None


def test_the_heading_networks_backbone_stays_as_it_is() -> None:
    crops = np.random.default_rng(0).integers(0, 256, (2, 128, 128, 3), dtype=np.uint8)
    pair = to_tensors(crops, np.full((2, 128, 128), 255, np.uint8))
    net = shipped_heading()
    with torch.no_grad():
        before = net.read(*pair)
        net.train()
        assert net.training and not net.backbone.training
        net(*pair)
        assert torch.equal(net.eval().read(*pair), before)
        net.train()
        assert torch.equal(shipped_heading().read(*pair), before)  # a copy of its own
