"""KITTI label rows: right answers, or one clear line with file, line and column."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.datasets import KITTI_COLUMNS, KittiLabel, load_labels, parse_labels
from diffrender.errors import InputError

ROW = "Car 0.25 1 1.55 614.24 181.78 727.31 284.77 1.57 1.73 4.15 1.00 1.75 13.22 1.62"


def _replace(column: int, value: str, row: str = ROW) -> str:
    fields = row.split()
    fields[column - 1] = value
    return " ".join(fields)


def test_every_field_of_a_row() -> None:
    (label,) = parse_labels(ROW + "\n")
    assert label == KittiLabel(
        type="Car",
        truncated=0.25,
        occluded=1,
        alpha=1.55,
        box=(614.24, 181.78, 727.31, 284.77),
        height=1.57,
        width=1.73,
        length=4.15,
        location=(1.00, 1.75, 13.22),
        rotation_y=1.62,
        score=None,
    )
    assert label.size_lwh == (4.15, 1.73, 1.57)


def test_a_result_row_has_a_score_of_any_size() -> None:
    (label,) = parse_labels(ROW + " 186.88")
    assert label.score == 186.88


def test_convention_box_corner_adds_half_a_pixel() -> None:
    (label,) = parse_labels(ROW)
    assert label.box_corner == pytest.approx((614.74, 182.28, 727.81, 285.27), abs=1e-9)


def test_blank_lines_carriage_returns_and_a_byte_order_mark_are_accepted(tmp_path: Path) -> None:
    path = tmp_path / "000001.txt"
    path.write_bytes(b"\xef\xbb\xbf" + f"{ROW}\r\n\r\n{ROW} 0.5\r\n".encode())
    assert [label.score for label in load_labels(path)] == [None, 0.5]


def test_dont_care_rows_are_kept_and_told_apart() -> None:
    row = "DontCare -1 -1 -10 5 229 214 367 -1 -1 -1 -1000 -1000 -1000 -10"
    assert [label.is_object for label in parse_labels(f"{row}\n{ROW}")] == [False, True]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (_replace(9, "abc"), "line 2 column 9: 'abc' is not a number; expected height in metres"),
        (_replace(14, "nan"), "line 2 column 14: 'nan' is not a number; expected z in metres"),
        (_replace(14, "inf"), "line 2 column 14: 'inf' is not a number"),
        (_replace(12, "1e999"), "line 2 column 12: '1e999' is too large; expected x in metres"),
        (_replace(12, "1_0"), "line 2 column 12: '1_0' is not a number"),
        (_replace(12, "١"), "line 2 column 12: '١' is not a number"),
        (_replace(3, "7"), "line 2 column 3: '7' is out of range; expected occlusion 0, 1, 2"),
        (_replace(2, "1.5"), "line 2 column 2: '1.5' is out of range; expected truncation"),
        (ROW.rsplit(" ", 1)[0], "line 2: 14 columns, expected 15 (label) or 16"),
        (ROW + " 0.5 3", "line 2: 17 columns, expected 15 (label) or 16"),
    ],
)
def test_a_bad_field_is_named_with_file_line_and_column(row: str, message: str) -> None:
    with pytest.raises(InputError) as caught:
        parse_labels(f"{ROW}\n{row}\n", "label_2/000003.txt")
    assert str(caught.value).startswith("label_2/000003.txt " + message)


def test_files_that_are_not_labels(tmp_path: Path) -> None:
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"Car 0\n\xff\xfe\x00\x01")
    with pytest.raises(InputError, match=r"binary\.txt line 2: byte 0xff is not UTF-8 text"):
        load_labels(binary)
    with pytest.raises(InputError, match=r"absent\.txt does not exist, expected a KITTI label"):
        load_labels(tmp_path / "absent.txt")
    with pytest.raises(InputError, match="is a folder, expected a KITTI label file"):
        load_labels(tmp_path)


def test_a_huge_file_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "huge.txt"
    with path.open("wb") as file:
        file.truncate(2**40)  # sparse: takes no room on the disk
    with pytest.raises(InputError, match="has 1099511627776 bytes, expected a KITTI label file"):
        load_labels(path)


@settings(deadline=None)
@given(st.text(max_size=200))
def test_any_text_gives_labels_or_an_input_error(text: str) -> None:
    try:
        labels = parse_labels(text, "f.txt")
    except InputError as error:
        message = str(error)
    else:
        message = "f.txt line "
        assert len(labels) == sum(bool(line.strip()) for line in text.split("\n"))
    assert message.startswith("f.txt line ")


_number = st.floats(-1e6, 1e6).map(lambda value: f"{value:.4f}")
_token = st.one_of(_number, st.sampled_from(["nan", "-", "1e5", "+2.", ".5", "1e400", "0x1", "²"]))


@settings(deadline=None)
@given(st.lists(_token, min_size=12, max_size=17), st.sampled_from(["Car", "Van", "5"]))
def test_rows_near_the_format_give_what_they_say_or_an_input_error(
    tokens: list[str], name: str
) -> None:
    row = " ".join([name, "0", "0", *tokens])
    try:
        (label,) = parse_labels(row)
    except InputError:
        fits = len(tokens) in (12, 13)
        # What the parser refuses must hold something float() refuses too, or be unbounded.
        assert not fits or any(not _finite(token) for token in tokens)
    else:
        values = [float(token) for token in tokens]
        assert (label.alpha, *label.box) == tuple(values[:5])
        assert (label.height, label.width, label.length) == tuple(values[5:8])
        assert (*label.location, label.rotation_y) == tuple(values[8:12])
        assert label.score == (values[12] if len(values) == 13 else None)


def _finite(token: str) -> bool:
    try:
        return math.isfinite(float(token))
    except ValueError:
        return False


def test_columns_are_named_in_the_order_of_the_file() -> None:
    assert len(KITTI_COLUMNS) == 16
    assert [name for name, _ in KITTI_COLUMNS[8:11]] == ["height", "width", "length"]
