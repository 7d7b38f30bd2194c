"""Rows of KITTI files: right answers or one clear message, the same from both parsers."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from kitti_scene import BACKENDS, row

from diffrender.errors import InputError
from diffrender.evaluate import kitti_rows
from diffrender.evaluate.frame_files import open_frames
from diffrender.evaluate.kitti_rows import ObjectRows, parse_files
from diffrender.evaluate.rows_python import COLUMNS, TYPES, file_rows

RESULT = (16, 16)
EITHER = (15, 16)
ROW = "Car -1 -1 0.5 100 110 200 190 1.5 1.6 4.0 2 1.6 20 0.3 0.75"
both = pytest.mark.parametrize("backend", BACKENDS)
needs_native = pytest.mark.skipif("native" not in BACKENDS, reason="no native kernels here")


def parse(
    files: dict[str, str | bytes],
    backend: str,
    columns: tuple[int, int] = RESULT,
    drop: bool = False,
) -> ObjectRows:
    opened = open_frames(files, "results")
    return parse_files(opened, opened.names, columns, "drop" if drop else "fail", backend)


def changed(column: int, value: str) -> str:
    fields = ROW.split()
    fields[column - 1] = value
    return " ".join(fields)


@both
def test_convention_columns_are_in_the_order_of_the_readme(backend: str) -> None:
    rows = parse({"7": ROW}, backend)
    assert rows.image_boxes.tolist() == [[100, 110, 200, 190]]
    assert rows.boxes.tolist() == [[2, 1.6, 20, 4.0, 1.6, 1.5, 0.3]]  # x y z l w h yaw
    named = {name: float(rows.column(name)[0]) for name in COLUMNS[1:]}
    assert named["truncated"] == named["occluded"] == -1
    assert (named["alpha"], named["rotation_y"], named["score"]) == (0.5, 0.3, 0.75)


@both
def test_labels_have_no_score_or_one_that_is_kept_apart(backend: str) -> None:
    fifteen = ROW.rsplit(" ", 1)[0]
    rows = parse({"7": f"{fifteen}\n{ROW}"}, backend, EITHER)
    assert np.isnan(rows.column("score")).tolist() == [True, False]


@both
def test_frames_keep_their_rows_and_lines(backend: str) -> None:
    rows = parse({"1": "", "2": f"\n  \n{ROW}\r\n\t{ROW} \n\n", "3": " \n", "4": ROW}, backend)
    assert rows.starts.tolist() == [0, 0, 2, 2, 3]
    assert rows.lines.tolist() == [3, 4, 1]
    assert rows.frame.tolist() == [1, 1, 3]


@both
def test_what_people_have_is_read(backend: str) -> None:
    """A byte order mark, trailing blanks, tabs, angles outside a turn, any letter case."""
    content = b"\xef\xbb\xbf" + "\t".join(changed(1, "DONTCARE").split()).encode() + b"   \r\n"
    content += changed(4, "9.5").encode() + b" \n" + changed(15, "-12.25").encode()
    rows = parse({"0": content}, backend)
    assert rows.kind.tolist() == [TYPES.index("DontCare"), 0, 0]
    assert rows.column("alpha").tolist() == [0.5, 9.5, 0.5]
    assert rows.column("rotation_y")[2] == -12.25


@both
def test_types_that_kitti_lacks_are_counted(backend: str) -> None:
    rows = parse({"0": f"{changed(1, 'car_')}\n{changed(1, 'Ca')}\n{changed(1, 'car_')}"}, backend)
    assert rows.kind.tolist() == [-1, -1, -1]
    assert rows.other_types == {"car_": 2, "Ca": 1}


@both
@pytest.mark.parametrize(
    ("line", "message"),
    [
        (changed(16, "NaN"), "column 16 (score) is 'NaN', expected a finite number"),
        (changed(9, "nan"), "column 9 (height) is 'nan', expected a finite number"),
        (changed(5, "-inf"), "column 5 (left) is '-inf', expected a finite number"),
        (changed(6, "1e999"), "column 6 (top) is '1e999', expected a finite number"),
        (changed(6, "1e10"), "column 6 (top) is '1e10', expected no more than 1e+09"),
        (changed(7, "1,5"), "column 7 (right) is '1,5', expected a finite number"),
        (changed(8, "0x1F"), "column 8 (bottom) is '0x1F', expected a finite number"),
        (changed(2, "1_0"), "column 2 (truncated) is '1_0', expected a finite number"),
        (changed(2, "."), "column 2 (truncated) is '.', expected a finite number"),
        (changed(2, "1e"), "column 2 (truncated) is '1e', expected a finite number"),
        (changed(2, "--1"), "column 2 (truncated) is '--1', expected a finite number"),
        (ROW.rsplit(" ", 1)[0], "column 15 is the last, expected 16 columns (a label row"),
        (ROW + " 1", "column 17 is the last, expected 16 columns"),
        ("Car", "column 1 is the last, expected 16 columns"),
        (changed(1, "C" * 65), "column 1 (type) is 'CCCC"),
        (changed(1, "Autó"), r"column 1 (type) is 'Aut\\xc3\\xb3', expected a word such as Car"),
        (changed(3, "1\x00"), r"column 3 (occluded) is '1\x00', expected a finite number"),
    ],
)
def test_a_wrong_row_names_file_line_and_column(line: str, message: str, backend: str) -> None:
    with pytest.raises(InputError) as caught:
        parse({"000042": f"{ROW}\n\n{line}\n{ROW} 2 3\n"}, backend)
    assert str(caught.value).startswith(f"results: 000042.txt line 3: {message}")
    assert str(caught.value).endswith("(and 1 more rows are wrong)")
    rows = parse({"000042": f"{ROW}\n\n{line}\n{ROW}\n"}, backend, drop=True)
    assert rows.lines.tolist() == [1, 4]
    assert rows.starts.tolist() == [0, 2]
    assert len(rows.wrong) == 1


def _same(a: ObjectRows, b: ObjectRows) -> None:
    assert a.starts.tolist() == b.starts.tolist()
    assert a.kind.tolist() == b.kind.tolist()
    assert a.numbers.tobytes() == b.numbers.tobytes()  # to the last bit
    assert a.lines.tolist() == b.lines.tolist()
    assert (a.other_types, a.wrong) == (b.other_types, b.wrong)


ALPHABET = st.sampled_from(list("0123456789+-.eE \t\n\r\x0bnaiNfCr_x\x00\xe9"))
WORDS = st.one_of(
    st.sampled_from(
        ["Car", "van", "DontCare", "1", "-1", "0.5", "nan", "1e400", "1e-400", ".", ""]
    ),
    st.floats().map(repr),
    st.floats(-1e6, 1e6).map(lambda v: f"{v:.3f}"),
    st.text(ALPHABET, max_size=6),
)
LINES = st.one_of(
    st.just(ROW),
    st.lists(WORDS, max_size=18).map(" ".join),
    st.tuples(st.integers(1, 16), WORDS).map(lambda change: changed(*change)),
    st.text(ALPHABET, max_size=40),
)
TEXTS = st.lists(LINES, max_size=5).map("\n".join)


@needs_native
@settings(max_examples=300, deadline=None)
@given(st.lists(TEXTS, min_size=1, max_size=4), st.sampled_from([RESULT, EITHER]))
def test_both_parsers_agree_on_anything(texts: list[str], columns: tuple[int, int]) -> None:
    files: dict[str, str | bytes] = {f"{i}": text for i, text in enumerate(texts)}
    _same(parse(files, "native", columns, True), parse(files, "python", columns, True))


@needs_native
@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused(content: bytes) -> None:
    files: dict[str, str | bytes] = {"0": content}
    _same(parse(files, "native", RESULT, True), parse(files, "python", RESULT, True))


@both
@settings(max_examples=100, deadline=None)
@given(text=TEXTS)
def test_no_row_is_dropped_without_a_word(backend: str, text: str) -> None:
    rows = parse({"0": text}, backend, drop=True)
    written = sum(1 for line in text.encode().split(b"\n") if line.split())
    assert len(rows.kind) + len(rows.wrong) == written
    if rows.wrong:
        with pytest.raises(InputError, match="results: 0.txt line "):
            parse({"0": text}, backend)


@both
@settings(max_examples=300, deadline=None)
@given(value=st.floats(-1e9, 1e9), form=st.sampled_from(["r", ".17g", ".3f", ".25e", "+.1f"]))
@example(value=9007199254740993e-8, form="r")
@example(value=5e-324, form="r")
def test_numbers_are_rounded_as_python_rounds_them(backend: str, value: float, form: str) -> None:
    text = repr(value) if form == "r" else format(value, form)
    if abs(float(text)) > 1e9:
        return
    read = float(parse({"0": changed(12, text)}, backend).column("x")[0])
    assert struct.pack("<d", read) == struct.pack("<d", float(text))


@both
@settings(max_examples=200, deadline=None)
@given(digits=st.text("0123456789", min_size=1, max_size=30), power=st.integers(-330, 300))
def test_long_numbers_are_rounded_once(backend: str, digits: str, power: int) -> None:
    text = f"{digits}e{power}"
    if not math.isfinite(float(text)):
        return
    read = float(parse({"0": changed(16, text)}, backend).column("score")[0])
    assert read == float(text)


@both
def test_a_written_row_is_read_back(backend: str) -> None:
    made = row("Cyclist", score=0.123456789)
    rows = parse({"0": made}, backend)
    assert (int(rows.kind[0]), float(rows.column("score")[0])) == (
        TYPES.index("Cyclist"),
        0.123456789,
    )


@both
def test_a_file_is_split_once_however_many_rows_are_wrong(
    backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls = []

    def counted(content: bytes) -> Iterator[tuple[int, bytes]]:
        calls.append(content)
        return file_rows(content)

    monkeypatch.setattr(kitti_rows, "file_rows", counted)
    rows = parse({"0": "Car 1\n" * 500, "1": ROW, "2": "Van 1\n" * 500}, backend, drop=True)
    assert (len(rows.wrong), len(rows.kind)) == (1000, 1)
    assert len(calls) == (2 if backend == "native" else 5)
