"""torchvision's Mask R-CNN as a segmenter: weights from a file, and what can be missing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from diffrender._torchvision import ensure_torchvision
from diffrender.errors import InputError, MissingExtraError
from diffrender.instances import create_segmenter
from diffrender.instances.segmenters import torchvision_rcnn

IMAGE = np.full((48, 64, 3), 90, dtype=np.uint8)
IMAGE[10:30, 20:50] = (200, 30, 30)


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
