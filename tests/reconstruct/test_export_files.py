"""Outputs are whole or absent, and stay inside their folder."""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path

import numpy as np
import pytest
from scene_fixture import make_scene

from diffrender._files import (
    atomic_path,
    readable,
    writable_folder,
    write_bytes_atomic,
    write_text_atomic,
)
from diffrender.instances import Rejected
from diffrender.reconstruct.export import file_names, readable_names, save_scene, scene_glb

HOSTILE = ("<script>alert(1)</script>", "../../x")


def test_a_failure_inside_leaves_the_older_file_and_nothing_else(tmp_path: Path) -> None:
    target = write_text_atomic(tmp_path / "result.json", "old")

    def stopped_half_way() -> None:
        with atomic_path(target) as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped_half_way()
    assert target.read_text() == "old"
    assert [p.name for p in tmp_path.iterdir()] == ["result.json"]


def test_the_temporary_file_lies_beside_its_place_with_the_same_suffix(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "picture.png"
    with atomic_path(target) as temporary:
        assert temporary.parent == target.parent
        assert temporary.suffix == ".png"
        assert not target.exists()
        temporary.write_bytes(b"x")
    assert target.read_bytes() == b"x"
    assert len(list(target.parent.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="limits of files are a matter of POSIX")
def test_a_full_disk_names_the_file(tmp_path: Path) -> None:
    import resource

    target = write_bytes_atomic(tmp_path / "weights.safetensors", b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # as a disk with so much room
    try:
        with pytest.raises(OSError) as refused:
            write_bytes_atomic(target, bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert refused.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.skipif(os.name == "nt", reason="file modes are a matter of POSIX")
def test_a_written_file_has_the_modes_of_an_ordinary_one(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    written = write_bytes_atomic(tmp_path / "atomic", b"\0\1")
    assert written.read_bytes() == b"\0\1"
    modes = {stat.S_IMODE(p.stat().st_mode) for p in tmp_path.iterdir()}
    assert len(modes) == 1


def test_text_is_utf8_with_unix_line_ends(tmp_path: Path) -> None:
    assert write_text_atomic(tmp_path / "a.txt", "é\n").read_bytes() == b"\xc3\xa9\n"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("\ud800bad", "\ufffdbad"),  # from JSON
        ("caf\udce9", "caf\ufffd"),  # from a file name in Latin-1
        ("\ud83d\ude00 é 車 😀\n", "😀 é 車 😀\n"),
    ],
)
def test_lone_surrogates_are_replaced(text: str, expected: str, tmp_path: Path) -> None:
    assert readable(text) == expected
    written = write_text_atomic(tmp_path / "a.txt", text)
    assert written.read_text(encoding="utf-8") == expected


def test_errors_name_the_place_and_not_the_temporary_file(tmp_path: Path) -> None:
    (tmp_path / "result.json").mkdir()
    with pytest.raises(OSError) as moved:
        write_text_atomic(tmp_path / "result.json", "x")
    assert (moved.value.filename, moved.value.filename2) == (str(tmp_path / "result.json"), None)

    def refused(place: Path) -> None:
        raise PermissionError(13, "Permission denied", str(place))

    with pytest.raises(PermissionError) as opened, atomic_path(tmp_path / "new.json") as place:
        refused(place)
    assert opened.value.filename == str(tmp_path / "new.json")
    with pytest.raises(PermissionError) as other, atomic_path(tmp_path / "new.json"):
        refused(tmp_path / "another")
    assert other.value.filename == str(tmp_path / "another")
    assert [path.name for path in tmp_path.iterdir()] == ["result.json"]


def test_a_folder_is_tried_before_it_is_needed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert list(writable_folder(tmp_path / "a" / "b").iterdir()) == []

    def refuse(self: Path) -> None:  # root may write everywhere: file modes would not refuse it
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", refuse)
    with pytest.raises(PermissionError) as raised:
        writable_folder(tmp_path)
    assert raised.value.filename == str(tmp_path)


def test_save_writes_every_output_and_returns_the_paths(tmp_path: Path) -> None:
    scene = make_scene()
    written = save_scene(scene, tmp_path / "out")
    relative = [p.relative_to(tmp_path / "out").as_posix() for p in written]
    singles = ["scene.glb", "000114.txt", "result.json", "overlay.png", "bev.png", "report.html"]
    objects = [f"objects/car_{n}.{e}" for n in (1, 2) for e in ("glb", "obj", "png", "mtl")]
    assert sorted(relative) == sorted(singles + objects)
    assert [name for name in relative if "/" not in name] == singles
    on_disk = sorted(p for p in (tmp_path / "out").rglob("*") if p.is_file())
    assert on_disk == sorted(written)
    assert all(p.stat().st_size > 0 for p in written)


def test_scene_save_is_the_same_call(tmp_path: Path) -> None:
    assert len(make_scene().save(str(tmp_path))) == 14


def test_hostile_names_stay_inside_the_folder(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b" / "out"
    save_scene(make_scene(HOSTILE, frame="../../../frame"), folder)
    outside = [p for p in tmp_path.rglob("*") if p.is_file() and folder not in p.parents]
    assert outside == []
    assert (folder / "frame.txt").is_file()
    record = json.loads((folder / "result.json").read_text())
    assert record["frame"] == "../../../frame"
    assert [o["name"] for o in record["objects"]] == list(HOSTILE)
    assert all((folder / o["files"]["obj"]).is_file() for o in record["objects"])


def test_names_that_no_encoding_holds_are_replaced_everywhere(tmp_path: Path) -> None:
    scene = make_scene(("\ud800bad", "caf\udce9"), frame="fr\udce9")
    object.__setattr__(scene, "depth_source", "d\udce9.png")
    scene.rejected.append(Rejected("\udce9", "Car", "of \udce9.png"))
    save_scene(scene, tmp_path)
    record = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    assert [one["name"] for one in record["objects"]] == ["\ufffdbad", "caf\ufffd"]
    assert (record["frame"], record["depth_source"]) == ("fr\ufffd", "d\ufffd.png")
    assert record["rejected"][1] == {"name": "\ufffd", "category": "Car", "reason": "of \ufffd.png"}
    assert "caf\ufffd" in (tmp_path / "report.html").read_text(encoding="utf-8")
    assert b"\\udce9" not in scene_glb(scene)
    assert readable_names(scene).objects[1].name.encode("utf-8")  # so it can be printed


def test_what_cannot_be_made_leaves_the_older_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from diffrender.reconstruct import report

    before = {path: path.read_bytes() for path in save_scene(make_scene(), tmp_path)}

    def fail(*_: object) -> str:
        raise ValueError("the last of all texts")

    monkeypatch.setattr(report, "report_html", fail)
    with pytest.raises(ValueError, match="the last"):
        save_scene(make_scene(("a", "b")), tmp_path)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


def test_a_scene_without_objects_or_depth_saves(tmp_path: Path) -> None:
    scene = make_scene()
    scene.objects.clear()
    object.__setattr__(scene, "depth", None)
    written = save_scene(scene, tmp_path)
    assert len(written) == 6
    assert (tmp_path / "000114.txt").read_text() == ""
    assert "No object was reconstructed" in (tmp_path / "report.html").read_text()


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["car 1", "car 1", "Car 1"], ["car_1", "car_1_2", "Car_1_3"]),
        (["a", "a", "a_2"], ["a", "a_2", "a_2_2"]),
        (["../../x", "/etc/passwd", ".hidden"], ["x", "etc_passwd", "hidden"]),
        (["", "..", "車"], ["object", "object_2", "object_3"]),
        (["con", "NUL.txt", "console"], ["_con", "_NUL.txt", "console"]),
        (["x" * 200], ["x" * 64]),
        (["a\x00b\nc"], ["a_b_c"]),
    ],
)
def test_file_names(names: list[str], expected: list[str]) -> None:
    assert file_names(names) == expected


def test_the_same_scene_gives_the_same_bytes(tmp_path: Path) -> None:
    first = save_scene(make_scene(), tmp_path / "1")
    second = save_scene(make_scene(), tmp_path / "2")
    assert [p.read_bytes() for p in first] == [p.read_bytes() for p in second]
    assert np.array_equal(make_scene().image, make_scene().image)
