"""Make `import torchvision` and `import timm` work beside a CPU torch.

The registry's torchvision wheels for Linux are CUDA builds: beside a CPU torch their compiled
operators cannot be loaded, and the import then fails because it describes an operator
(`torchvision::nms`) that nobody has defined. timm imports torchvision, so it fails too. Nothing
here but the segmenter `torchvision` needs those operators (it says so where they are missing), so
it is enough to define their names.
"""

from __future__ import annotations

import importlib
import sys
import warnings
from typing import Literal

import torch

from diffrender.errors import MissingExtraError

__all__ = ["ensure_torchvision"]

# The operators that torchvision describes at import, with the schemas it gives them itself.
_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_keep: list[torch.library.Library] = []  # the operators live as long as their library object


def ensure_torchvision() -> Literal["healthy", "mended"]:
    """Import torchvision, first defining its operators' names where it cannot load them itself.

    Returns:
        "healthy": it imports by itself and was left alone. "mended": its compiled operators
        cannot be loaded beside this torch; it imports with the names defined, but its image
        decoders and `torchvision.ops` that are compiled stay unavailable.

    Raises:
        MissingExtraError: torchvision is not installed.
        RuntimeError, ImportError: it fails to import for another reason (passed on).
    """
    if _keep:
        return "mended"
    try:
        _import_quietly()
    except ModuleNotFoundError as error:
        if error.name != "torchvision":
            raise
        raise MissingExtraError(
            "timm needs torchvision, which is not installed; install the version made for "
            f"torch {torch.__version__} (see constraints.txt): pip install torchvision"
        ) from error
    except RuntimeError as error:
        if "torchvision::" not in str(error) or "does not exist" not in str(error):
            raise
        # Nothing of the failed import may stay behind: the retry must run every module again.
        for name in [n for n in sys.modules if n.split(".")[0] == "torchvision"]:
            del sys.modules[name]
        _define_operators()
        _import_quietly()
        return "mended"
    return "healthy"


def _import_quietly() -> None:
    with warnings.catch_warnings():  # its missing image decoders and old API notes are no news
        warnings.simplefilter("ignore")
        importlib.import_module("torchvision")


def _define_operators() -> None:
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        name = schema.split("(")[0]
        if not hasattr(torch.ops.torchvision, name):
            library.define(schema)
    _keep.append(library)
