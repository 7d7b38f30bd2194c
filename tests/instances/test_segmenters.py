"""The door to the segmenters, GrabCut behind it, and networks of transformers and torchvision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffrender._torchvision import ensure_torchvision
from diffrender.errors import InputError, MissingExtraError
from diffrender.instances import (
    Box,
    HubSegmenterSettings,
    OnnxSegmenterSettings,
    create_segmenter,
    list_segmenters,
    load_boxes,
    masks_from_boxes,
    segmenter_card,
)
from diffrender.instances.segmenters import hub as hub_module
from diffrender.instances.segmenters import torchvision_rcnn

IMAGE = np.full((48, 64, 3), 90, dtype=np.uint8)
IMAGE[10:30, 20:50] = (200, 30, 30)
CAR = Box((20, 10, 50, 30), "Car", 0.7, "car_01")


def test_cards_say_where_things_come_from() -> None:
    assert list_segmenters() == ["grabcut", "onnx", "torchvision", "hub"]
    for name in list_segmenters():
        card = segmenter_card(name)
        assert card.name == name
        assert card.summary and card.paper and card.code_licence and card.weights_licence
    assert segmenter_card("grabcut").needs_boxes
    with pytest.raises(InputError, match="no segmenter 'yolo', expected one of grabcut, onnx"):
        segmenter_card("yolo")


def test_settings_of_another_segmenter_are_refused() -> None:
    with pytest.raises(InputError, match="'hub' takes HubSegmenterSettings"):
        create_segmenter("hub", "a/b", settings=OnnxSegmenterSettings())
    with pytest.raises(InputError, match="'grabcut' takes no settings"):
        create_segmenter("grabcut", settings=HubSegmenterSettings())
    with pytest.raises(InputError, match="'grabcut' has no weights"):
        create_segmenter("grabcut", "w.npz")
    with pytest.raises(InputError, match="'onnx' needs weights=FILE"):
        create_segmenter("onnx")
    with pytest.raises(InputError, match="device is 'abacus'"):
        create_segmenter("grabcut", device="abacus")


def test_grabcut_is_masks_from_boxes() -> None:
    segmenter = create_segmenter("grabcut")
    found, _ = segmenter.segment(IMAGE, [CAR])
    expected, _ = masks_from_boxes([CAR], IMAGE)
    assert (found[0].mask == expected[0].mask).all()
    with pytest.raises(InputError, match="prompted by 2D boxes: pass boxes"):
        segmenter.segment(IMAGE)
    with pytest.raises(InputError, match="image is float64"):
        segmenter.segment(IMAGE / 255.0, [CAR])


def test_boxes_from_files(tmp_path: Path) -> None:
    rows = tmp_path / "000001.txt"
    rows.write_text("Car -1 -1 -10 19.5 9.5 49.5 29.5 -1 -1 -1 -1000 -1000 -1000 -10 0.7\n")
    (box,), rejected = load_boxes(tmp_path, (48, 64), "000001")
    assert (box.box, box.score, rejected) == ((20, 10, 50, 30), 0.7, [])
    listed = tmp_path / "boxes.json"
    listed.write_text('[{"box": [20, 10, 50, 30]}, {"box": [5, 5, 1, 9]}]')
    found, refused = load_boxes(listed, (48, 64))
    assert [one.box for one in found] == [(20, 10, 50, 30)]
    assert "degenerate" in refused[0].reason
    with pytest.raises(InputError, match=r"holds no file 000002\.txt or 000002\.json of boxes"):
        load_boxes(tmp_path, (48, 64), "000002")
    picture = tmp_path / "ids.png"
    picture.write_bytes(b"\x89PNG\r\n\x1a\n")
    with pytest.raises(InputError, match="holds masks; expected boxes"):
        load_boxes(picture, (48, 64))


# ---- hub


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


# ---- torchvision


def nms(boxes: torch.Tensor, scores: torch.Tensor, overlap: float) -> torch.Tensor:
    """Greedy suppression in plain torch, where torchvision's compiled one cannot be loaded."""
    from torchvision.ops import box_iou

    order, kept = scores.argsort(descending=True), []
    while len(order):
        first, rest = order[0], order[1:]
        kept.append(int(first))
        order = rest[box_iou(boxes[first][None], boxes[rest])[0] <= overlap]
    return torch.tensor(kept, dtype=torch.long)


