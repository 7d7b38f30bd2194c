"""The benchmark of priors on procedural meshes, and the auto-encoder from the command line."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from diffrender.errors import InputError
from diffrender.shape_priors import AutoencoderSettings, DecoderSettings, FitSettings, load_prior
from diffrender.shape_priors.build_asset import draw_fleet
from diffrender.shape_priors.car_lattice import lattice
from diffrender.shape_priors.learn import MeshSet
from diffrender.tools import bench_priors as module
from diffrender.tools.app import app
from diffrender.tools.bench import MeshFolder, run
from diffrender.tools.bench_format import Report

TINY = module._Study(
    folds=1,
    training=AutoencoderSettings(
        decoder=DecoderSettings(width=16, hidden=1), steps=5, encoder_steps=5, points=32
    ),
    fit=FitSettings(iterations=4, samples=200),
    samples=100,
    held=2,
)


def fleet() -> MeshSet:
    shapes, sizes = draw_fleet(24, torch.Generator().manual_seed(1))
    metric = shapes.double() * sizes[:, None, [0, 2, 1]].double()
    return MeshSet(metric, torch.from_numpy(lattice().faces), sizes.double())


def test_study_reports_every_prior_and_goes_on_from_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = module._study(Report(rows=[]), fleet(), TINY, tmp_path, "goal")
    cases = {row.case.split(", 2 held")[0] for row in report.rows}
    shipped = {f"shipped prior {n}, 8 latents" for n in ("car", "car-autoencoder")}
    assert cases >= {module.PCA, module.SYMMETRIC, module.AUTOENCODER, module.ENCODER} | shipped
    values = {(r.case.split(", 2 held")[0], r.operation): r.value for r in report.rows}
    assert 0 < values[module.PCA, "Chamfer distance"] < 200
    assert 0.5 < values[module.PCA, "volumetric IoU"] <= 1
    assert 0.5 < values[module.AUTOENCODER, "normal consistency"] <= 1
    assert report.targets[0].value is not None

    monkeypatch.setattr(module, "_fold", None)  # nothing is computed twice
    again = module._study(Report(rows=[]), fleet(), TINY, tmp_path, "goal")
    assert again.rows == report.rows
    with pytest.raises(TypeError):  # another study is not mixed in
        module._study(
            Report(rows=[]), fleet(), dataclasses.replace(TINY, samples=90), tmp_path, "goal"
        )


def test_options_go_with_the_benchmark_that_reads_meshes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InputError, match="'ipu' got a MeshFolder, it takes: Path"):
        run("ipu", quick=True, choice=MeshFolder(cars=tmp_path))
    with pytest.raises(InputError, match="is no folder of meshes"):
        run("priors", quick=True, choice=MeshFolder(cars=tmp_path / "absent"))
    monkeypatch.delenv("DIFFRENDER_SHARED", raising=False)
    report = run("priors", quick=True)
    assert [row.operation for row in report.rows] == ["left out: no folder of meshes (--cars DIR)"]
    assert not report.targets[0].met


def test_autoencoder_from_the_command_line(tmp_path: Path) -> None:
    read = fleet()
    meshes = []
    for index, vertices in enumerate(read.vertices[:12]):
        path = tmp_path / f"{index}.obj"
        lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
        lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in read.faces.tolist()]
        path.write_text("\n".join(lines) + "\n")
        meshes.append(str(path))
    file, kept = str(tmp_path / "ae.safetensors"), str(tmp_path / "run.ckpt")
    options = ["--kind", "autoencoder", "--latents", "3", "--width", "16", "--steps", "4"]
    options += ["--encoder-steps", "4"]
    axes = ["--forward", "+x", "--up", "-y"]
    command = ["prior", "learn", *meshes, "--out", file, *options, *axes, "--checkpoint", kept]
    result = CliRunner().invoke(app, [*command, "--density", "0.5"])
    assert result.exit_code == 0, result.output
    assert load_prior(file).latent_size == 3
    assert Path(kept).is_file()
    info = CliRunner().invoke(app, ["prior", "info", file])
    assert "latents   3" in info.stdout
    for wrong, message in (
        (["prior", "learn", "--out", file, "--kind", "autoencoder"], "either meshes"),
        (["prior", "learn", "--out", file, "--family", "car"], "--kind autoencoder"),
        (["prior", "learn", "--out", file], "cannot give 8 latents"),
    ):
        result = CliRunner().invoke(app, wrong)
        assert result.exit_code == 2
        assert message in result.output
