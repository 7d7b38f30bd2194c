"""Which back-end of the products a call gets, and what is said where one cannot be used."""

from __future__ import annotations

import importlib.util

import pytest
import torch

from diffrender.blocksparse import backends
from diffrender.blocksparse.backends import choose_backend
from diffrender.errors import InputError

ONE = torch.zeros(1)


def test_names_and_reasons() -> None:
    found = backends()
    assert set(found) == {"native", "torch", "triton"} and found["torch"] is None
    assert all(reason is None or len(reason) > 10 for reason in found.values())


def test_unknown_and_unusable_back_ends_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="expected one of native, torch, triton, or None"):
        choose_backend("cuda", ONE)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    with pytest.raises(InputError, match="backend 'triton' cannot be used: "):
        choose_backend("triton", ONE)


def test_the_fastest_that_fits() -> None:
    expected = "native" if backends()["native"] is None else "torch"
    for dtype in (torch.float32, torch.float64, torch.bfloat16, torch.float16):
        assert choose_backend(None, ONE.to(dtype)) == expected
    assert choose_backend("torch", ONE) == "torch"


@pytest.mark.gpu
@pytest.mark.skipif(importlib.util.find_spec("triton") is None, reason="triton is not installed")
@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no CUDA device")
def test_cuda_tensors_get_triton() -> None:
    assert choose_backend(None, ONE.cuda()) == "triton"
