"""doctor, prior, synthetic, depth and bench, called as a user would."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from command_files import refused, write_street
from typer.testing import CliRunner

from diffrender.depth import DepthPrediction
from diffrender.errors import InputError
from diffrender.shape_priors import load_prior
from diffrender.tools import bench, diagnosis
from diffrender.tools import depth as depth_command
from diffrender.tools.app import app
from diffrender.tools.bench_format import Report, Row, Target


def test_doctor_says_what_is_here_and_how_to_get_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(diagnosis._EXTRA, "no-such-package", ("no_such_module", "viewer"))
    result = CliRunner().invoke(app, ["doctor", "--json"])
    assert result.exit_code == 0, result.output
    record = json.loads(result.stdout)
    assert record["schema"] == 1
    assert record["machine"]["threads"] == torch.get_num_threads()
    found = {(one["group"], one["name"]): one for one in record["findings"]}
    assert found["required", "torch"]["version"] == torch.__version__
    assert found["required", "timm"]["present"]
    assert found["back-end", "torch"]["present"]
    assert ("back-end", "native") in found
    assert found["back-end", "block-sparse torch"]["present"]
    assert found["asset", "shape prior car"]["present"]
    absent = found["extra", "no-such-package"]
    assert (absent["present"], absent["reason"]) == (False, "not installed")
    assert absent["mend"] == "pip install 'diffrender[viewer]'"


def test_doctor_prints_plain_lines_and_fails_where_something_required_is_broken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(diagnosis, "_REQUIRED", {"numpy": "numpy", "absent": "absent_module"})
    monkeypatch.setattr(diagnosis, "_EXTRA", {})
    result = CliRunner().invoke(app, ["doctor"])
    assert result.exit_code == 1
    lines = [" ".join(line.split()) for line in result.stdout.splitlines()]
    assert f"yes numpy {np.__version__}" in lines
    assert "no absent not installed" in lines
    assert "get it: pip install absent" in lines


def test_doctor_looks_at_every_shipped_file(monkeypatch: pytest.MonkeyPatch) -> None:
    from diffrender import datasets, heading
    from diffrender.graph import meshes
    from diffrender.instances import street
    from diffrender.shape_priors import files

    monkeypatch.setattr(diagnosis, "_REQUIRED", {})
    monkeypatch.setattr(diagnosis, "_EXTRA", {})

    def assets() -> dict[str, str]:
        result = CliRunner().invoke(app, ["doctor", "--json"])
        assert result.exit_code == 0, result.output
        found = json.loads(result.stdout)["findings"]
        return {one["name"]: one["reason"] for one in found if one["group"] == "asset"}

    assert set(assets().values()) == {""}

    def absent() -> None:
        raise InputError("this build holds none")

    monkeypatch.setattr(heading, "shipped_heading", absent)
    monkeypatch.setattr(meshes, "load_denoiser", absent)
    monkeypatch.setattr(meshes, "load_refiner", absent)
    monkeypatch.setattr(street, "shipped_street", absent)
    monkeypatch.setattr(datasets, "sample_folder", lambda: Path("absent"))
    monkeypatch.setattr(files, "prior_path", lambda name: Path(f"absent/{name}"))
    broken = {name for name, reason in assets().items() if reason}
    assert broken == {
        "heading network", "mesh denoiser", "mesh refiner", "sample of demo", "segmenter street",
        "shape prior car", "shape prior car-autoencoder", "shape prior pedestrian",
        "shape prior cyclist",
    }  # fmt: skip


def test_doctor_does_not_ask_for_a_compiler_where_kernels_are_switched_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert diagnosis._mend_back_end("native", None) == ""
    assert "compiler" in diagnosis._mend_back_end("native", "was not built at install")
    monkeypatch.setenv("DIFFRENDER_NATIVE", "off")
    off = diagnosis._mend_back_end("native", "switched off by DIFFRENDER_NATIVE=off")
    assert off == "unset DIFFRENDER_NATIVE"


def test_prior_is_learned_and_looked_at(tmp_path: Path) -> None:
    car = load_prior("car")
    for index in range(3):
        latent = torch.zeros(car.latent_size)
        latent[index] = 1.5
        mesh = car.mesh(latent, torch.tensor([4.0 + 0.2 * index, 1.7, 1.5]))
        rows = [f"v {x} {y} {z}" for x, y, z in mesh.vertices.tolist()]
        rows += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in mesh.faces.tolist()]
        (tmp_path / f"{index}.obj").write_text("\n".join(rows) + "\n")
    meshes = [str(tmp_path / f"{index}.obj") for index in range(3)]
    prior_file = str(tmp_path / "new" / "mine.safetensors")
    axes = ["--forward", "+x", "--up", "-y", "--latents", "2", "--name", "mine"]
    result = CliRunner().invoke(app, ["prior", "learn", *meshes, "--out", prior_file, *axes])
    assert result.exit_code == 0, result.output
    assert f"wrote {prior_file}" in result.stdout
    assert load_prior(prior_file).size_mean.tolist() == pytest.approx([4.2, 1.7, 1.5], abs=1e-4)
    result = CliRunner().invoke(app, ["prior", "info", prior_file])
    assert result.exit_code == 0, result.output
    assert "name      mine" in result.stdout
    assert "latents   2" in result.stdout
    # As many latents as meshes cannot be learned: one line.
    result = CliRunner().invoke(app, ["prior", "learn", *meshes, "--out", prior_file])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "3 meshes cannot give 8 latents" in result.stderr


@pytest.mark.parametrize("kind", ["pca", "autoencoder"])
def test_a_prior_that_cannot_be_written_is_refused_before_it_is_learned(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: object, **__: object) -> None:
        pytest.fail("learned first")

    monkeypatch.setattr("diffrender.shape_priors.learn_prior", learn)
    monkeypatch.setattr("diffrender.shape_priors.learn_autoencoder", learn)
    (tmp_path / "file").touch()
    for out, message in (
        (tmp_path / "file" / "x.safetensors", f"{tmp_path / 'file'}: "),
        (tmp_path, f"--out {tmp_path} is a folder"),
        ("", "--out is empty"),
    ):
        command = ["prior", "learn", "a.obj", "--kind", kind, "--out", str(out)]
        refused(CliRunner().invoke(app, command), message)


def test_synthetic_frames_read_back(tmp_path: Path) -> None:
    from diffrender.datasets import KittiObject

    root = tmp_path / "streets"
    command = ["synthetic", "write", "--out", str(root), "--count", "1", "--seed", "3"]
    result = CliRunner().invoke(app, command)
    assert result.exit_code == 0, result.output
    frame = KittiObject(root)["000000"]
    assert frame.instances()
    again = CliRunner().invoke(app, command)
    refused(again, "overwrite nothing")
    none = CliRunner().invoke(app, ["synthetic", "write", "--out", str(root), "--count", "0"])
    assert (none.exit_code, none.stderr) == (2, "error: --count is 0, expected at least 1\n")


class _Network:
    """Gives a ramp of the kind that it was made with."""

    def __init__(self, kind: str) -> None:
        self.kind, self.asked = kind, 0

    def predict(
        self, image: np.ndarray, focal: float | None, camera_height: float | None
    ) -> DepthPrediction:
        self.asked += 1
        values = np.linspace(2, 40, image[..., 0].size, dtype=np.float32)
        return DepthPrediction(values.reshape(image.shape[:2])[::-1].copy(), self.kind)  # type: ignore[arg-type]


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> _Network:
    made = _Network("metric")
    monkeypatch.setattr(depth_command, "create_network", lambda *_: made)
    return made


def test_depth_is_written_in_metres(tmp_path: Path, network: _Network) -> None:
    from diffrender.depth import read_depth

    files = write_street(tmp_path)
    for name, units in (("depth_map.png", 256.0), ("depth_map.npy", None)):
        target = tmp_path / "new" / name
        command = ["depth", files["street.png"], "--out", str(target), "--model", "rt-monodepth"]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert "metres, 2.0 to 40.0" in result.stdout
        read = read_depth(target, units)
        assert read[-1, 0] == pytest.approx(2.0)
        assert read[0, -1] == pytest.approx(40.0)


def test_depth_without_scale_is_no_png(tmp_path: Path, network: _Network) -> None:
    network.kind = "relative_depth"
    files = write_street(tmp_path)
    command = ["depth", files["street.png"], "--out"]
    result = CliRunner().invoke(app, [*command, str(tmp_path / "d.png")])
    assert (result.exit_code, result.stderr.count("\n")) == (2, 1)
    assert "relative_depth" in result.stderr
    assert network.asked == 0  # its answer may take long
    result = CliRunner().invoke(app, [*command, str(tmp_path / "d.png"), "--model", "hub"])
    assert (result.exit_code, network.asked) == (2, 1)  # known only now
    assert not (tmp_path / "d.png").exists()
    result = CliRunner().invoke(app, [*command, str(tmp_path / "d.npy")])
    assert result.exit_code == 0
    assert "scale unknown" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "expected IMAGE and --out FILE"),
        (["a.png", "--out", "depth.jpg"], "expected a name that ends in .png or .npy"),
        (["absent.png", "--out", "depth.npy"], "absent.png does not exist"),
    ],
)
def test_bad_depth_calls_are_one_line(arguments: list[str], message: str) -> None:
    refused(CliRunner().invoke(app, ["depth", *arguments]), message)


def test_depth_networks_are_listed_with_their_licences() -> None:
    result = CliRunner().invoke(app, ["depth", "--list"])
    assert result.exit_code == 0
    assert "rt-monodepth" in result.stdout
    assert "research only" in result.stdout


def test_bench_writes_and_prints_a_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def measure(*, quick: bool) -> Report:
        asked.append(quick)
        rows = [Row("a case", "an operation", 1.5, "ms", spread=0.1, peer="deodr", ratio=0.5)]
        return Report(rows, [Target("speed", "<= 1 ms", 1.5, False), Target("x", "y", None, False)])

    monkeypatch.setattr(bench, "_load", lambda _: measure)
    path = tmp_path / "report.json"
    result = CliRunner().invoke(app, ["bench", "raster", "--quick", "--json", str(path)])
    assert result.exit_code == 0, result.output
    assert asked == [True]
    assert json.loads(path.read_text())["rows"][0]["ratio"] == 0.5
    assert "an operation" in result.stdout
    assert "not measured" in result.stdout
    result = CliRunner().invoke(app, ["bench", "raster", "--print-json"])
    assert asked == [True, False]
    assert json.loads(result.stdout)["targets"][0]["met"] is False


def test_unknown_benchmark_is_refused() -> None:
    result = CliRunner().invoke(app, ["bench", "speed"])
    assert result.exit_code == 2
    assert "No such command 'speed'" in result.stderr
    with pytest.raises(InputError, match="no benchmark is called 'speed', expected one of: blo"):
        bench.run("speed", quick=True)


def test_version() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.stdout == "diffrender 0.1.0\n"


def test_depth_that_cannot_be_written_is_refused_before_the_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(depth_command, "create_network", lambda *_: pytest.fail("loaded first"))
    files = write_street(tmp_path)
    place = files["street.png"] + "/depth.npy"
    refused(CliRunner().invoke(app, ["depth", files["street.png"], "--out", place]), "street.png")
