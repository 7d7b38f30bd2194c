"""rt-monodepth and pydnet: the real weights against real frames, and broken weight files."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from real_frames import WITH_LIDAR, lidar_map, read_image

from diffrender.depth import create_depth, read_depth
from diffrender.depth.pydnet import _shapes, pydnet_forward
from diffrender.depth.rt_monodepth import RtMonoDepthNet
from diffrender.errors import InputError
from diffrender.evaluate.depth_metrics import depth_metrics


@pytest.mark.parametrize("frame", ["000003", "000012", "000145"])
def test_rt_monodepth_reproduces_the_published_maps(shared: Path, frame: str) -> None:
    weights = shared / "data/depth_weights/rtmonodepth_s_ms.npz"
    published = read_depth(shared / f"data/kitti/training/depth_2/{frame}.png", 256)
    prediction = create_depth("rt-monodepth", weights).predict(read_image(shared, frame))
    assert prediction.kind == "metric"
    assert prediction.values.dtype == np.float32
    error = np.abs(np.minimum(prediction.values, 200) - published)  # the files end at 200 m
    # Half a unit of the PNG is 1/512 m. The order of float32 sums differs between processors, and
    # depth is an inverse: some forty roundings of a share of it, near 0.05 mm at 10 m.
    assert float((error - 5e-6 * published).max()) < 1 / 512
    assert (error / published).mean() < 2e-4


def test_pydnet_has_the_known_error_on_real_frames(shared: Path) -> None:
    model = create_depth("pydnet", shared / "data/depth_weights/pydnetpp_float.npz")
    errors = []
    for frame in WITH_LIDAR[1:4]:
        image = read_image(shared, frame)
        prediction = model.predict(image)
        assert prediction.kind == "relative_depth"
        truth = lidar_map(shared, frame, image.shape[:2])
        metrics = depth_metrics(prediction.values, truth, "garg", median_scaling=True)
        errors.append(metrics.abs_rel)
    # Documented for this network: 0.15 to 0.47 a frame, 0.254 on average over 22 frames.
    assert 0.14 < min(errors)
    assert max(errors) < 0.48


def test_pydnet_shapes_and_positive_depth(tmp_path: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    weights = {
        name: torch.tensor(0.2) if shape == () else 0.1 * torch.randn(shape, generator=generator)
        for name, shape in _shapes().items()
    }
    out = pydnet_forward(weights, torch.rand(2, 3, 64, 128, generator=generator))
    assert out.shape == (2, 1, 32, 64)
    path = tmp_path / "weights.npz"
    np.savez(path, **{name: tensor.numpy() for name, tensor in weights.items()})
    image = np.random.default_rng(0).integers(0, 256, (48, 96, 3), dtype=np.uint8)
    prediction = create_depth("pydnet", path).predict(image)
    assert prediction.values.shape == (48, 96)
    assert prediction.values.min() > 0


@pytest.fixture(scope="module")
def random_rt(tmp_path_factory: pytest.TempPathFactory) -> dict[str, np.ndarray]:
    torch.manual_seed(0)
    state = RtMonoDepthNet().state_dict()
    return {key.replace(".", "/", 1): value.numpy() for key, value in state.items()}


def test_rt_monodepth_is_symmetric_under_mirroring(
    random_rt: dict[str, np.ndarray], tmp_path: Path
) -> None:
    np.savez(tmp_path / "w.npz", **random_rt)
    model = create_depth("rt-monodepth", tmp_path / "w.npz")
    image = np.random.default_rng(1).integers(0, 256, (60, 200, 3), dtype=np.uint8)
    plain = model.predict(image).values
    mirrored = model.predict(np.ascontiguousarray(image[:, ::-1])).values[:, ::-1]
    assert 5.4 / 10 <= plain.min()
    assert plain.max() <= 5.4 / 0.01
    np.testing.assert_allclose(plain, mirrored, rtol=1e-4)


def _broken(arrays: dict[str, np.ndarray], how: str) -> dict[str, np.ndarray]:
    name = "decoder/decoder.8.conv3.bias"
    if how == "missing":
        return {k: v for k, v in arrays.items() if k != name}
    if how == "unknown":
        return arrays | {"surprise": np.zeros(1)}
    bad = {
        "shape": np.zeros(2, np.float32),
        "nan": np.full(1, np.nan, np.float32),
        "text": np.array(["a"]),
        "pickle": np.array([{}], dtype=object),
    }
    return arrays | {name: bad[how]}


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("missing", "1 arrays are missing"),
        ("unknown", r"1 are unknown \(surprise\)"),
        ("shape", r"decoder.8.conv3.bias' is float32 of shape \(2,\), expected"),
        ("nan", "holds NaN"),
        ("text", "expected real numbers"),
        ("pickle", "cannot be read as .npz weights"),
    ],
)
def test_broken_weights_are_refused(
    random_rt: dict[str, np.ndarray], tmp_path: Path, how: str, message: str
) -> None:
    path = tmp_path / "w.npz"
    np.savez(path, **_broken(random_rt, how))
    with pytest.raises(InputError, match=message):
        create_depth("rt-monodepth", path)


def test_weights_that_unpack_too_large_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bomb.npz"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.npy", bytes(80 << 20))
    with pytest.raises(InputError, match="bytes when unpacked"):
        create_depth("rt-monodepth", path)


def test_weights_that_are_no_archive_are_refused(tmp_path: Path) -> None:
    (tmp_path / "w.npz").write_bytes(b"not a zip")
    with pytest.raises(InputError, match=r"not an \.npz file"):
        create_depth("pydnet", tmp_path / "w.npz")
    with pytest.raises(InputError, match="no such file"):
        create_depth("pydnet", tmp_path / "absent.npz")
    with pytest.raises(InputError, match=r"'pydnet' needs weights=FILE"):
        create_depth("pydnet")
