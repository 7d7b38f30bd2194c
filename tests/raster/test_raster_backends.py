"""Which back-end a call gets, and what is said where one cannot be used."""

from __future__ import annotations

import importlib.util

import pytest
import torch
from raster_scenes import pinhole, sphere

from diffrender.errors import InputError
from diffrender.raster import backends, rasterize
from diffrender.raster.backends import choose_backend

ONE = torch.zeros(1)


def test_names_and_reasons(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(backends()) == {"native", "torch", "triton", "pytorch3d"}
    assert backends()["torch"] is None
    with monkeypatch.context() as patch:
        patch.setattr(importlib.util, "find_spec", lambda name: None)
        assert "not installed" in str(backends()["triton"])
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert backends()["triton"] == "there is no CUDA device"
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert backends()["triton"] is None
    monkeypatch.delenv("TRITON_INTERPRET")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert backends()["triton"] is None


def test_triton_is_refused_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: object())
    camera = pinhole((8, 8), translation=(0.0, 0.0, 3.0))
    with pytest.raises(InputError, match="'triton' cannot be used: there is no CUDA device"):
        rasterize(sphere(1), camera, backend="triton")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    with pytest.raises(InputError, match=r"'triton' works on float32 .* a CUDA device, not on"):
        choose_backend("triton", ONE)
    # In the interpreter it takes tensors on the CPU, but only where it is asked for.
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert choose_backend("triton", ONE) == "triton"
    assert choose_backend(None, ONE) != "triton"


@pytest.mark.gpu
@pytest.mark.skipif(backends()["triton"] is not None, reason=str(backends()["triton"]))
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_tensors_get_triton() -> None:
    assert choose_backend(None, ONE.cuda()) == "triton"
    assert choose_backend(None, ONE.cuda().double()) == "triton"
    assert choose_backend(None, ONE.cuda().half()) == "torch"
