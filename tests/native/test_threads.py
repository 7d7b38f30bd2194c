"""Kernel threads apart from torch's."""

from __future__ import annotations

import pytest
import torch

from diffrender.native import kernel_threads, small_tensors


def test_small_tensors_narrow_torch_and_not_the_kernels() -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        assert kernel_threads() == 2
        with small_tensors():
            assert torch.get_num_threads() == 1
            assert kernel_threads() == 2
            with small_tensors():
                assert kernel_threads() == 2
        assert torch.get_num_threads() == 2
        with pytest.raises(ValueError, match="inside"), small_tensors():
            raise ValueError("inside")
        assert torch.get_num_threads() == kernel_threads() == 2
    finally:
        torch.set_num_threads(before)
