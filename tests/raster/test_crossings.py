"""The list of outline crossings: the same on both back-ends, and its rates against differences."""

from __future__ import annotations

import pytest
import torch
from raster_scenes import NEEDS_NATIVE

from diffrender.cameras import Camera
from diffrender.errors import InputError
from diffrender.meshes import MeshBatch
from diffrender.raster import Fragments, antialias, find_crossings, rasterize

BACKENDS = ["torch", pytest.param("native", marks=NEEDS_NATIVE)]
CAMERA = Camera.from_intrinsics(
    torch.tensor([[20.0, 0, 12], [0, 20, 10], [0, 0, 1]], dtype=torch.float64),
    (20, 24),
    pixel_centres="half",
)
FACES = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
TETRAHEDRA = torch.tensor(
    [
        [[-0.7, -0.5, 3.0], [0.8, -0.4, 3.2], [0.1, 0.6, 2.9], [0.05, 0.02, 2.2]],
        [[-0.3, -0.6, 2.5], [0.9, 0.1, 3.0], [-0.6, 0.5, 3.1], [0.15, 0.1, 2.0]],
    ],
    dtype=torch.float64,
)


def drawn(vertices: torch.Tensor) -> tuple[torch.Tensor, Fragments, MeshBatch]:
    batch = MeshBatch.shared(vertices, FACES)
    fragments = rasterize(batch, CAMERA, backend="torch")
    face = fragments.face[..., 0]
    colour = torch.where(face < 0, 0.0, 0.3 + 0.1 * face.double())
    return torch.stack([fragments.mask(), colour], dim=-1), fragments, batch


@pytest.mark.parametrize("backend", BACKENDS)
def test_blending_by_the_list_is_antialiasing(backend: str) -> None:
    image, fragments, batch = drawn(TETRAHEDRA)
    out, found = find_crossings(image, fragments, backend=backend)
    assert torch.equal(out, antialias(image, fragments, batch, CAMERA, backend=backend))
    by_hand = image.reshape(-1, 2).clone()
    for columns in (False, True):
        pick = found.upright == columns
        change = found.alpha[pick, None] * found.difference[pick]
        by_hand.index_add_(0, found.target[pick], change)
    assert torch.allclose(by_hand.view_as(out), out, atol=1e-12)
    assert (found.image.diff()[~found.upright[1:]] >= 0).all()


@NEEDS_NATIVE
def test_both_back_ends_find_the_same_crossings() -> None:
    image, fragments, _ = drawn(TETRAHEDRA)
    first = find_crossings(image, fragments, backend="native")[1]
    second = find_crossings(image, fragments, backend="torch")[1]
    assert len(first.alpha) == len(second.alpha) > 40
    for name in ("image", "inside", "outside", "start", "end", "upright"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    for name in ("along", "slope", "sign", "alpha", "difference"):
        assert torch.allclose(getattr(first, name), getattr(second, name), atol=1e-9), name


@pytest.mark.parametrize("backend", BACKENDS)
def test_rates_are_the_differences_of_the_shares(backend: str) -> None:
    image, fragments, _ = drawn(TETRAHEDRA)
    found = find_crossings(image, fragments, backend=backend)[1]
    generator = torch.Generator().manual_seed(1)
    direction = torch.randn(TETRAHEDRA.shape, generator=generator, dtype=torch.float64)
    step = 1e-6
    shares, places = [], []
    for sign in (1, -1):
        moved = TETRAHEDRA + sign * step * direction
        places.append(CAMERA.project(moved.flatten(0, 1))[0])
        image_there, fragments_there, _ = drawn(moved)
        there = find_crossings(image_there, fragments_there, backend=backend)[1]
        pairs = zip(there.inside.tolist(), there.outside.tolist(), strict=True)
        shares.append(dict(zip(pairs, there.alpha.tolist(), strict=True)))
    rates = found.rates((places[0] - places[1])[..., None] / (2 * step))[:, 0].tolist()
    pairs = list(zip(found.inside.tolist(), found.outside.tolist(), strict=True))
    # Where two edges cross at the same place, the nearer one changes within the step.
    kept = [k for k, pair in enumerate(pairs) if pair in shares[0] and pair in shares[1]]
    assert len(kept) >= len(pairs) - 2 > 40
    for k in kept:
        expected = (shares[0][pairs[k]] - shares[1][pairs[k]]) / (2 * step)
        assert rates[k] == pytest.approx(expected, abs=1e-4)


def test_images_that_do_not_fit_are_refused() -> None:
    image, fragments, _ = drawn(TETRAHEDRA)
    with pytest.raises(InputError, match=r"expected \(B, H, W, C\)"):
        find_crossings(image[:, :5], fragments)
    with pytest.raises(InputError, match="convert one"):
        find_crossings(image.float(), fragments)
