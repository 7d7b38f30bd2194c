"""Sets of molecules: written, read in PCQM4Mv2's layout, turned into graphs once."""

from __future__ import annotations

import contextlib
import csv
import gzip
import io
import itertools
import json
import os
import pickle
import shutil
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
import torch

from diffrender.errors import InputError
from diffrender.graph import encode_graph
from diffrender.graph.molecules import (
    GrowSettings,
    MoleculeRow,
    PcqmFolder,
    PrepareSettings,
    SyntheticMolecules,
    conformer_positions,
    labelled,
    load_molecules,
    molecule_data,
    molecule_graphs,
    parse_smiles,
    pipeline,
    prepare_molecules,
    scaffold,
    write_molecules,
)
from diffrender.graph.molecules.shards import read_shard

chem = pytest.importorskip("rdkit.Chem")

SETTINGS = SyntheticMolecules(24, seed=2, grow=GrowSettings(heavy_atoms=(5, 9)))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("tblite")
    folder = tmp_path_factory.mktemp("molecules")
    with pytest.MonkeyPatch.context() as patch:
        for module in ("labelled", "synthesize"):
            patch.setattr(f"diffrender.graph.molecules.{module}.PART_SIZE", 8)
        write_molecules(folder, SETTINGS)
    return folder


def test_a_set_in_the_layout(made: Path) -> None:
    folder = PcqmFolder(made)
    split = folder.split()
    assert sorted(itertools.chain(*split.values())) == list(range(24))
    rows = list(folder.rows())
    assert [row.index for row in rows] == list(range(24))
    assert len({row.smiles for row in rows}) == 24
    assert all(row.label is not None and 0.05 < row.label < 25 for row in rows)
    trained = set(split["train"])
    assert {row.index for row in rows if row.block is not None} == trained
    held = {scaffold(rows[i].smiles) for i in split["valid"] + split["test-dev"]}
    assert not held & {scaffold(rows[i].smiles) for i in trained}
    others = [row.label for row in folder.rows("homolumogap_huckel", conformers=False)]
    assert others != [row.label for row in rows]
    for row in rows:
        if row.block is not None:
            positions = conformer_positions(parse_smiles(row.smiles), row.block)
            assert torch.isfinite(positions).all()
    summary = json.loads((made / "set.json").read_text())
    assert sum(summary["molecules"].values()) == 24
    reasons = list(csv.DictReader((made / "failures.csv").read_text().splitlines()))
    assert len(reasons) == sum(summary["failures"].values())


