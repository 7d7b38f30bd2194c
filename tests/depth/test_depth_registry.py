"""The registry, its cards, and what every model refuses."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from diffrender.depth import (
    DepthCard,
    DepthModel,
    DepthPrediction,
    OnnxSettings,
    create_depth,
    depth_card,
    list_depth,
)
from diffrender.errors import InputError


class Constant(DepthModel):
    card = DepthCard("constant", "metric", "", "", "", "")
    device = torch.device("cpu")

    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def _predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:
        return DepthPrediction(self.values, "metric")


IMAGE = np.zeros((8, 10, 3), np.uint8)


def test_every_entry_has_a_complete_card() -> None:
    assert list_depth() == ["dpt-timm", "rt-monodepth", "pydnet", "onnx", "hub"]
    for name in list_depth():
        card = depth_card(name)
        assert card.name == name
        for field in dataclasses.fields(card):
            assert getattr(card, field.name) or field.name == "extra", (name, field.name)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"name": "midas"}, "no depth network 'midas', expected one of dpt-timm, rt-monodepth"),
        ({"name": "pydnet", "weights": "x.npz", "device": "tpu9"}, "device is 'tpu9'"),
        ({"name": "pydnet", "settings": OnnxSettings("metric")}, "'pydnet' takes no settings"),
        ({"name": "hub", "settings": OnnxSettings("metric")}, "'hub' takes HubSettings"),
        ({"name": "hub"}, r"'hub' needs weights=NAME or FOLDER"),
    ],
)
def test_wrong_arguments(arguments: dict, message: str) -> None:
    with pytest.raises(InputError, match=message):
        create_depth(**arguments)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device here")
def test_absent_cuda_is_named() -> None:
    with pytest.raises(InputError, match="sees no CUDA device"):
        create_depth("pydnet", "x.npz", device="cuda")


@pytest.mark.parametrize(
    "image",
    [IMAGE.astype(np.float32), IMAGE[..., 0], IMAGE[:4], np.zeros((9, 9, 4), np.uint8), "a.png"],
)
def test_images_of_another_make_are_refused(image: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"expected \(H, W, 3\) uint8"):
        Constant(np.ones((8, 10), np.float32)).predict(image)


def test_outputs_are_checked() -> None:
    good = np.ones((8, 10), np.float32)
    assert Constant(good).predict(IMAGE).values is good
    with pytest.raises(InputError, match="one value a pixel"):
        Constant(good[:4]).predict(IMAGE)
    with pytest.raises(InputError, match="NaN or infinite values for this image"):
        Constant(good * np.nan).predict(IMAGE)
    with pytest.raises(InputError, match="focal is -1"):
        Constant(good).predict(IMAGE, focal=-1)
    with pytest.raises(InputError, match="camera_height is 0, expected metres above the road"):
        Constant(good).predict(IMAGE, camera_height=0)
    with pytest.raises(InputError, match="float64"):
        DepthPrediction(good.astype(np.float64), "metric")
    with pytest.raises(InputError, match="'inverse'"):
        DepthPrediction(good, "inverse")  # type: ignore[arg-type]
