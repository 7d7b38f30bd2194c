"""Tars of every dialect against Python's own reader; broken ones are refused."""

from __future__ import annotations

import io
import tarfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.evaluate.tar_members import tar_members

FORMATS = [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT]
LONG = "a/" * 40 + "b" * 90 + ".txt"


def _tar(form: int, files: dict[str, bytes], pax: dict[str, str] | None = None) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=form, pax_headers=pax) as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            member.mtime = 1.5  # type: ignore[assignment]  # a pax record, as `add` writes them
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _read(data: bytes) -> dict[str, bytes]:
    return {m.name: data[m.start : m.start + m.size] for m in tar_members(data) if m.is_file}


@pytest.mark.parametrize("form", FORMATS)
@settings(max_examples=40, deadline=None)
@given(
    files=st.dictionaries(
        st.text("abcdef0123/.é", min_size=1, max_size=140).map(lambda t: f"n{t}.txt"),
        st.binary(max_size=1500),
        max_size=5,
    )
)
def test_every_dialect_reads_as_with_python(form: int, files: dict[str, bytes]) -> None:
    try:
        data = _tar(form, files)
    except ValueError:  # ustar cannot hold every long name
        return
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        expected = {m.name: archive.extractfile(m).read() for m in archive}  # type: ignore[union-attr]
    assert _read(data) == expected


@pytest.mark.parametrize("form", FORMATS)
def test_long_names(form: int) -> None:
    assert _read(_tar(form, {LONG: b"1", "x.txt": b"2"})) == {LONG: b"1", "x.txt": b"2"}


def test_global_headers_name_no_member() -> None:
    data = _tar(tarfile.PAX_FORMAT, {"x.txt": b"2"}, {"path": "other", "comment": "é"})
    assert _read(data) == {"x.txt": b"2"}


def test_links_and_folders() -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, kind in (("d", tarfile.DIRTYPE), ("l", tarfile.SYMTYPE), ("h", tarfile.LNKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "t" * 120
            archive.addfile(member)
    found = [(m.name, m.is_file) for m in tar_members(buffer.getvalue())]
    assert found == [("l", False), ("h", False)]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d[:1024], "cut short at byte 1024"),  # the end mark is lost
        (lambda d: d[:700], "cut short at byte 700"),
        (lambda d: b"y" + d[1:], "header at byte 0 does not add up"),
        (lambda d: d[:124] + b"9" + d[125:], "header at byte 0"),
        (lambda d: d[:148] + b"zzzzzzzz" + d[156:], "header at byte 0 is broken"),
    ],
)
def test_a_broken_tar_is_refused(change: object, message: str) -> None:
    data = _tar(tarfile.USTAR_FORMAT, {"x.txt": b"2"})
    with pytest.raises(InputError, match=message):
        list(tar_members(change(data)))  # type: ignore[operator]


LONG_SIZE = b"5011 size=%s\n" % (b"9" * 5000)  # more digits than int() takes


@pytest.mark.parametrize(
    "record", [b"99 path=x\n", b"path=x\n", b"8 path=x", b"10 size=-1\n", LONG_SIZE]
)
def test_a_broken_pax_header_is_refused(record: bytes) -> None:
    member = tarfile.TarInfo("p")
    member.type, member.size = tarfile.XHDTYPE, len(record)
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        archive.addfile(member, io.BytesIO(record))
    with pytest.raises(InputError, match="pax header at byte 512 is broken"):
        list(tar_members(buffer.getvalue()))
