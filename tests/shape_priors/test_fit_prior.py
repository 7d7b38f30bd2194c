"""Fitting the shipped prior to cars it has not seen."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from diffrender.errors import InputError
from diffrender.shape_priors import (
    FitSettings,
    ShapePrior,
    fit_prior,
    sample_car,
)
from diffrender.shape_priors.fit import fit_folder, main
from diffrender.shape_priors.mesh_files import read_mesh, to_object_frame
from diffrender.shape_priors.registration import _Problem

QUICK = FitSettings(iterations=15, samples=1500)


def _write_obj(path: Path, vertices: torch.Tensor, faces: torch.Tensor) -> None:
    lines = [f"v {x:.6f} {y:.6f} {z:.6f}" for x, y, z in vertices.tolist()]
    lines += [f"f {a + 1} {b + 1} {c + 1}" for a, b, c in faces.tolist()]
    path.write_text("\n".join(lines) + "\n")


def test_recovers_its_own_shape_size_and_location(car: ShapePrior) -> None:
    latent = torch.tensor([0.8, -0.6, 0.5, 0.3, -0.4, 0.2, 0.1, -0.2])
    size, location = torch.tensor([4.4, 1.75, 1.45]), torch.tensor([0.3, 0.1, -0.2])
    target = car.place(latent, size, torch.eye(3), location)
    result = fit_prior(car, target, car.faces)
    assert result.iou > 0.985
    torch.testing.assert_close(result.size, size, atol=0.02, rtol=0)
    torch.testing.assert_close(result.location, location, atol=0.02, rtol=0)
    torch.testing.assert_close(result.latent[:3], latent[:3], atol=0.25, rtol=0)
    assert result.distance < 0.01


@pytest.mark.parametrize("kind", ["van", "pickup"])
def test_latents_explain_more_than_the_mean(car: ShapePrior, kind: str) -> None:
    sample = sample_car(kind, torch.Generator().manual_seed(99))
    target = sample.mesh.vertices * sample.size[[0, 2, 1]]
    fitted = fit_prior(car, target, sample.mesh.faces, QUICK)
    held = fit_prior(
        car, target, sample.mesh.faces, FitSettings(iterations=15, samples=1500, latent_weight=1e9)
    )
    assert held.latent.abs().max() < 1e-3
    assert fitted.iou > held.iou + 0.02
    assert fitted.iou > 0.94


def test_jacobian_is_the_derivative_of_the_surface(car: ShapePrior) -> None:
    car = car.to(torch.float64)
    target, generator = car.mesh().vertices, torch.Generator().manual_seed(1)
    problem = _Problem(car, target, car.faces, torch.zeros(6).double(), QUICK, generator)
    parameters = 0.3 * torch.randn(14, generator=generator, dtype=torch.float64)
    expected = torch.autograd.functional.jacobian(
        lambda p: problem.surface(p)[:40], parameters, vectorize=False
    )
    torch.testing.assert_close(problem.jacobian(parameters)[:40], expected)


def test_same_seed_same_fit(car: ShapePrior) -> None:
    sample = sample_car("suv", torch.Generator().manual_seed(2))
    target = sample.mesh.vertices * sample.size[[0, 2, 1]]
    one, two = (fit_prior(car, target, sample.mesh.faces, QUICK) for _ in range(2))
    assert torch.equal(one.latent, two.latent)
    assert one.iou == two.iou


def test_open_mesh_is_refused(car: ShapePrior) -> None:
    with pytest.raises(InputError, match="not closed"):
        fit_prior(car, car.mesh().vertices, car.faces[:-40], QUICK)
    with pytest.raises(InputError, match="at least one iteration and 100 samples"):
        fit_prior(car, car.mesh().vertices, car.faces, FitSettings(iterations=0))


def test_folder_command(
    car: ShapePrior, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "meshes"
    folder.mkdir()
    _write_obj(folder / "a.obj", car.mesh().vertices / 2, car.faces)
    (folder / "b.obj").write_text("v 1 2 3\n")
    _write_obj(folder / "c.obj", car.mesh().vertices / 2, car.faces[:-40])
    out = tmp_path / "new" / "fit.json"
    assert main([str(folder), "--scale", "2", "--json", str(out)]) == 0
    record = json.loads(out.read_text())
    assert record["axes"] == ["+x", "-y"]
    assert [row["file"] for row in record["rows"]] == ["a.obj"]
    assert record["mean_iou"] == record["worst_iou"] > 0.985
    assert {item["file"] for item in record["failed"]} == {"b.obj", "c.obj"}
    printed = capsys.readouterr().out
    assert "1 meshes, volumetric IoU: mean 0.9" in printed
    assert "not fitted: c.obj: the mesh is not closed" in printed


@pytest.mark.parametrize("axes", [None, ("+x", "-y")])
@pytest.mark.parametrize(
    ("corners", "reason"),
    [
        (((0, 0, 0), (4, 0, 0), (4, 2, 0), (0, 2, 0)), "x.obj: a flat mesh (4 x 2 x 0), expected"),
        (((0, 0, 0), (4, -1, 1), (4, -1, 1), (0, 0, 0)), "the 2 triangles have an area of 0"),
    ],
)
def test_a_folder_goes_on_past_a_mesh_that_encloses_nothing(
    car: ShapePrior,
    tmp_path: Path,
    axes: tuple[str, str] | None,
    corners: tuple[tuple[float, ...], ...],
    reason: str,
) -> None:
    _write_obj(tmp_path / "car.obj", car.mesh().vertices, car.faces)
    _write_obj(
        tmp_path / "x.obj", torch.tensor(corners).float(), torch.tensor([[0, 1, 2], [0, 2, 1]])
    )
    record = fit_folder(car, tmp_path, axes=axes, settings=QUICK)
    assert record["axes"] == ("+x", "-y")
    assert isinstance(record["rows"], list) and isinstance(record["failed"], list)
    assert [row["file"] for row in record["rows"]] == ["car.obj"]
    assert [item["file"] for item in record["failed"]] == ["x.obj"]
    assert reason in record["failed"][0]["reason"]


def test_folder_errors(car: ShapePrior, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match="no such folder"):
        fit_folder(car, tmp_path / "absent")
    with pytest.raises(InputError, match="not one mesh could be fitted"):
        fit_folder(car, tmp_path)
    assert main([str(tmp_path), "--forward=+x"]) == 2
    assert "--forward and --up come together" in capsys.readouterr().err
    (tmp_path / "file").touch()
    assert main([str(tmp_path), "--json", str(tmp_path / "file" / "fit.json")]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {tmp_path / 'file'}: ")
    assert error.count("\n") == 1


def test_explains_real_cars(car: ShapePrior, shared: Path) -> None:
    """Every tenth real car; docs/shape_prior.md has the figures for all of them."""
    folder = shared / "data" / "car_meshes" / "same_topology_79"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    overlaps = []
    for number in range(0, 79, 10):
        vertices, faces = read_mesh(folder / f"{number}.obj")
        target = to_object_frame(vertices, "+z", "-y", 2.853)
        overlaps.append(fit_prior(car, target, faces, QUICK).iou)
    assert sum(overlaps) / len(overlaps) >= 0.88
    assert min(overlaps) >= 0.85
