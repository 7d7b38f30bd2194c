"""Broken and hostile files of arrays and JSON headers: refused before memory is taken."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from diffrender._networks import NetworkFile
from diffrender._onnx import read_sidecar
from diffrender._tensors import json_of, read_tensors
from diffrender._training import read_arrays
from diffrender.depth.weights import load_npz_weights
from diffrender.errors import InputError
from diffrender.predict import SampleSettings
from diffrender.predict.cache import _header

HOSTILE = ["[" * 200_000, "1" * 5000, "{"]


def _claims(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    """An .npy file that is its header only."""
    file = io.BytesIO()
    header = {"descr": descr, "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, header)
    return file.getvalue()


def _archive(path: Path, content: bytes, kind: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", kind) as archive:
        archive.writestr("a.npy", content)
    return path


@pytest.mark.parametrize("text", HOSTILE)
def test_json_that_cannot_be_read_is_an_input_error_of_every_reader(
    tmp_path: Path, text: str
) -> None:
    with pytest.raises(ValueError):
        json_of(text)
    path = tmp_path / "x.safetensors"
    save_file({"a": torch.zeros(1)}, path, {"key": text, "diffrender.samples": text})
    with pytest.raises(InputError, match=r"x\.safetensors: not a thing"):
        read_tensors(path, "key", 1 << 24, "a thing")
    with pytest.raises(InputError, match="its configuration cannot be read"):
        NetworkFile("key", "weights", "a test").load(path, dict, lambda _: torch.nn.Linear(1, 1))
    with pytest.raises(InputError, match="not a readable sample file"):
        _header(path, "stamp")
    path.with_suffix(".json").write_text(text)
    with pytest.raises(InputError, match=r"x\.json: cannot be read as SampleSettings"):
        read_sidecar(path, SampleSettings)


@pytest.mark.parametrize(
    "content",
    [
        _claims((10**13,)),
        _claims((10**400,)),
        _claims((10**400,), "|V0"),
        _claims((3, 4)) + bytes(47),
        _claims((2,)).replace(b"}", b" "),
        b"no array",
    ],
)
def test_arrays_that_claim_more_than_the_file_holds_are_refused(
    tmp_path: Path, content: bytes
) -> None:
    path = _archive(tmp_path / "x.npz", content)
    with pytest.raises(InputError, match=r"x\.npz: not a readable \.npz file"):
        read_arrays(path, ["a"])
    with pytest.raises(InputError, match=r"x\.npz: cannot be read as \.npz weights"):
        load_npz_weights(path, {"a": (3, 4)})


def test_a_table_of_contents_that_lies_about_sizes_is_not_believed(tmp_path: Path) -> None:
    path = _archive(tmp_path / "x.npz", _claims((10**8,)))
    content = bytearray(path.read_bytes())
    at = content.index(b"PK\x01\x02") + 20
    content[at : at + 8] = 2 * (5 * 10**8).to_bytes(4, "little")
    path.write_bytes(content)
    with pytest.raises(InputError, match="'a' claims 400000000 bytes, the file holds at most"):
        read_arrays(path, ["a"])


def test_sound_arrays_are_read_and_damaged_ones_refused(tmp_path: Path) -> None:
    values = np.random.default_rng(0).random((30, 40)).astype(np.float32)
    path = tmp_path / "x.npz"
    np.savez_compressed(path, a=values, b=np.array(["not asked for"]))
    assert np.array_equal(read_arrays(path, ["a"])["a"], values)
    np.savez_compressed(path, a=values)
    assert torch.equal(load_npz_weights(path, {"a": (30, 40)})["a"], torch.from_numpy(values))
    whole, refused = path.read_bytes(), 0
    for place in range(40, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        for read in (
            lambda: read_arrays(path, ["a"]),
            lambda: load_npz_weights(path, {"a": (30, 40)}),
        ):
            try:
                read()
            except InputError:
                refused += 1
    assert refused > 100  # not a date


def test_arrays_packed_in_another_way_than_numpy_does_are_refused(tmp_path: Path) -> None:
    path = _archive(tmp_path / "x.npz", _claims((2,)) + bytes(8), zipfile.ZIP_BZIP2)
    with pytest.raises(InputError, match="compressed in a way that numpy does not write"):
        read_arrays(path, ["a"])
