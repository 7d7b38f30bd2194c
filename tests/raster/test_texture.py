"""Texture look-up: bilinear, wrapped, through mip maps, and the footprint that chooses a level."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from raster_scenes import DOUBLE, EACH_BACKEND, NEEDS_NATIVE, weights
from torch import Tensor

from diffrender.errors import InputError
from diffrender.raster import sample_texture


@EACH_BACKEND
def test_convention_texel_centres_lie_at_half(backend: str) -> None:
    texture = weights(torch.Size((3, 4, 2)))
    rows, columns = torch.meshgrid(torch.arange(3), torch.arange(4), indexing="ij")
    uv = torch.stack([(columns + 0.5) / 4, (rows + 0.5) / 3], dim=-1).double()
    torch.testing.assert_close(sample_texture(texture, uv, backend=backend), texture)
    corners = torch.tensor([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [2.0, -1.0]], dtype=DOUBLE)
    wanted = torch.stack([texture[0, 0], texture[0, 3], texture[2, 0], texture[0, 3]])
    torch.testing.assert_close(sample_texture(texture, corners, backend=backend), wanted)
    between = torch.tensor([0.5, 0.5], dtype=DOUBLE)
    torch.testing.assert_close(
        sample_texture(texture, between, backend=backend), (texture[1, 1] + texture[1, 2]) / 2
    )


@EACH_BACKEND
def test_convention_repeat_has_period_one(backend: str) -> None:
    texture = weights(torch.Size((3, 4, 2)))
    uv = weights(torch.Size((20, 2)), 1)
    got = [sample_texture(texture, uv + s, wrap="repeat", backend=backend) for s in (-2.0, 0, 5.0)]
    torch.testing.assert_close(got[0], got[1])
    torch.testing.assert_close(got[2], got[1])
    seam = torch.tensor([0.0, 0.5 / 3], dtype=DOUBLE)  # between the last and the first column
    wanted = (texture[0, 0] + texture[0, 3]) / 2
    torch.testing.assert_close(
        sample_texture(texture, seam, wrap="repeat", backend=backend), wanted
    )


@EACH_BACKEND
@pytest.mark.parametrize("channels", [1, 2, 3, 4, 6])
def test_against_grid_sample(backend: str, channels: int) -> None:
    texture = weights(torch.Size((7, 5, channels))).requires_grad_()
    uv = (weights(torch.Size((90, 2)), 1) * 1.4 - 0.2).requires_grad_()
    peer = torch.nn.functional.grid_sample(
        texture.permute(2, 0, 1)[None],
        (2 * uv - 1)[None, None],
        padding_mode="border",
        align_corners=False,
    )[0, :, 0].T
    ours = sample_texture(texture, uv, backend=backend)
    torch.testing.assert_close(ours, peer)
    pull = weights(peer.shape, 2)
    wanted = torch.autograd.grad((peer * pull).sum(), [texture, uv])
    got = torch.autograd.grad((ours * pull).sum(), [texture, uv])
    for one, two in zip(got, wanted, strict=True):
        torch.testing.assert_close(one, two)


def pyramid(texture: Tensor) -> list[Tensor]:
    """Levels by hand: each output texel is the mean over its rectangle, texel by texel."""
    levels = [texture]
    while max(levels[-1].shape[:2]) > 1:
        above = levels[-1]
        height, width = above.shape[:2]
        h, w = max(1, height // 2), max(1, width // 2)
        level = above.new_zeros(h, w, above.shape[2])
        for i in range(h):
            for j in range(w):
                for y in range(height):
                    for x in range(width):
                        tall = min((i + 1) * height / h, y + 1) - max(i * height / h, y)
                        wide = min((j + 1) * width / w, x + 1) - max(j * width / w, x)
                        if tall > 0 and wide > 0:
                            level[i, j] += above[y, x] * (tall * wide * h * w / (height * width))
        levels.append(level)
    return levels


@EACH_BACKEND
@pytest.mark.parametrize("size", [(8, 8), (7, 10), (1, 5)])
def test_trilinear_against_a_pyramid_by_hand(backend: str, size: tuple[int, int]) -> None:
    texture = weights(torch.Size((*size, 3)))
    levels = pyramid(texture)
    uv = weights(torch.Size((12, 2)), 1)
    for level in (0.0, 0.3, 1.0, 1.75, 2.0, 9.0):
        texels = 2.0**level
        footprint = torch.tensor([[0.5 * texels / size[1], 0.0], [0.0, texels / size[0]]]).double()
        k = min(level, float(len(levels) - 1))
        low, high = int(k), min(int(k) + 1, len(levels) - 1)
        one, two = (sample_texture(levels[i], uv, backend="torch") for i in (low, high))
        wanted = one + (k - low) * (two - one)
        got = sample_texture(texture, uv, footprint=footprint.expand(12, 2, 2), backend=backend)
        torch.testing.assert_close(got, wanted)


@EACH_BACKEND
@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
def test_gradcheck_to_texture_uv_and_footprint(backend: str, wrap: str) -> None:
    """Every cell of the card: the texture through all levels, uv, the footprint between levels."""
    texture = weights(torch.Size((5, 6, 2))).requires_grad_()
    uv = (weights(torch.Size((4, 2)), 1) * 0.9 + 0.03).requires_grad_()
    footprint = (weights(torch.Size((4, 2, 2)), 2) * 0.4 + 0.1).requires_grad_()

    def look(texture: Tensor, uv: Tensor, footprint: Tensor) -> Tensor:
        return sample_texture(texture, uv, footprint=footprint, wrap=wrap, backend=backend)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(look, (texture, uv, footprint), eps=1e-7)

    def plain(texture: Tensor, uv: Tensor) -> Tensor:
        return sample_texture(texture, uv, wrap=wrap, backend=backend)  # type: ignore[arg-type]

    assert torch.autograd.gradcheck(plain, (texture, uv), eps=1e-7)


@EACH_BACKEND
def test_gradients_are_zero_where_the_card_says_so(backend: str) -> None:
    texture = weights(torch.Size((5, 6, 2)))
    outside = torch.tensor([[1.4, 0.5], [0.5, -0.1]], dtype=DOUBLE).requires_grad_()
    (grad,) = torch.autograd.grad(sample_texture(texture, outside, backend=backend).sum(), outside)
    assert float(grad[0, 0]) == 0.0 and float(grad[1, 1]) == 0.0
    assert float(grad[0, 1]) != 0.0 and float(grad[1, 0]) != 0.0
    small = torch.full((1, 2, 2), 1e-3, dtype=DOUBLE).requires_grad_()
    large = torch.full((1, 2, 2), 1e3, dtype=DOUBLE).requires_grad_()
    for footprint in (small, large):
        image = sample_texture(texture, outside[:1] * 0.4, footprint=footprint, backend=backend)
        (grad,) = torch.autograd.grad(image.sum(), footprint)
        assert bool((grad == 0).all())


@NEEDS_NATIVE
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("channels", [1, 3, 4, 9])
@pytest.mark.parametrize("wrap", ["clamp", "repeat"])
@pytest.mark.parametrize("mip", [False, True])
def test_twins(dtype: torch.dtype, channels: int, wrap: str, mip: bool) -> None:
    results = {}
    for backend in ("native", "torch"):
        texture = weights(torch.Size((2, 21, 34, channels)), 0, dtype).requires_grad_()
        uv = (weights(torch.Size((2, 11, 17, 2)), 1, dtype) * 2 - 0.5).requires_grad_()
        leaves = [texture, uv]
        footprint = None
        if mip:
            footprint = weights(torch.Size((2, 11, 17, 2, 2)), 2, dtype).mul(0.4).requires_grad_()
            leaves.append(footprint)
        out = sample_texture(texture, uv, footprint=footprint, wrap=wrap, backend=backend)  # type: ignore[arg-type]
        loss = (out * weights(out.shape, 3, dtype)).sum()
        results[backend] = [out, *torch.autograd.grad(loss, leaves)]
    tolerance = 2e-5 if dtype == torch.float32 else 1e-11
    for got, wanted in zip(results["native"], results["torch"], strict=True):
        scale = float(wanted.detach().abs().max())
        assert scale > 0
        assert float((got - wanted).detach().abs().max()) <= tolerance * scale


@EACH_BACKEND
def test_bits_do_not_depend_on_threads(backend: str) -> None:
    texture = weights(torch.Size((64, 64, 3)), 0, torch.float32).requires_grad_()
    uv = weights(torch.Size((5000, 2)), 1, torch.float32)
    pull = weights(torch.Size((5000, 3)), 2, torch.float32)
    footprint = weights(torch.Size((5000, 2, 2)), 3, torch.float32) * 0.2
    grads, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 5):
            torch.set_num_threads(threads)
            out = sample_texture(texture, uv, footprint=footprint, backend=backend)
            grads.append(torch.autograd.grad(out, texture, pull)[0])
    finally:
        torch.set_num_threads(before)
    if backend == "native":  # torch's own scatter makes no such promise
        assert torch.equal(grads[0], grads[1]) and torch.equal(grads[0], grads[2])
    torch.testing.assert_close(grads[0], grads[2])


@EACH_BACKEND
def test_each_texture_serves_its_own_images(backend: str) -> None:
    textures = weights(torch.Size((2, 3, 4, 5, 2)))
    uv = weights(torch.Size((2, 3, 6, 7, 2)), 1)
    got = sample_texture(textures, uv, backend=backend)
    assert got.shape == (2, 3, 6, 7, 2)
    alone = sample_texture(textures[1, 2], uv[1, 2], backend=backend)
    torch.testing.assert_close(got[1, 2], alone)
    shared = sample_texture(textures[1, 2], uv, backend=backend)
    torch.testing.assert_close(shared[1, 2], alone)


@EACH_BACKEND
@settings(max_examples=30, deadline=None)
@given(
    st.lists(st.floats(-(2.0**100), 2.0**100, width=32), min_size=2, max_size=2),
    st.sampled_from(["clamp", "repeat"]),
    st.floats(0, 2.0**60, width=32),
)
def test_far_coordinates_stay_within_the_texture(
    backend: str, place: list[float], wrap: str, step: float
) -> None:
    texture = weights(torch.Size((3, 4, 2)), 0, torch.float32).requires_grad_()
    uv = torch.tensor([place]).requires_grad_()
    footprint = torch.full((1, 2, 2), step).requires_grad_()
    out = sample_texture(texture, uv, footprint=footprint, wrap=wrap, backend=backend)  # type: ignore[arg-type]
    values = out.detach()
    assert float(texture.detach().min()) - 1e-5 <= float(values.min())
    assert float(values.max()) < 1.0 + 1e-5
    for grad in torch.autograd.grad(out.sum(), [texture, uv, footprint]):
        assert bool(torch.isfinite(grad).all())


@EACH_BACKEND
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_comes_back(backend: str, dtype: torch.dtype) -> None:
    texture, uv = weights(torch.Size((4, 4, 3)), 0).to(dtype), weights(torch.Size((9, 2)), 1)
    out = sample_texture(texture, uv.float(), backend=backend)
    assert out.dtype == dtype
    wanted = sample_texture(texture.float(), uv.float(), backend=backend)
    torch.testing.assert_close(out, wanted.to(dtype))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = sample_texture(texture.float(), uv.float(), backend=backend)
    assert torch.equal(inside, wanted)


@EACH_BACKEND
def test_nan_is_named(backend: str) -> None:
    texture, uv = torch.zeros(3, 4, 2), torch.zeros(5, 2)
    uv[3, 1] = torch.nan
    with pytest.raises(
        InputError, match=r"uv holds 1 NaN or infinite values, the first at \(3, 1\)"
    ):
        sample_texture(texture, uv, backend=backend)
    texture[0, 0, 0] = torch.inf
    with pytest.raises(InputError, match="texture holds 1 NaN"):
        sample_texture(texture, torch.zeros(5, 2), backend=backend)


def test_wrong_shapes_are_named() -> None:
    with pytest.raises(InputError, match="uv has shape"):
        sample_texture(torch.zeros(3, 4, 2), torch.zeros(5, 3))
    with pytest.raises(InputError, match="texture is torch"):
        sample_texture(torch.zeros(3, 4, 2), torch.zeros(5, 2, dtype=DOUBLE))
    with pytest.raises(InputError, match="uv must begin with them"):
        sample_texture(torch.zeros(2, 3, 4, 2), torch.zeros(5, 2))
    with pytest.raises(InputError, match="wrap is 'mirror'"):
        sample_texture(torch.zeros(3, 4, 2), torch.zeros(5, 2), wrap="mirror")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="footprint has shape"):
        sample_texture(torch.zeros(3, 4, 2), torch.zeros(5, 2), footprint=torch.zeros(5, 2))
    with pytest.raises(InputError, match="no texel"):
        sample_texture(torch.zeros(0, 4, 2), torch.zeros(5, 2))


@NEEDS_NATIVE
def test_operator_is_sound() -> None:
    from diffrender.raster._texture_ops import ops

    texture = weights(torch.Size((1, 4, 5, 3))).requires_grad_()
    uv = weights(torch.Size((1, 6, 2)), 1).requires_grad_()
    torch.library.opcheck(
        ops.sample_texture.default, (texture, texture.new_zeros(1, 0, 3).detach(), uv, None, True)
    )
