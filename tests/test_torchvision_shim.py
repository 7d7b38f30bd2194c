"""The torchvision shim in fresh interpreters: where it is needed, and where it must not act."""

from __future__ import annotations

from pathlib import Path

import pytest
from python_runs import run_python

from diffrender import _torchvision
from diffrender.errors import MissingExtraError

HEALTHY = """
import torch
library = torch.library.Library("torchvision", "DEF")
library.define("nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
library.impl("nms", lambda dets, scores, iou_threshold: scores.argsort(descending=True), "CPU")
__version__ = "healthy"
"""


def run(code: str, cwd: Path | None = None) -> str:
    # -W error: the shim may not let a warning of its own or of the import through.
    return run_python("-W", "error", "-c", code, cwd=cwd)


def test_timm_makes_a_model_after_the_shim() -> None:
    out = run(
        "from diffrender._torchvision import ensure_torchvision as ensure\n"
        "first, second = ensure(), ensure()\n"
        "assert first == second, (first, second)\n"
        "import warnings; warnings.simplefilter('ignore')\n"
        "import torch, timm\n"
        "net = timm.create_model('test_resnet.r160_in1k', pretrained=False, features_only=True)\n"
        "print(first, len(net(torch.zeros(1, 3, 64, 64))))\n"
    )
    state, count = out.split()
    assert state in ("healthy", "mended")
    assert int(count) >= 3


def test_shim_acts_only_where_the_plain_import_fails() -> None:
    out = run(
        "import warnings; warnings.simplefilter('ignore')\n"
        "try:\n import torchvision; plain = 'healthy'\n"
        "except RuntimeError: plain = 'mended'\n"
        "from diffrender._torchvision import ensure_torchvision\n"
        "print(plain, ensure_torchvision())\n"
    )
    plain, shimmed = out.split()
    assert plain == shimmed


def test_healthy_torchvision_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "torchvision.py").write_text(HEALTHY)
    out = run(
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "import diffrender._torchvision as shim\n"
        "state = shim.ensure_torchvision()\n"
        "import torch, torchvision\n"
        "assert shim._keep == []\n"
        "order = torch.ops.torchvision.nms(torch.zeros(2, 4), torch.tensor([0.1, 0.9]), 0.5)\n"
        "print(state, torchvision.__version__, order.tolist(), "
        "hasattr(torch.ops.torchvision, 'qnms'))\n"
    )
    assert out.split("\n")[0] == "healthy healthy [1, 0] False"


def test_other_failures_are_passed_on(monkeypatch: pytest.MonkeyPatch) -> None:
    def half() -> None:
        raise RuntimeError("half a wheel")

    monkeypatch.setattr(_torchvision, "_keep", [])
    monkeypatch.setattr(_torchvision, "_import_quietly", half)
    with pytest.raises(RuntimeError, match="half a wheel"):
        _torchvision.ensure_torchvision()


def test_missing_torchvision_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise ModuleNotFoundError("No module named 'torchvision'", name="torchvision")

    monkeypatch.setattr(_torchvision, "_keep", [])
    monkeypatch.setattr(_torchvision, "_import_quietly", absent)
    with pytest.raises(MissingExtraError, match="torchvision, which is not installed"):
        _torchvision.ensure_torchvision()
