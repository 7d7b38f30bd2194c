"""Folders, zips and tars of frame files, as people have them and as strangers send them."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from archives import write_tar, write_zip
from hypothesis import given, settings
from hypothesis import strategies as st

from diffrender.errors import InputError
from diffrender.evaluate import frame_files, read_split
from diffrender.evaluate.frame_files import FrameSource, open_frames

FILES = {"000003.txt": b"three", "000001.txt": b"", "000002.txt": b"two\n"}


def _in(folder: str, files: dict[str, bytes]) -> dict[str, bytes]:
    return {folder + name: content for name, content in files.items()}


def _folder(path: Path, files: dict[str, bytes], folder: str = "") -> Path:
    (path / folder).mkdir(parents=True)
    for name, content in files.items():
        (path / folder / name).write_bytes(content)
    return path


@pytest.mark.parametrize("folder", ["", "data/"])
def test_every_container_gives_the_same(tmp_path: Path, folder: str) -> None:
    sources = [
        _folder(tmp_path / "folder", FILES, folder),
        write_zip(tmp_path / "a.zip", _in(folder, FILES)),
        write_tar(tmp_path / "a.tar.gz", _in(folder, FILES)),
        write_tar(tmp_path / "a.tar", _in(folder or "./", FILES), "w"),
        {name[:-4]: content for name, content in FILES.items()},
    ]
    for source in sources:
        files = open_frames(source, "results")
        assert files.names == ("000001", "000002", "000003")
        assert files.read(["000003", "000009", "000001"]) == [b"three", b"", b""]
        assert files.others == ()


def test_files_that_are_no_frames_are_listed(tmp_path: Path) -> None:
    litter = {"__MACOSX/._000001.txt": b"x", "read me.md": b"y", **FILES}
    files = open_frames(write_zip(tmp_path / "a.zip", litter), "results")
    assert files.names == ("000001", "000002", "000003")
    assert set(files.others) == {"__MACOSX/._000001.txt", "read me.md"}


def test_links_in_a_tar_are_not_followed(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        link = tarfile.TarInfo("000009.txt")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        archive.addfile(link)
        archive.addfile(tarfile.TarInfo("000001.txt"), io.BytesIO())
    files = open_frames(path, "results")
    assert (files.names, files.others) == (("000001",), ("000009.txt",))


@pytest.mark.parametrize("name", ["../../000001.txt", "/000001.txt"])
def test_nothing_is_written_whatever_a_member_is_called(tmp_path: Path, name: str) -> None:
    inside = tmp_path / "in"
    inside.mkdir()
    for path in (
        write_zip(inside / "a.zip", {name: b"1"}),
        write_tar(inside / "a.tar", {name: b"1"}, "w"),
    ):
        assert open_frames(path, "results").read(["000001"]) == [b"1"]
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a.tar", "a.zip", "in"]


def test_frames_in_two_folders_are_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"a/000001.txt": b"", "b/000001.txt": b""})
    with pytest.raises(InputError, match=r"holds .txt files in 2 folders \('a', 'b'\); keep one"):
        open_frames(path, "results")


def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist, expected a folder, zip or tar.gz of res"):
        open_frames(tmp_path / "absent", "results")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="holds no file NAME.txt, nor does data or label_2"):
        open_frames(tmp_path / "empty", "labels")
    with pytest.raises(InputError, match="holds no file NAME.txt, expected labels"):
        open_frames(write_zip(tmp_path / "a.zip", {"a.md": b""}), "labels")
    (tmp_path / "a.txt").write_text("Car")
    with pytest.raises(InputError, match="neither a folder nor a zip, tar or tar.gz"):
        open_frames(tmp_path / "a.txt", "labels")
    with pytest.raises(InputError, match=r"labels: '../1' is not a frame name"):
        open_frames({"../1": ""}, "labels")


def test_sizes_are_limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frame_files, "TOTAL_LIMIT", 100_000)
    bomb = {"000001.txt": b" " * 200_000}
    for path in (write_zip(tmp_path / "a.zip", bomb), write_tar(tmp_path / "a.tar.gz", bomb)):
        with pytest.raises(InputError, match="more than 100000 bytes when unpacked"):
            open_frames(path, "results")
    several = {f"{i:06d}": " " * 30_000 for i in range(4)}
    with pytest.raises(InputError, match="more than 100000 bytes of text"):
        open_frames(several, "results").read(list(several))
    monkeypatch.setattr(frame_files, "FILE_LIMIT", 1000)
    for source in (write_zip(tmp_path / "b.zip", {"1.txt": b" " * 2000}),
                   _folder(tmp_path / "b", {"1.txt": b" " * 2000})):  # fmt: skip
        with pytest.raises(InputError, match="1.txt is larger than 1000 bytes"):
            open_frames(source, "results").read(["1"])
    monkeypatch.setattr(frame_files, "COUNT_LIMIT", 2)
    with pytest.raises(InputError, match="holds 3 files, expected at most 2"):
        open_frames(write_zip(tmp_path / "c.zip", FILES), "results")


def test_an_encrypted_zip_is_said_to_be_one(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "a.zip", {"000001.txt": b"abc"})
    data = bytearray(path.read_bytes())
    for mark, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(mark) + offset] |= 1
    path.write_bytes(bytes(data))
    with pytest.raises(InputError, match="000001.txt is encrypted; zip it without a password"):
        open_frames(path, "results").read(["000001"])


def test_a_name_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as archive:
        for _ in range(2):
            archive.addfile(tarfile.TarInfo("000001.txt"), io.BytesIO())
    with pytest.raises(InputError, match=r"000001.txt' is in the archive twice"):
        open_frames(path, "results")
    double = tmp_path / "a.zip"
    with zipfile.ZipFile(double, "w") as zipped:
        zipped.writestr("000001.txt", b"")
        zipped.writestr("00000x.txt", b"")
    double.write_bytes(double.read_bytes().replace(b"00000x.txt", b"000001.txt"))
    with pytest.raises(InputError, match="two files of one name"):
        open_frames(double, "results")


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    folder, files = tmp_path_factory.mktemp("whole"), {n: 20 * c for n, c in FILES.items()}
    zipped = write_zip(folder / "a.zip", files).read_bytes()
    tarred = write_tar(folder / "a.tar", files, "w").read_bytes()
    return [zipped, tarred, gzip.compress(tarred, mtime=0)]


@settings(max_examples=300, deadline=None)
@given(
    which=st.integers(0, 2),
    changes=st.lists(st.tuples(st.integers(0, 10**6), st.integers(0, 255)), max_size=8),
    keep=st.floats(0.05, 1.0),
)
def test_a_damaged_archive_is_read_or_refused(
    tmp_path_factory: pytest.TempPathFactory,
    archives: list[bytes],
    which: int,
    changes: list[tuple[int, int]],
    keep: float,
) -> None:
    data = bytearray(archives[which])
    data = data[: max(int(len(data) * keep), 1)]
    for place, value in changes:
        data[place % len(data)] = value
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(bytes(data))
    refused = None
    count = names = 0
    try:
        files = open_frames(path, "results")
        count, names = len(files.read(files.names)), len(files.names)
    except InputError as error:
        refused = str(error)
    assert count == names
    assert refused is None or str(path) in refused


def test_split_lists(tmp_path: Path) -> None:
    path = tmp_path / "val.txt"
    path.write_bytes(b"\xef\xbb\xbf000001\r\n\n 000004 \n")
    assert read_split(path) == ["000001", "000004"]
    for content, message in (
        ("000001\n../x\n", r"val.txt line 2: '../x' is not a frame name"),
        ("1\n2\n1\n", "val.txt line 3: 1 was given on line 1 too"),
        ("\n", "holds no frame name"),
    ):
        path.write_text(content)
        with pytest.raises(InputError, match=message):
            read_split(path)
    with pytest.raises(InputError, match="does not exist, expected a split list"):
        read_split(tmp_path / "absent.txt")


def _refused(source: FrameSource, message: str) -> None:
    def read() -> None:
        files = open_frames(source, "results")
        files.read(files.names)

    with pytest.raises(InputError, match=message):
        read()


def test_a_zip_with_a_lost_byte_is_refused(tmp_path: Path) -> None:
    whole = write_zip(tmp_path / "a.zip", {"000000.txt": b"row\n" * 9}).read_bytes()
    for lost in range(30, len(whole)):
        path = tmp_path / "lost.zip"
        path.write_bytes(whole[:lost] + whole[lost + 1 :])
        _refused(path, "lost.zip")


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_cannot_be_unpacked_is_refused(tmp_path: Path, method: int) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as archive:
        archive.writestr("000000.txt", "".join(f"row {i}\n" for i in range(300)))
        member = archive.infolist()[0]
    data = bytearray(path.read_bytes())
    for place in range(60, member.compress_size):  # behind the headers, some of which is unused
        flipped = data.copy()
        flipped[place] ^= 255
        path.write_bytes(flipped)
        _refused(path, "000000.txt cannot be read")


def test_a_folder_that_is_called_like_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "000000.txt").mkdir()
    _refused(tmp_path, r"000000.txt cannot be read \(Is a directory\), expected a text file")


def test_text_that_is_no_unicode_is_refused() -> None:
    _refused({"000000": "Car \ud800"}, "frame '000000' has no UTF-8 at character 4")