def test_a_killed_writer_goes_on_to_the_same_bytes(
    made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("labelled", "synthesize"):
        monkeypatch.setattr(f"diffrender.graph.molecules.{module}.PART_SIZE", 8)
    (tmp_path / "parts").mkdir()
    shutil.copy(made / "settings.json", tmp_path)
    shutil.copy(made / "parts" / "part-00001.jsonl.gz", tmp_path / "parts")
    seen: list[tuple[int, int]] = []
    write_molecules(tmp_path, SETTINGS, report=lambda good, bad: seen.append((good, bad)))
    assert seen[-1][0] >= 24
    for name in ("raw/data.csv.gz", "split.json", "failures.csv", "pcqm4m-v2-train.sdf.tar.gz"):
        first, second = made / name, tmp_path / name
        if name.endswith("tar.gz"):
            first_bytes, second_bytes = (
                gzip.decompress(first.read_bytes()),
                gzip.decompress(second.read_bytes()),
            )
            assert first_bytes == second_bytes
        else:
            assert first.read_bytes() == second.read_bytes(), name
    with pytest.raises(InputError, match="of other settings"):
        write_molecules(tmp_path, SyntheticMolecules(25, 2))
    (tmp_path / "parts" / "part-00000.jsonl.gz").write_bytes(b"broken")
    with pytest.raises(InputError, match="part-00000.*delete it"):
        write_molecules(tmp_path, SETTINGS)


def test_graphs_are_made_once(made: Path, tmp_path: Path) -> None:
    folder, settings = PcqmFolder(made), PrepareSettings(shard=10)
    files = prepare_molecules(folder, tmp_path, settings)
    assert len(files) == 3
    times = [path.stat().st_mtime_ns for path in files]
    files[1].unlink()
    again = prepare_molecules(folder, tmp_path, settings)
    now = [path.stat().st_mtime_ns for path in again]
    assert again == files and now[0] == times[0] and now[1] != times[1] and now[2] == times[2]
    store, failures = load_molecules(files)
    assert (len(store), failures) == (24, [])
    rows = list(folder.rows())
    for index, row in enumerate(rows):
        (_, graph, _), = molecule_graphs([row])[0]  # fmt: skip
        held, codes = store.graph(index), store.encodings(index)
        for name in ("node_features", "edge_features", "edge_index"):
            assert torch.equal(getattr(held, name), getattr(graph, name)), name
        assert held.has_positions == (row.block is not None)
        if held.positions is not None and graph.positions is not None:
            assert torch.equal(held.positions, graph.positions)
        fresh = encode_graph(held)
        for name in ("laplacian_values", "random_walk", "degree", "distances"):
            assert torch.equal(getattr(codes, name), getattr(fresh, name)), name
        assert float(held.label) == pytest.approx(row.label)
    assert store.subset([5, 2, 99]) == [5, 2]
    other = prepare_molecules(folder, tmp_path, PrepareSettings("2", shard=10))
    assert not set(other) & set(files)


def test_two_processes_make_the_same_files(made: Path, tmp_path: Path) -> None:
    settings = PrepareSettings(shard=8)
    one = prepare_molecules(PcqmFolder(made), tmp_path / "one", settings)
    two = prepare_molecules(PcqmFolder(made), tmp_path / "two", settings, workers=2)
    assert [p.read_bytes() for p in one] == [p.read_bytes() for p in two]


# A run with one process, which has begun and waits for more.
KILLED = """
import multiprocessing, os, time
from concurrent.futures import ProcessPoolExecutor
from diffrender.graph.molecules.{module} import _one_thread

if __name__ == "__main__":
    pool = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _one_thread)
    print(pool.submit(os.getpid).result(), flush=True)
    time.sleep(600)
"""


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a matter of POSIX")
@pytest.mark.parametrize("module", ["pipeline", "labelled"])
def test_processes_end_with_a_killed_parent(tmp_path: Path, module: str) -> None:
    (tmp_path / "run.py").write_text(KILLED.format(module=module))
    words = [sys.executable, str(tmp_path / "run.py")]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        worker = int(parent.stdout.readline())
        parent.kill()
        try:
            parent.communicate(timeout=60)  # the worker holds the pipe's other end
        except subprocess.TimeoutExpired:
            with contextlib.suppress(ProcessLookupError):
                os.kill(worker, signal.SIGKILL)
            pytest.fail(f"process {worker} outlived its killed parent")


@pytest.mark.skipif(os.name == "nt", reason="SIGKILL is a matter of POSIX")
def test_a_killed_process_is_said_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _table(tmp_path, "smiles,homolumogap\n" + "C,1\n" * 9)
    (tmp_path / "split.json").write_text('{"train": [0], "valid": [1]}')
    monkeypatch.setattr(pipeline, "_write", _die)
    monkeypatch.setattr(labelled, "_write_part", _die)
    with pytest.raises(InputError, match="a worker process was ended from outside"):
        prepare_molecules(PcqmFolder(tmp_path), tmp_path, PrepareSettings(shard=3), workers=2)
    with pytest.raises(InputError, match="the same call goes on, with fewer workers"):
        list(labelled.label_parts(tmp_path / "parts", 0, GrowSettings(), [0], 2))


def _die(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_bad_rows_are_reported_and_the_rest_goes_on() -> None:
    block = chem.MolToMolBlock(chem.MolFromSmiles("CCO"))
    rows = [
        MoleculeRow(4, "CCO", 1.0, None),
        MoleculeRow(5, "C1CC", 1.0, None),
        MoleculeRow(6, "CCN", None, block),
        MoleculeRow(7, "*C", 1.0, None),
    ]
    good, failures = molecule_graphs(rows)
    assert [row for row, _, _ in good] == [4, 6]
    assert good[1][1].label is None and good[1][1].positions is None
    assert [(f.row, f.smiles) for f in failures] == [(5, "C1CC"), (6, "CCN"), (7, "*C")]
    assert "cannot be read as SMILES" in failures[0].reason
    assert failures[1].reason.startswith("without conformer: its SDF record is flat")


def test_conformers_in_another_order(made: Path) -> None:
    row = next(row for row in PcqmFolder(made).rows() if row.block is not None)
    mol = parse_smiles(row.smiles)
    straight = conformer_positions(mol, row.block or "")
    solid = chem.MolFromMolBlock(row.block, removeHs=False)
    order = np.random.default_rng(0).permutation(solid.GetNumAtoms()).tolist()
    mixed = conformer_positions(mol, chem.MolToMolBlock(chem.RenumberAtoms(solid, order)))
    # Atoms that are alike may change places: compare the distances by pairs of elements.
    numbers = torch.tensor([a.GetAtomicNum() for a in mol.GetAtoms()])

    def summary(positions: torch.Tensor) -> list[tuple[int, float]]:
        apart = torch.cdist(positions, positions)
        code = (numbers[:, None] * 1000 + numbers).flatten().tolist()
        return sorted(zip(code, apart.flatten().tolist(), strict=True))

    for (a, x), (b, y) in zip(summary(mixed), summary(straight), strict=True):
        assert a == b and x == pytest.approx(y, abs=1e-3)
    with pytest.raises(InputError, match="of another molecule"):
        conformer_positions(parse_smiles("CCOCCOCCOCCO"), row.block or "")


def _table(root: Path, text: str) -> None:
    (root / "raw").mkdir(parents=True)
    (root / "raw" / "data.csv.gz").write_bytes(gzip.compress(text.encode()))


def test_tables_that_cannot_be_used(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file, expected the layout of PCQM4Mv2"):
        PcqmFolder(tmp_path)
    _table(tmp_path, "idx,smiles,homolumogap\n0,C,1.5\n1,CC,\n2,CCC,much\n")
    folder = PcqmFolder(tmp_path)
    with pytest.raises(InputError, match="neither split.json nor split_dict.pt"):
        folder.split()
    with pytest.raises(InputError, match="row 2: the label 'much' is no number"):
        list(folder.rows(conformers=False))
    with pytest.raises(InputError, match="expected huckel too"):
        list(folder.rows("huckel", conformers=False))
    rows = folder.rows(conformers=False)
    assert next(rows).label == 1.5 and next(rows).label is None
    (tmp_path / "split.json").write_text('{"train": [0, 1]}')
    (tmp_path / "pcqm4m-v2-train.sdf").write_text("first\n$$$$\n")
    with pytest.raises(InputError, match="ends before row 1"):
        list(folder.rows())
    (tmp_path / "pcqm4m-v2-train.sdf").write_bytes(b"x" * (2 << 20))
    with pytest.raises(InputError, match="a record of more than"):
        list(folder.rows())


def test_tables_that_are_broken(tmp_path: Path) -> None:
    _table(tmp_path, "\ufeffidx,smiles,homolumogap\n0,C,1.5\n1,CC,2\n")  # as spreadsheets begin it
    folder = PcqmFolder(tmp_path)
    assert [row.smiles for row in folder.rows(conformers=False)] == ["C", "CC"]
    good = folder.table.read_bytes()
    latin = gzip.compress("smiles,homolumogap\nCé,1\n".encode("latin-1"))
    long = gzip.compress(b'smiles,homolumogap\n"' + b"C" * 200_000 + b'",1\n')
    for broken in (good[:-9], b"smiles,homolumogap\nC,1\n", latin, long):
        folder.table.write_bytes(broken)
        with pytest.raises(InputError, match="data.csv.gz: not a readable csv.gz"):
            list(folder.rows(conformers=False))
    folder.table.write_bytes(gzip.compress(b"idx,smiles,homolumogap\n0,C,1\n1\n"))
    with pytest.raises(InputError, match="row 1: ends before its smiles"):
        list(folder.rows(conformers=False))


def test_a_broken_archive_of_conformers(tmp_path: Path) -> None:
    _table(tmp_path, "smiles,homolumogap\n" + "C,1\n" * 40)
    (tmp_path / "split.json").write_text(json.dumps({"train": list(range(40))}))
    noise = np.random.default_rng(0)
    records = "".join(f"{noise.bytes(2000).hex()}\n$$$$\n" for _ in range(40)).encode()
    path = tmp_path / "pcqm4m-v2-train.sdf.tar.gz"
    with tarfile.open(path, "w:gz") as tar:
        member = tarfile.TarInfo("train.sdf")
        member.size = len(records)
        tar.addfile(member, io.BytesIO(records))
    assert len(list(PcqmFolder(tmp_path).rows())) == 40
    good = path.read_bytes()
    refused = 0
    for place in range(1000, len(good) - 1000, len(good) // 60):
        path.write_bytes(good[:place] + b"\0\xff\0\xff" + good[place + 4 :])
        try:
            list(PcqmFolder(tmp_path).rows())  # some such bytes are other letters of a record
        except InputError as error:
            refused += "not a readable tar.gz" in str(error)
    assert refused > 0


def test_a_split_of_another_set_is_refused(tmp_path: Path) -> None:
    _table(tmp_path, "smiles,homolumogap\nC,1\nC1CC,1\nCC,2\n")
    split = tmp_path / "split.json"
    split.write_text('{"train": [0, 1], "valid": [2, 7, 9]}')
    with pytest.raises(InputError, match="workers is 0, expected at least 1"):
        molecule_data(PcqmFolder(tmp_path), tmp_path / "cache", PrepareSettings(), workers=0)
    with pytest.raises(InputError, match="has no row 7, which the split .* nor 1 more"):
        molecule_data(PcqmFolder(tmp_path), tmp_path / "cache", PrepareSettings())
    split.write_text('{"train": [0, 1], "valid": [2]}')
    data, failures = molecule_data(PcqmFolder(tmp_path), tmp_path / "cache", PrepareSettings())
    assert (list(data.train), list(data.valid), failures[0].row) == ([0], [1], 1)


@pytest.mark.parametrize(
    ("smiles", "message"),
    [("Cé", "holds U[+]00E9"), ("C\u200bCO", "holds U[+]200B"), ("C\udce9", "holds U[+]DCE9")],
)
def test_letters_that_rdkit_would_pass_over(smiles: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        parse_smiles(smiles)
    assert parse_smiles("CCO éthanol\udce9").GetNumAtoms() == 3  # a name


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"train": [0, true]}', "lists of row numbers"),
        ("[1]", "lists of row numbers"),
        ("{", "not JSON"),
        ('{"valid": [0]}', "no part 'train'"),
        ('{"train": [0], "valid": [0]}', "names a row twice"),
    ],
)
def test_splits_that_cannot_be_used(tmp_path: Path, text: str, message: str) -> None:
    _table(tmp_path, "smiles,homolumogap\nC,1\n")
    (tmp_path / "split.json").write_text(text)
    with pytest.raises(InputError, match=message):
        PcqmFolder(tmp_path).split()


class _Harmful:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path.touch, (Path("harmed"),))


def test_the_published_split_is_read_and_nothing_in_it_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    _table(tmp_path, "smiles,homolumogap\nC,1\n")
    path = tmp_path / "split_dict.pt"
    parts = {"train": np.arange(5), "valid": np.array([7]), "test-dev": torch.tensor([8])}
    torch.save(parts, path)
    split = PcqmFolder(tmp_path).split()
    assert split == {"train": [0, 1, 2, 3, 4], "valid": [7], "test-dev": [8]}
    torch.save({"train": _Harmful()}, path)
    with pytest.raises(InputError, match="without running what is in it.*split.json"):
        PcqmFolder(tmp_path).split()
    path.write_bytes(pickle.dumps({"train": _Harmful()}))
    with pytest.raises(InputError, match="without running"):
        PcqmFolder(tmp_path).split()
    assert not (tmp_path / "harmed").exists()
    torch.save(parts, path)
    good = path.read_bytes()
    for broken in (good[: len(good) // 2], good.replace(b"train", b"tr\xffin"), b"", b"\x80\x02}q"):
        path.write_bytes(broken)
        with pytest.raises(InputError, match="without running"):
            PcqmFolder(tmp_path).split()


@pytest.mark.parametrize(
    ("rows", "message"),
    [(["a"], "'train' is no list"), (None, "'train' is no list"), ([1.5], "holds torch.float32")],
)
def test_published_splits_of_no_rows(tmp_path: Path, rows: object, message: str) -> None:
    _table(tmp_path, "smiles,homolumogap\nC,1\n")
    torch.save({"train": rows}, tmp_path / "split_dict.pt")
    with pytest.raises(InputError, match=message):
        PcqmFolder(tmp_path).split()


def test_files_that_are_no_shards(made: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    path = prepare_molecules(PcqmFolder(made), tmp_path, PrepareSettings(shard=50))[0]
    with pytest.raises(InputError, match="other settings"):
        read_shard(path, "another key")
    other = tmp_path / "other.safetensors"
    other.write_bytes(b"nothing")
    with pytest.raises(InputError, match="not a file of molecules' graphs"):
        read_shard(other)
    tensors = load_file(path)
    header = {"diffrender.molecules": '{"key": "", "failures": []}'}
    save_file(tensors | {"degree": tensors["degree"][1:].clone()}, other, metadata=header)
    with pytest.raises(InputError, match="'degree' has"):
        read_shard(other)
    narrow = {"laplacian_values": tensors["laplacian_values"][:, :2].clone()}
    for change in (narrow, {"rows": torch.tensor(0)}, {"degree": tensors["degree"][:, None]}):
        save_file(tensors | change, other, metadata=header)
        with pytest.raises(InputError, match=rf"'{next(iter(change))}' has shape"):
            read_shard(other)
    del tensors["rows"]
    save_file(tensors, other, metadata=header)
    with pytest.raises(InputError, match="expected"):
        read_shard(other)


def test_another_split_deals_the_conformers_anew(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    shutil.copytree(made, root)
    split = json.loads((root / "split.json").read_text())
    before = pipeline._key(PcqmFolder(root), PrepareSettings())
    split["valid"] = split["valid"][::-1]
    (root / "split.json").write_text(json.dumps(split))
    assert pipeline._key(PcqmFolder(root), PrepareSettings()) == before
    split["valid"].append(split["train"].pop())
    (root / "split.json").write_text(json.dumps(split))
    assert pipeline._key(PcqmFolder(root), PrepareSettings()) != before
