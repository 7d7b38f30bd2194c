"""Segmentation models of the hub, tiny ones from a folder: Mask2Former and SAM."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from diffrender._torchvision import ensure_torchvision
from diffrender.errors import InputError
from diffrender.instances import Box, HubSegmenterSettings, create_segmenter
from diffrender.instances.segmenters import hub as hub_module

IMAGE = np.full((48, 64, 3), 90, dtype=np.uint8)
IMAGE[10:30, 20:50] = (200, 30, 30)
CAR = Box((20, 10, 50, 30), "Car", 0.7, "car_01")


def save_mask2former(folder: Path) -> None:
    """A Mask2Former of a few thousand weights with random values, as the hub would have it."""
    transformers = pytest.importorskip("transformers")
    ensure_torchvision()
    backbone = transformers.SwinConfig(
        image_size=64, embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 1, 1], window_size=2,
        out_features=["stage1", "stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.Mask2FormerConfig(
        backbone_config=backbone, feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=16, encoder_layers=1, decoder_layers=3, num_attention_heads=2,
        dim_feedforward=16, num_queries=6, id2label={0: "person", 1: "car"},
        label2id={"person": 0, "car": 1},
    )  # fmt: skip
    torch.manual_seed(0)
    net = transformers.Mask2FormerForUniversalSegmentation(config)
    net.save_pretrained(folder)
    size = {"height": 64, "width": 64}
    transformers.Mask2FormerImageProcessor(size=size).save_pretrained(folder)
    (folder / "README.md").write_text("---\nlicense: mit\n---\n")


def test_mask2former_from_a_folder(tmp_path: Path) -> None:
    save_mask2former(tmp_path)
    # Random weights are sure of nothing: everything counts.
    settings = HubSegmenterSettings(score=1e-6, mask=0.3)
    segmenter = create_segmenter("hub", tmp_path, settings=settings)
    assert segmenter.card.weights_licence == "mit"
    assert not segmenter.card.needs_boxes
    found, _ = segmenter.segment(IMAGE)
    assert found
    for one in found:
        assert one.mask.shape == (48, 64)
        assert one.category in ("Car", "Pedestrian")
        assert 0 < one.score <= 1
        rows, columns = np.nonzero(one.mask)
        edges = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        assert one.box == edges
    scores = [one.score for one in found]
    assert scores == sorted(scores, reverse=True)
    again, _ = segmenter.segment(IMAGE)
    assert all((a.mask == b.mask).all() for a, b in zip(found, again, strict=True))
    # By default such unsure objects are none.
    assert create_segmenter("hub", tmp_path).segment(IMAGE)[0] == []


def test_convention_masks_of_a_padded_input() -> None:
    """An image of 40 x 60, doubled, in an input of 96 x 128 whose masks are a quarter as large."""
    valid = torch.zeros(1, 96, 128)
    valid[:, :80, :120] = 1
    inputs = {"pixel_values": torch.zeros(1, 3, 96, 128), "pixel_mask": valid}
    assert hub_module._scale(inputs, (40, 60), (24, 32)) == (0.5, 0.5)
    del inputs["pixel_mask"]
    assert hub_module._scale(inputs, (48, 64), (24, 32)) == (0.5, 0.5)


def test_sam_is_prompted_by_boxes(tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    ensure_torchvision()
    vision = transformers.SamVisionConfig(
        hidden_size=16, output_channels=16, num_hidden_layers=1, num_attention_heads=2,
        image_size=64, patch_size=8, window_size=2, global_attn_indexes=[0], mlp_dim=16,
        num_pos_feats=8,
    )  # fmt: skip
    prompt = transformers.SamPromptEncoderConfig(
        hidden_size=16, image_size=64, patch_size=8, mask_input_channels=4
    )
    decoder = transformers.SamMaskDecoderConfig(
        hidden_size=16, mlp_dim=16, num_hidden_layers=1, num_attention_heads=2,
        iou_head_hidden_dim=16,
    )  # fmt: skip
    torch.manual_seed(1)
    config = transformers.SamConfig(
        vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder
    )
    transformers.SamModel(config).save_pretrained(tmp_path)
    pixels = transformers.SamImageProcessor(
        size={"longest_edge": 64}, pad_size={"height": 64, "width": 64},
        mask_size={"longest_edge": 16}, mask_pad_size={"height": 16, "width": 16},
    )  # fmt: skip
    transformers.SamProcessor(pixels).save_pretrained(tmp_path)
    segmenter = create_segmenter("hub", tmp_path)
    assert segmenter.card.needs_boxes
    assert segmenter.card.weights_licence == "not stated"  # a folder without a card
    other = Box((0, 0, 10, 20), "Pedestrian", 0.4, "walker")
    found, rejected = segmenter.segment(IMAGE, [CAR, other])
    names = [one.name for one in found] + [one.name for one in rejected]
    assert sorted(names) == ["car_01", "walker"]
    for one in found:
        assert one.mask.shape == (48, 64)
        assert one.box == (CAR.box if one.name == "car_01" else other.box)
        assert one.score == (0.7 if one.name == "car_01" else 0.4)
    assert segmenter.segment(IMAGE, []) == ([], [])
    with pytest.raises(InputError, match="'hub' is prompted by 2D boxes"):
        segmenter.segment(IMAGE)


def test_folders_that_are_no_segmentation_model(tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="not a segmentation model of transformers"):
        create_segmenter("hub", tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    with pytest.raises(InputError, match="is a 'bert' model, expected one of mask2former"):
        create_segmenter("hub", tmp_path)
    (tmp_path / "README.md").write_text("---\nlicense: cc-by-nc-4.0\n---\n")
    with pytest.raises(InputError, match=r"HubSegmenterSettings\(allow_non_commercial=True\)"):
        create_segmenter("hub", tmp_path)


def test_hub_without_a_name_or_network(monkeypatch: pytest.MonkeyPatch) -> None:
    hub = pytest.importorskip("huggingface_hub")
    pytest.importorskip("transformers")
    with pytest.raises(InputError, match="for instance weights='facebook/mask2former"):
        create_segmenter("hub")
    with pytest.raises(InputError, match="neither a folder nor a name like OWNER/MODEL"):
        create_segmenter("hub", "no/such/folder")

    def offline(*_: object, **__: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(hub, "hf_hub_download", offline)
    message = r"no route to host.*hf download a/b --local-dir FOLDER.*weights=FOLDER"
    with pytest.raises(InputError, match=message):
        create_segmenter("hub", "a/b")
    assert hub_module.CARD.extra == "hub"
