"""Inputs of one image, made once and seen again with another camera."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from diffrender.depth import depth_card
from diffrender.errors import InputError
from diffrender.instances import Instance, box_of_mask
from diffrender.reconstruct import input_depth
from diffrender.reconstruct.input_depth import DepthChoice, DepthSource
from diffrender.reconstruct.inputs import MaskChoice, Sources


def narrower(image: np.ndarray, instances: list[Instance]) -> list[Instance]:
    """Stands for drawing outlines anew: every mask loses its first column."""
    found = []
    for one in instances:
        mask = one.mask.copy()
        mask[:, int(one.box[0])] = False
        found.append(Instance(mask, box_of_mask(mask), one.category, one.score, one.name))
    return found


def test_outlines_are_drawn_anew_once(tmp_path: Path) -> None:
    Image.fromarray(np.full((40, 60, 3), 90, np.uint8)).save(tmp_path / "street.png")
    ids = np.zeros((40, 60), np.uint8)
    ids[10:30, 20:40] = 1
    Image.fromarray(ids).save(tmp_path / "masks.png")
    sources = Sources(DepthChoice("none"), MaskChoice(str(tmp_path / "masks.png")))
    sources.sharpen = narrower  # type: ignore[assignment]
    inputs = sources.of_image(tmp_path / "street.png", None)
    (one,) = inputs.instances
    assert one.box == (21, 10, 40, 30)
    (again,) = sources.again(inputs, inputs.camera).instances
    assert np.array_equal(again.mask, one.mask)


def test_a_network_without_a_scale_is_refused_before_it_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def opened(name: str, *_: object) -> SimpleNamespace:
        return SimpleNamespace(card=depth_card(name))

    monkeypatch.setattr(input_depth, "create_network", opened)
    with pytest.raises(InputError, match=r"'pydnet' has no scale of its own .*: leave out --align"):
        DepthSource(DepthChoice("pydnet", align="none"))
    for source, align in (("pydnet", None), ("dpt-timm", "none"), ("onnx", "none")):
        assert DepthSource(DepthChoice(source, align=align)).network  # type: ignore[arg-type]
