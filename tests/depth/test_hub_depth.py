"""The `hub` entry: licences, errors, and a tiny model where transformers is installed."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from diffrender.depth import HubSettings, create_depth
from diffrender.depth.hub import _check_licence, _kind_of, is_non_commercial, read_licence
from diffrender.errors import InputError, MissingExtraError

INSTALLED = importlib.util.find_spec("transformers") is not None


@pytest.mark.skipif(INSTALLED, reason="transformers is installed")
def test_missing_extra_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingExtraError, match=r"pip install 'diffrender\[hub\]'"):
        create_depth("hub", tmp_path)


def test_source_is_a_folder_or_a_name() -> None:
    with pytest.raises(InputError, match="neither a folder nor a name like OWNER/MODEL"):
        create_depth("hub", "no/such/folder")


@pytest.mark.parametrize(
    ("text", "licence"),
    [
        ("---\nlicense: apache-2.0\ntags:\n- depth\n---\ntext", "apache-2.0"),
        ("---\ntags: x\nlicense: 'CC-BY-NC-4.0'\n---\n", "cc-by-nc-4.0"),
        ("license: mit\n", ""),
        ("---\ntags: x\n---\nlicense: mit", ""),
    ],
)
def test_licence_of_the_card(tmp_path: Path, text: str, licence: str) -> None:
    (tmp_path / "README.md").write_text(text)
    assert read_licence(tmp_path) == licence


def test_licence_without_a_card(tmp_path: Path) -> None:
    assert read_licence(tmp_path) == ""


@pytest.mark.parametrize(
    ("licence", "forbids"),
    [
        ("apache-2.0", False),
        ("mit", False),
        ("bsd-3-clause-clear", False),
        ("cc-by-nc-4.0", True),
        ("cc-by-nc-sa-3.0", True),
        ("apple-amlr-research", True),
        ("non-commercial", True),
    ],
)
def test_non_commercial_licences(licence: str, forbids: bool) -> None:
    assert is_non_commercial(licence) is forbids


def test_non_commercial_weights_need_the_flag() -> None:
    for licence in ("cc-by-nc-4.0", "", "other"):
        with pytest.raises(InputError, match="allow_non_commercial=True"):
            _check_licence("a/b", licence, local=False, allowed=False)
        _check_licence("a/b", licence, local=False, allowed=True)
    _check_licence("a/b", "mit", local=False, allowed=False)
    _check_licence("folder", "", local=True, allowed=False)
    with pytest.raises(InputError, match=r"the licence 'cc-by-nc-4\.0'"):
        _check_licence("folder", "cc-by-nc-4.0", local=True, allowed=False)


def test_kind_follows_the_architecture() -> None:
    assert _kind_of("x", SimpleNamespace(model_type="zoedepth")) == "metric"
    any_v2 = SimpleNamespace(model_type="depth_anything", depth_estimation_type="relative")
    assert _kind_of("x", any_v2) == "affine_inverse"
    metric_v2 = SimpleNamespace(model_type="depth_anything", depth_estimation_type="metric")
    assert _kind_of("x", metric_v2) == "metric"
    with pytest.raises(InputError, match=r"HubSettings\(kind=...\)"):
        _kind_of("x", SimpleNamespace(model_type="novel"))


def test_offline_error_names_the_manual_path(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("transformers")

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    with pytest.raises(InputError, match=r"no route to host.*pass weights=FOLDER"):
        create_depth("hub", "depth-anything/Depth-Anything-V2-Small-hf")


def test_tiny_model_from_a_folder(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    backbone = transformers.Dinov2Config(
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
        reshape_hidden_states=False,
        image_size=56,
    )
    config = transformers.DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=16,
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        head_hidden_size=8,
    )
    transformers.DepthAnythingForDepthEstimation(config).save_pretrained(tmp_path)
    size = {"height": 56, "width": 56}
    transformers.DPTImageProcessor(size=size).save_pretrained(tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: apache-2.0\n---\n")
    model = create_depth("hub", tmp_path, settings=HubSettings())
    assert model.card.weights_licence == "apache-2.0"
    image = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    prediction = model.predict(image)
    assert prediction.kind == "affine_inverse"
    assert prediction.values.shape == (40, 60)
    (tmp_path / "config.json").write_text("{}")
    with pytest.raises(InputError, match="not a depth model of transformers"):
        create_depth("hub", tmp_path)
