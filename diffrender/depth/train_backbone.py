"""Begin a depth network's backbone with a classifier's weights.

A backbone that has seen photographs keeps a network that is trained on synthetic pictures nearer to
real ones (Hinterstoisser, Lepetit, Wohlhart, Konolige, "On pre-trained image features and synthetic
images for deep learning", ECCV workshops 2018).
"""

from __future__ import annotations

from pathlib import Path

from diffrender._backbones import classifier_weights
from diffrender.depth.dpt import DptNet
from diffrender.errors import InputError

__all__ = ["load_backbone"]


def load_backbone(net: DptNet, path: Path) -> None:
    """Copy a classifier's weights into `net.backbone`; the classifier's head is left out.

    Args:
        net: over the timm model that the weights are of; its backbone is changed.
        path: as `classifier_weights` reads it.

    Raises:
        InputError: not such a file, or weights of another model.
    """
    name = net.config.backbone
    found, own = classifier_weights(name, path), net.backbone.state_dict()
    missing = sorted(set(own) - set(found))
    if missing:
        raise InputError(
            f"{path}: no '{missing[0]}', which the backbone {name} has; its feature maps are built "
            "otherwise than its classifier"
        )
    net.backbone.load_state_dict({key: found[key] for key in own})
