"""Networks with their configuration in one safetensors file, read as strictly as a stranger's."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from diffrender._files import write_bytes_atomic
from diffrender._tensors import json_of
from diffrender.errors import InputError

__all__ = ["NetworkFile", "shipped_file", "tuples"]

_Net = TypeVar("_Net", bound=nn.Module)
_Config = TypeVar("_Config")


@dataclass(frozen=True)
class NetworkFile:
    """A kind of file.

    Attributes:
        key: of the configuration in the metadata.
        what: is expected, in messages ("dpt-timm weights").
        writer: function that writes it, in messages.
        limit: bytes that it may have.
    """

    key: str
    what: str
    writer: str
    limit: int = 1 << 30

    def save(self, net: nn.Module, config: str, path: str | Path, *, half: bool) -> Path:
        """Write weights and configuration; the file appears whole or not at all.

        `half` stores float16: half the size, values differ by one part in 2000.
        """
        from safetensors.torch import save

        tensors = {}
        for name, tensor in net.state_dict().items():
            small = half and tensor.dtype == torch.float32
            kind = torch.float16 if small else tensor.dtype
            tensors[name] = tensor.detach().to("cpu", kind).contiguous()
        return write_bytes_atomic(path, save(tensors, metadata={self.key: config}))

    def load(
        self,
        path: str | Path,
        read: Callable[[dict[str, Any]], _Config],
        build: Callable[[_Config], _Net],
    ) -> _Net:
        """The network of a file, for evaluation; in float32, whatever the default type of torch.

        Args:
            path: of the file.
            read: makes a configuration of its values, with tuples for lists.
            build: makes a network by the configuration; the weights come from the file.

        Raises:
            InputError: no such file, not safetensors, too large, no configuration in it, or
                tensors that do not fit the network.
        """
        from safetensors import SafetensorError, safe_open

        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: no such file, expected {self.what} (.safetensors)")
        if path.stat().st_size > self.limit:
            raise InputError(f"{path}: {path.stat().st_size} bytes, expected at most {self.limit}")
        try:
            with safe_open(path, framework="pt") as file:
                text = (file.metadata() or {}).get(self.key)
                if text is None:
                    raise InputError(
                        f"{path}: its metadata holds no '{self.key}', so it is not a file written "
                        f"by {self.writer}"
                    )
                with _float32():
                    net = build(_config(path, text, read))
                expected = net.state_dict()
                _check_names(path, set(file.keys()), set(expected))
                for name, old in expected.items():
                    shape = tuple(file.get_slice(name).get_shape())
                    # A mask of dynamic mode may hold fewer blocks than there is room for.
                    if shape != tuple(old.shape) and not name.endswith(".column_indices"):
                        raise InputError(
                            f"{path}: '{name}' has shape {shape}, expected {tuple(old.shape)}"
                        )
                    value = file.get_tensor(name)
                    if value.is_floating_point() and not torch.isfinite(value).all():
                        raise InputError(f"{path}: '{name}' holds NaN or infinite values")
                    expected[name] = value.to(old.dtype)
        except SafetensorError as error:
            raise InputError(f"{path}: not a safetensors file ({error})") from error
        try:
            net.load_state_dict(expected)
        except RuntimeError as error:  # a mask that is none
            reason = " ".join(str(error).split())
            raise InputError(f"{path}: the weights cannot be used ({reason})") from error
        return net.eval().requires_grad_(False)


@contextmanager
def _float32() -> Iterator[None]:
    """Modules that are made in here have float32 parameters."""
    dtype = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    try:
        yield
    finally:
        torch.set_default_dtype(dtype)


def shipped_file(package: str, name: str, absent: str) -> Path:
    """Path of a file in the `assets` of a package.

    Raises:
        InputError: this build does not hold it; `absent` says so, and what to do.
    """
    path = Path(str(resources.files(package))) / "assets" / name
    if not path.is_file():
        raise InputError(absent)
    return path


def _config(path: Path, text: str, read: Callable[[dict[str, Any]], _Config]) -> _Config:
    try:
        values = json_of(text)
        if not isinstance(values, dict):
            raise TypeError("not an object")
        return read(tuples(values))
    except (AttributeError, KeyError, OverflowError, TypeError, ValueError) as error:
        raise InputError(f"{path}: its configuration cannot be read ({error})") from error


def tuples(values: dict[str, Any]) -> dict[str, Any]:
    """The same with tuples for lists, as dataclasses had them before they became JSON."""
    return {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}


def _check_names(path: Path, found: set[str], expected: set[str]) -> None:
    missing, extra = sorted(expected - found), sorted(found - expected)
    if missing or extra:
        raise InputError(
            f"{path}: the tensors do not fit its configuration: {len(missing)} missing "
            f"({', '.join(missing[:3])}), {len(extra)} unknown ({', '.join(extra[:3])}); "
            "another timm version may name them differently"
        )
