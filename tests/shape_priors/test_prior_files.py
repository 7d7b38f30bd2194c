"""Priors on disk: round trips, broken files, the registry, the asset and its script."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from diffrender.errors import InputError
from diffrender.shape_priors import ShapePrior, list_priors, load_prior, save_prior
from diffrender.shape_priors import files as prior_files
from diffrender.shape_priors.build_asset import build_car_prior, main
from diffrender.shape_priors.files import prior_path


def _parts(car: ShapePrior) -> tuple[dict[str, torch.Tensor], dict[str, object]]:
    """Tensors and header of a sound file, to be broken by a test."""
    tensors = {}
    for field in dataclasses.fields(car):
        value = getattr(car, field.name)
        if isinstance(value, torch.Tensor):
            kind = torch.float32 if value.is_floating_point() else torch.int32
            tensors[field.name] = value.to(kind).contiguous()
    header: dict[str, object] = {
        "format": "diffrender-shape-prior", "version": 1, "name": "car", "licence": "x",
        "part_names": list(car.part_names), "explained": [0.5],
    }  # fmt: skip
    return tensors, header


def _write(path: Path, tensors: dict[str, torch.Tensor], header: object) -> Path:
    text = header if isinstance(header, str) else json.dumps(header)
    save_file(tensors, path, {"prior": text})
    return path


def test_registry(car: ShapePrior) -> None:
    assert "car" in list_priors()
    assert car.name == "car"
    assert car.licence == "Apache-2.0"
    assert car.latent_size == 8
    assert prior_path("car").stat().st_size < 200_000
    with pytest.raises(
        InputError, match=r"no shape prior 'cra': expected one of car, .*pedestrian or the path"
    ):
        load_prior("cra")


def test_round_trip(car: ShapePrior, tmp_path: Path) -> None:
    path = save_prior(car, tmp_path / "copy.safetensors")
    copy = load_prior(path)
    for field in dataclasses.fields(car):
        ours, theirs = getattr(car, field.name), getattr(copy, field.name)
        if isinstance(ours, torch.Tensor):
            assert torch.equal(ours, theirs), field.name
        else:
            assert ours == theirs, field.name
    assert [p.name for p in tmp_path.iterdir()] == ["copy.safetensors"]
    assert save_prior(copy, tmp_path / "again.safetensors").read_bytes() == path.read_bytes()


def test_a_missing_folder_is_made(car: ShapePrior, tmp_path: Path) -> None:
    path = save_prior(car, tmp_path / "absent" / "deep" / "car.safetensors")
    assert load_prior(path).name == car.name


def test_sound_parts_load(car: ShapePrior, tmp_path: Path) -> None:
    assert load_prior(_write(tmp_path / "a.safetensors", *_parts(car))).licence == "x"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "format diffrender-shape-prior version 2, expected"),
        ({"format": "other"}, "format other version 1, expected"),
        ({"name": 3}, "header field 'name' is not a str"),
        ({"part_names": [1]}, "'part_names' must list names"),
        ({"explained": ["a"]}, "'explained' must list numbers"),
        ({"surplus": 1}, "the header must hold exactly format, version"),
        ({"part_names": ["body"]}, "face_parts has values from 0 to 7, expected 0 to 0"),
    ],
)
def test_broken_headers(
    car: ShapePrior, tmp_path: Path, change: dict[str, object], message: str
) -> None:
    tensors, header = _parts(car)
    path = _write(tmp_path / "broken.safetensors", tensors, {**header, **change})
    with pytest.raises(InputError, match=f"broken.safetensors: .*{message}"):
        load_prior(path)


def test_broken_tensors(car: ShapePrior, tmp_path: Path) -> None:
    tensors, header = _parts(car)
    holes = tensors["basis"].clone()
    holes[0, 0, 0] = float("nan")
    stray = tensors["faces"].clone()
    stray[5, 1] = len(car.mean)
    breaks: list[tuple[dict[str, torch.Tensor], str]] = [
        ({"basis": holes}, "'basis' holds values that are not finite"),
        ({"faces": stray}, "faces has values from 0 to 530, expected 0 to 529"),
        ({"mean": tensors["mean"][:-1].clone()}, r"ShapePrior.basis has shape"),
        ({"mean": tensors["mean"].double()}, "'mean' has an unexpected dtype torch.float64"),
        ({"size_mean": -tensors["size_mean"]}, "must be positive"),
        ({"mean": 0 * tensors["mean"]}, r"safetensors: mean: a flat mesh \(0 x 0 x 0\)"),
        ({"extra": torch.zeros(1)}, r"unknown: \['extra'\]"),
    ]
    for index, (change, message) in enumerate(breaks):
        path = _write(tmp_path / f"{index}.safetensors", {**tensors, **change}, header)
        with pytest.raises(InputError, match=message):
            load_prior(path)
    del tensors["faces"]
    with pytest.raises(InputError, match=r"tensors missing: \['faces'\]"):
        load_prior(_write(tmp_path / "missing.safetensors", tensors, header))


def test_files_of_another_kind(
    car: ShapePrior, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "noise.safetensors"
    path.write_bytes(b"not a tensor file at all")
    with pytest.raises(InputError, match=r"noise\.safetensors: not a readable safetensors file"):
        load_prior(path)
    sound = prior_path("car").read_bytes()
    path.write_bytes(sound[: len(sound) // 2])
    with pytest.raises(InputError, match="not a readable safetensors file"):
        load_prior(path)
    save_file({"mean": torch.zeros(2, 3)}, path)
    with pytest.raises(InputError, match="not a shape prior"):
        load_prior(path)
    for text in ("{not json", "[" * 200_000, "1" * 5000):
        _write(path, _parts(car)[0], text)
        with pytest.raises(InputError, match="the header is not JSON"):
            load_prior(path)
    monkeypatch.setattr(prior_files, "_LARGEST_FILE", 1000)
    with pytest.raises(InputError, match="expected a prior of at most 1000"):
        load_prior(prior_path("car"))


def test_script_rebuilds_the_shipped_asset(car: ShapePrior) -> None:
    built = build_car_prior()
    assert torch.equal(built.faces, car.faces)
    assert torch.equal(built.face_parts, car.face_parts)
    assert built.part_names == car.part_names
    torch.testing.assert_close(built.uv, car.uv, atol=1e-6, rtol=0)
    torch.testing.assert_close(built.mean, car.mean, atol=1e-5, rtol=0)
    torch.testing.assert_close(built.basis, car.basis, atol=1e-5, rtol=0)
    assert built.explained == pytest.approx(car.explained, abs=1e-5)
    assert sum(built.explained) > 0.9
    assert list(built.explained) == sorted(built.explained, reverse=True)


def test_script_writes_where_it_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(build_car_prior, "__defaults__", (40, 3))
    target = tmp_path / "small.safetensors"
    main([str(target)])
    assert load_prior(target).latent_size == 3
    assert f"{target}: 530 vertices, 1056 faces" in capsys.readouterr().out
