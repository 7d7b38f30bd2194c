"""The shipped network: its file, and that it has learnt what docs/depth.md says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from real_frames import focal_length, lidar_map, read_image

from diffrender.datasets.synthetic import DEVELOPMENT_SEED, SyntheticStreets
from diffrender.depth import DepthModel, create_depth, dpt_timm, load_dpt
from diffrender.errors import InputError
from diffrender.evaluate.depth_metrics import depth_metrics


@pytest.fixture(scope="module")
def network() -> DepthModel:
    return create_depth()


def test_the_file_is_small_and_complete() -> None:
    path = dpt_timm.shipped_weights()
    assert path.stat().st_size <= 8_000_000
    net = load_dpt(path)
    assert net.config.output == "metric"
    assert not any(p.requires_grad for p in net.parameters())


def test_a_build_without_weights_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dpt_timm, "_SHIPPED", "absent.safetensors")
    with pytest.raises(InputError, match="no shipped depth weights"):
        create_depth("dpt-timm")


def test_depth_of_streets_that_were_not_trained_on(network: DepthModel) -> None:
    streets = SyntheticStreets(DEVELOPMENT_SEED, 204, (188, 622))
    errors = []
    for index in range(200, 204):
        frame = streets[index]
        prediction = network.predict(frame.image, float(frame.camera.intrinsics[0, 0]))
        assert prediction.kind == "metric"
        metrics = depth_metrics(prediction.values, frame.depth, "garg")
        errors.append(metrics.abs_rel)
        # The best constant depth of each frame is what knowing nothing would give.
        truth = frame.depth[(frame.depth > 0) & (frame.depth < 80)]
        constant = np.full_like(frame.depth, np.median(truth))
        assert metrics.abs_rel < depth_metrics(constant, frame.depth, "garg").abs_rel
    assert np.mean(errors) < 0.3


def test_depth_of_real_streets(network: DepthModel, shared: Path) -> None:
    errors = []
    for frame in ("000007", "000009", "000060", "000080"):
        image = read_image(shared, frame)
        values = network.predict(image, focal_length(shared, frame)).values
        truth = lidar_map(shared, frame, image.shape[:2])
        errors.append(depth_metrics(values, truth, "garg").abs_rel)
    assert np.mean(errors) < 0.25
