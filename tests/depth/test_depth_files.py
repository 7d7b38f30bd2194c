"""Depth maps in files: what is read, what is refused, what is written."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from diffrender.depth import read_depth, write_depth_png
from diffrender.depth.files import check_metres
from diffrender.errors import InputError

DEPTH = np.array([[0.0, 1.0, 2.5], [10.0, 79.25, 255.99609375]], np.float32)


def pfm(values: np.ndarray, scale: str = "-1.0", kind: str = "Pf") -> bytes:
    order = "<f4" if scale.startswith("-") else ">f4"
    header = f"{kind}\n{values.shape[1]} {values.shape[0]}\n{scale}\n".encode()
    return header + values[::-1].astype(order).tobytes()


def test_png_round_trip_in_kitti_units(tmp_path: Path) -> None:
    path = write_depth_png(tmp_path / "d.png", DEPTH)
    np.testing.assert_array_equal(read_depth(path, units_per_metre=256), DEPTH)
    np.testing.assert_array_equal(np.asarray(Image.open(path))[1], [2560, 79.25 * 256, 65535])
    assert [p.name for p in tmp_path.iterdir()] == ["d.png"]


def test_convention_units_per_metre(tmp_path: Path) -> None:
    path = write_depth_png(tmp_path / "mm.png", DEPTH[:, :2], units_per_metre=100)
    assert np.asarray(Image.open(path))[1, 0] == 1000
    np.testing.assert_allclose(read_depth(path, units_per_metre=100), DEPTH[:, :2], atol=0.005)


def test_a_known_depth_never_becomes_unknown(tmp_path: Path) -> None:
    path = write_depth_png(tmp_path / "d.png", np.array([[1e-5, 0.0]]))
    np.testing.assert_array_equal(read_depth(path, 256), np.array([[1 / 256, 0]], np.float32))


@pytest.mark.parametrize("mode", ["L", "RGB", "P"])
def test_png_of_eight_bits_is_refused(tmp_path: Path, mode: str) -> None:
    Image.new(mode, (4, 4), 7).save(tmp_path / "d.png")
    with pytest.raises(InputError, match=r"[18]-bit .* PNG, expected 16-bit grey"):
        read_depth(tmp_path / "d.png", 256)


def test_png_without_a_unit_is_refused(tmp_path: Path) -> None:
    path = write_depth_png(tmp_path / "d.png", DEPTH)
    with pytest.raises(InputError, match="state units_per_metre"):
        read_depth(path)
    with pytest.raises(InputError, match="units_per_metre is 0"):
        read_depth(path, 0)


def test_broken_png_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.png"
    path.write_bytes(b"GIF89a" + bytes(40))
    with pytest.raises(InputError, match="not a PNG"):
        read_depth(path, 256)
    buffer = io.BytesIO()
    Image.fromarray(np.full((64, 64), 999, np.uint16)).save(buffer, "PNG")
    path.write_bytes(buffer.getvalue()[:60])
    with pytest.raises(InputError, match="PNG is broken"):
        read_depth(path, 256)
    head = bytearray(buffer.getvalue())
    head[16:24] = (1 << 20).to_bytes(4, "big") * 2
    path.write_bytes(head)
    with pytest.raises(InputError, match="1048576 x 1048576 pixels"):
        read_depth(path, 256)


def test_npy_is_in_metres_unless_stated(tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    np.save(path, np.where(DEPTH > 200, np.nan, DEPTH).astype(np.float64))
    expected = np.where(DEPTH > 200, 0, DEPTH)
    read = read_depth(path)
    assert read.dtype == np.float32
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_allclose(read_depth(path, 10), expected / 10)
    np.save(path, (DEPTH * 256).astype(np.uint16))
    np.testing.assert_array_equal(read_depth(path, 256), DEPTH)
    with pytest.raises(InputError, match="uint16 does not say its unit"):
        read_depth(path)


@pytest.mark.parametrize(
    "header",
    [
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 8)",  # TokenError
        b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, 8), 1 2}",  # SyntaxError
        b"{[]: 1}",  # TypeError
        b"(" * 9000,  # MemoryError or RecursionError
    ],
)
def test_a_broken_npy_header_is_refused(tmp_path: Path, header: bytes) -> None:
    start = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little")
    (tmp_path / "d.npy").write_bytes(start + header + bytes(6 * 8 * 4))
    with pytest.raises(InputError, match=r"d\.npy: not a readable \.npy file"):
        read_depth(tmp_path / "d.npy")


def test_an_npy_header_of_another_length_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    np.save(path, DEPTH)
    content = bytearray(path.read_bytes())
    content[8] = 32
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"d\.npy: not a readable \.npy file"):
        read_depth(path)


def test_unfit_npy_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "d.npy"
    np.save(path, np.zeros((2, 3, 1)))
    with pytest.raises(InputError, match=r"float64 of shape \(2, 3, 1\)"):
        read_depth(path)
    np.save(path, np.array([[{}]], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match=r"object of shape \(1, 1\)"):
        read_depth(path)
    path.write_bytes(b"\x93NUMPY")
    with pytest.raises(InputError, match=r"not a readable \.npy"):
        read_depth(path)
    header = io.BytesIO()
    huge = {"descr": "<f4", "fortran_order": False, "shape": (1 << 20, 1 << 20)}
    np.lib.format.write_array_header_1_0(header, huge)
    path.write_bytes(header.getvalue() + bytes(16))
    with pytest.raises(InputError, match="1048576 x 1048576 pixels"):
        read_depth(path)


@pytest.mark.parametrize("scale", ["-1.0", "1", "+1.0"])
def test_convention_pfm_rows_from_the_bottom_in_either_byte_order(
    tmp_path: Path, scale: str
) -> None:
    path = tmp_path / "d.pfm"
    path.write_bytes(pfm(DEPTH, scale))
    np.testing.assert_array_equal(read_depth(path), DEPTH)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (pfm(DEPTH)[:-1], "23 bytes of pixels, 3 x 2 need 24"),
        (pfm(DEPTH) + b"\0", "25 bytes of pixels"),
        (pfm(DEPTH, kind="PF"), "three-channel PFM"),
        (pfm(DEPTH, "0"), "scale is 0"),
        (pfm(DEPTH, "-0.0039"), "the unit is unclear"),
        (b"P5\n3 2\n255\n" + bytes(6), "no PFM header"),
        (b"Pf\n3 -2\n1.0\n", "no PFM header"),
        (b"Pf\n3 2\n1.2.3\n", "is not a number"),
        (b"Pf\n999999 999999\n-1\n", "999999 x 999999 pixels"),
    ],
)
def test_strict_pfm(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "d.pfm"
    path.write_bytes(content)
    with pytest.raises(InputError, match=message):
        read_depth(path)


def test_pfm_with_a_scale_and_a_stated_unit(tmp_path: Path) -> None:
    path = tmp_path / "d.pfm"
    path.write_bytes(pfm(DEPTH, "-0.5"))
    np.testing.assert_allclose(read_depth(path, 2), DEPTH / 2)


def test_depths_that_make_no_sense_are_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "d.npy", -DEPTH)
    with pytest.raises(InputError, match="5 depths are negative"):
        read_depth(tmp_path / "d.npy")
    np.save(tmp_path / "d.npy", np.zeros((2, 2)))
    with pytest.raises(InputError, match=r"every depth is 0 \(unknown\)"):
        read_depth(tmp_path / "d.npy")
    with pytest.raises(InputError, match="no such file"):
        read_depth(tmp_path / "absent.npy")
    with pytest.raises(InputError, match=r"read from \.png"):
        read_depth(tmp_path / "d.exr")


def test_depths_that_float32_cannot_hold_are_refused_with_the_file(tmp_path: Path) -> None:
    path = write_depth_png(tmp_path / "d.png", DEPTH)  # numpy's overflow warning would fail here
    for units in (1e-300, 5e-324):
        with pytest.raises(InputError, match=r"d\.png: depths reach .* more than float32 holds"):
            read_depth(path, units)
    with pytest.raises(InputError, match=r"d\.png: every depth is 0 \(unknown\) at 1e\+300 units"):
        read_depth(path, 1e300)
    np.save(tmp_path / "d.npy", DEPTH.astype(np.float64) * 1e300)
    with pytest.raises(InputError, match=r"d\.npy: depths reach 2\.55996e\+302 m"):
        read_depth(tmp_path / "d.npy")


@pytest.mark.parametrize("factor", [1e3, 1e6, 1e30, 1e-4])
def test_maps_in_another_unit_than_metres_are_refused(factor: float) -> None:
    check_metres("d.npy", DEPTH)
    check_metres("d.npy", np.append(DEPTH, np.float32(1e30)))  # a sky far away is none
    with pytest.raises(InputError, match=r"d\.npy: the median depth is .*--depth-units-per-metre"):
        check_metres("d.npy", DEPTH * np.float32(factor))


@pytest.mark.parametrize(
    ("depth", "message"),
    [
        (DEPTH * 2, "512.0 m, 16 bits at 256 units per metre end at 256.0 m"),
        (-DEPTH, "negative"),
        (DEPTH * np.nan, "NaN"),
        (DEPTH[0], r"of shape \(3,\)"),
    ],
)
def test_writing_refuses_what_cannot_be_stored(
    tmp_path: Path, depth: np.ndarray, message: str
) -> None:
    with pytest.raises(InputError, match=message):
        write_depth_png(tmp_path / "d.png", depth)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_a_map_without_pixels_is_refused(tmp_path: Path, shape: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"expected \(H, W\) metres"):
        write_depth_png(tmp_path / "a.png", np.zeros(shape))
