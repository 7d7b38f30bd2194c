"""torch as it starts, whatever a caller has set: float32, the CPU, gradients as they are asked."""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from diffrender.cameras import Camera
from diffrender.shape_priors import ShapePrior

__all__ = ["usual_camera", "usual_prior", "usual_torch"]


@contextmanager
def usual_torch() -> Iterator[None]:
    """Without the caller's default type and device, `no_grad`, `inference_mode` and `autocast`.

    All of them are the caller's again afterwards.
    """
    dtype = torch.get_default_dtype()
    with ExitStack() as stack:
        stack.enter_context(torch.inference_mode(False))
        stack.enter_context(torch.enable_grad())
        for kind in ("cpu", "cuda"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        if dtype != torch.float32:
            torch.set_default_dtype(torch.float32)
            stack.callback(torch.set_default_dtype, dtype)
        yield


def usual_camera(camera: Camera) -> Camera:
    """The camera on the CPU, as constants that autograd may meet."""
    names = ("intrinsics", "rotation", "translation", "distortion")
    kept = {name: _constant(getattr(camera, name)) for name in names}
    return dataclasses.replace(camera, **kept).to("cpu")


def usual_prior(prior: ShapePrior) -> ShapePrior:
    """The prior in float32, as constants that autograd may meet."""
    fields = {f.name: getattr(prior, f.name) for f in dataclasses.fields(prior)}
    kept = {name: _constant(value) for name, value in fields.items()}
    changed = {name: value for name, value in kept.items() if value is not fields[name]}
    prior = dataclasses.replace(prior, **changed) if changed else prior
    return prior if prior.mean.dtype == torch.float32 else prior.to(torch.float32)


def _constant(value: Any) -> Any:
    if isinstance(value, nn.Module) and any(p.is_inference() for p in value.parameters()):
        return copy.deepcopy(value)
    if isinstance(value, Tensor) and (value.requires_grad or value.is_inference()):
        return value.detach().clone()
    return value