@pytest.fixture
def operators(monkeypatch: pytest.MonkeyPatch) -> Any:
    """torchvision's detection models, with a plain `nms` where the compiled one is missing."""
    pytest.importorskip("torchvision")
    if ensure_torchvision() == "mended":
        from torchvision.ops import boxes

        monkeypatch.setattr(torchvision_rcnn, "ensure_torchvision", lambda: "healthy")
        monkeypatch.setattr(boxes, "nms", nms)
        # torchvision's plain RoIAlign compiles itself when it is first used.
        monkeypatch.setattr(torch, "compile", lambda function, **_: function)
    from torchvision.models import detection

    return detection


def test_torchvision_with_weights_from_a_file(operators: Any, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    torch.manual_seed(0)
    net = operators.maskrcnn_resnet50_fpn(weights=None, weights_backbone=None, num_classes=4)
    # Random heads: boxes stay the anchors, and one class wins everywhere, so that some are found.
    boxes, anchors = net.roi_heads.box_predictor, net.rpn.head
    with torch.no_grad():
        for layer in (boxes.cls_score, boxes.bbox_pred, anchors.cls_logits, anchors.bbox_pred):
            layer.weight.zero_()
            layer.bias.zero_()
        boxes.cls_score.bias.copy_(torch.tensor([0.0, 0, 0, 2]))
    path = tmp_path / "weights.safetensors"
    save_file(net.state_dict(), path)
    segmenter = create_segmenter("torchvision", path)
    segmenter.net.transform.min_size = (64,)
    segmenter.net.rpn._pre_nms_top_n = {"training": 64, "testing": 64}
    segmenter.net.rpn._post_nms_top_n = {"training": 8, "testing": 8}
    found, rejected = segmenter.segment(IMAGE)
    assert len(found) + len(rejected) > 0
    for one in found:
        assert (one.category, one.mask.shape) == ("Car", (48, 64))
        assert one.score == pytest.approx(np.exp(2) / (3 + np.exp(2)), abs=1e-4)


def test_torchvision_weights_that_do_not_fit(operators: Any, tmp_path: Path) -> None:
    path = tmp_path / "w.pth"
    with pytest.raises(InputError, match="no such file, expected a state dict"):
        create_segmenter("torchvision", path)
    path.write_bytes(b"no weights")
    with pytest.raises(InputError, match=r"w\.pth: cannot be read as weights"):
        create_segmenter("torchvision", path)
    torch.save({"a": torch.zeros(2)}, path)
    with pytest.raises(InputError, match="not the weights of torchvision's Mask R-CNN"):
        create_segmenter("torchvision", path)
    torch.save({"roi_heads.box_predictor.cls_score.weight": torch.zeros(4, 1024)}, path)
    with pytest.raises(InputError, match="does not fit torchvision's Mask R-CNN"):
        create_segmenter("torchvision", path)

    class Loud:
        def __reduce__(self) -> tuple[Any, ...]:
            return (print, ("run by a pickle",))

    torch.save(Loud(), path)
    with pytest.raises(InputError, match="cannot be read as weights"):
        create_segmenter("torchvision", path)


def test_torchvision_offline_names_the_file(
    operators: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def offline(**_: object) -> None:
        raise OSError("no route to host")

    monkeypatch.setattr(operators, "maskrcnn_resnet50_fpn_v2", offline)
    with pytest.raises(InputError, match=r"no route to host.*download https://.*weights=FILE"):
        create_segmenter("torchvision")


def test_torchvision_without_its_operators(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torchvision_rcnn, "ensure_torchvision", lambda: "mended")
    with pytest.raises(MissingExtraError, match="compiled operators.*pip install torchvision"):
        create_segmenter("torchvision")
