"""Samples: what they hold, how they are mirrored, halved and stored."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import pytest
import torch
from predict_cases import SETTINGS, STREETS, prior, some
from safetensors import safe_open
from safetensors.torch import load_file, save_file

from diffrender.datasets.synthetic import StreetSettings
from diffrender.errors import InputError
from diffrender.losses import Evidence
from diffrender.predict import (
    NetworkInputs,
    Samples,
    SampleSettings,
    StreetFrames,
    load_samples,
    network_inputs,
    prepare,
    samples_of,
)
from diffrender.predict.batches import altered, indices_of
from diffrender.predict.hindsight import all_losses
from diffrender.predict.training import training_loss
from diffrender.reconstruct.hypotheses import Hypotheses

ALL = torch.ones(4, dtype=torch.bool)


def guesses() -> Hypotheses:
    """One oblique car of the mean size per sample, near where the evidence has it."""
    e = some().evidence
    inputs: NetworkInputs = network_inputs(some())
    depth = torch.log(inputs.reference + 1.0)
    angles = torch.zeros(4, 3)
    angles[:, 0] = torch.tensor([0.4, 1.9, -2.5, -0.8])
    return Hypotheses(
        owner=torch.arange(4),
        offset=torch.tensor([[0.03, -0.02]]).expand(4, 2),
        log_depth=depth,
        angles=angles,
        log_apparent=torch.log(e.size_mean) - depth[:, None],
        latent=torch.linspace(-0.5, 0.5, 8).expand(4, 8),
    )


def test_there_is_no_place_for_a_label() -> None:
    names = {f.name for f in dataclasses.fields(Samples)}
    assert names == {"evidence", "windows", "camera_height"}
    assert {f.name for f in dataclasses.fields(Evidence)} == {
        "mask", "care", "depth", "depth_sigma", "depth_floor", "image", "box", "open_sides",
        "size_mean", "size_sigma",
    }  # fmt: skip


def test_a_lens_does_not_change_the_ray_on_which_an_object_lies() -> None:
    """The same objects with their boxes where a lens shows them: nearly the same numbers."""
    plain = some()
    lens = torch.tensor([-0.35, 0.15, 0.0, 0.0]).expand(4, 4)
    bent = dataclasses.replace(plain.windows, distortion=lens)
    left, top, right, bottom = plain.evidence.box.unbind(-1)
    x, y = (left + right) / 2, (top + bottom) / 2
    middles = torch.stack([left, y, x, top, right, y, x, bottom], dim=-1).unflatten(-1, (4, 2))
    seen, _ = bent.project(plain.windows.unproject(middles, torch.ones(4, 4)))
    box = torch.stack([seen[:, 0, 0], seen[:, 1, 1], seen[:, 2, 0], seen[:, 3, 1]], dim=-1)
    assert (box - plain.evidence.box).abs().max() > 0.5  # pixels of windows of 32
    moved = dataclasses.replace(
        plain, evidence=dataclasses.replace(plain.evidence, box=box), windows=bent
    )
    expected, found = network_inputs(plain), network_inputs(moved)
    torch.testing.assert_close(found.scalars, expected.scalars, atol=5e-3, rtol=0)
    assert torch.equal(found.boxes, box)


def test_convention_mirrored_objects_cost_the_same() -> None:
    """Mirror the evidence and the hypothesis: no term of the objective may notice."""
    plain, loss = guesses(), training_loss(prior())
    camera = some().windows
    centre = plain.pose(camera, some().evidence.box)[1]
    mirrored = some().mirrored(ALL)
    # What is mirrored has x negated and heads to pi - yaw.
    angles = plain.angles * torch.tensor([-1.0, 1.0, 1.0]) + torch.tensor([math.pi, 0.0, 0.0])
    other = dataclasses.replace(
        plain, offset=plain.offset * torch.tensor([-1.0, 1.0]), angles=angles
    )
    there = other.pose(mirrored.windows, mirrored.evidence.box)[1]
    torch.testing.assert_close(there, centre * torch.tensor([-1.0, 1.0, 1.0]))
    before = all_losses(prior(), some(), plain, loss)
    after = all_losses(prior(), mirrored, other, loss)
    torch.testing.assert_close(after, before, rtol=5e-3, atol=5e-2)
    wrong = all_losses(prior(), mirrored, plain, loss)
    assert ((wrong - before).abs() > 1.0).all()


def test_mirrored_twice_is_the_same() -> None:
    again = some().mirrored(ALL).mirrored(ALL)
    for name, value in some().to_tensors().items():
        torch.testing.assert_close(again.to_tensors()[name], value)
    untouched = some().mirrored(~ALL)
    assert torch.equal(untouched.evidence.image, some().evidence.image)


def test_halved_windows_show_the_same_scene() -> None:
    small = some().halved()
    assert small.windows.size == (16, 16)
    assert small.evidence.mask.shape == (4, 16, 16)
    known = small.evidence.depth > 0
    assert known.any()
    low, high = (
        f(some().evidence.depth[some().evidence.depth > 0]) for f in (torch.min, torch.max)
    )
    assert (small.evidence.depth[known] >= low - 1e-3).all()
    assert (small.evidence.depth[known] <= high + 1e-3).all()
    point = torch.tensor([[[1.0, 1.0, 10.0]]]).expand(4, 1, 3)
    torch.testing.assert_close(
        small.windows.project(point)[0], some().windows.project(point)[0] / 2
    )


def test_shards_are_made_once_and_read_back(tmp_path: Path) -> None:
    assert prepare(STREETS, tmp_path, SETTINGS)
    files = sorted(tmp_path.iterdir())
    assert [f.name for f in files] == [f"samples_0000{i}.safetensors" for i in range(3)]
    stamps = [f.stat().st_mtime_ns for f in files]
    assert prepare(STREETS, tmp_path, SETTINGS)
    assert [f.stat().st_mtime_ns for f in files] == stamps
    back = Samples.join(load_samples(STREETS, tmp_path, SETTINGS))[torch.arange(4)]
    torch.testing.assert_close(back.evidence.image, some().evidence.image, atol=0.003, rtol=0)
    torch.testing.assert_close(back.evidence.depth, some().evidence.depth, atol=0.02, rtol=0)
    assert torch.equal(back.windows.intrinsics, some().windows.intrinsics)

    with pytest.raises(InputError, match="other frames or settings"):
        load_samples(STREETS, tmp_path, SampleSettings(size=48, frames_per_file=1))
    files[1].write_bytes(b"\x08\0\0\0\0\0\0\0{}      not a file")
    with pytest.raises(InputError, match="samples_00001"):
        load_samples(STREETS, tmp_path, SETTINGS)
    files[1].unlink()
    with pytest.raises(InputError, match="prepare the samples first"):
        load_samples(STREETS, tmp_path, SETTINGS)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("mask", torch.zeros(7), r"mask has shape \(7,\)"),
        ("mask", torch.tensor(1), r"mask has shape \(\)"),
        ("depth", torch.zeros(1, 8, 8).half(), "depth has shape"),
        ("box", torch.zeros(99, 4), r"box has shape \(99, 4\)"),
        ("open_sides", torch.zeros(1, 3).bool(), "open_sides has shape"),
        ("depth_sigma", torch.zeros(1, 1), "depth_sigma has shape"),
        ("intrinsics", torch.zeros(3, 4), "intrinsics has shape"),
        ("translation", torch.zeros(4), "translation has shape"),
        ("camera_height", torch.zeros(()), "camera_height has shape"),
        ("size_mean", None, "size_mean absent"),
        ("image", "float", r"image is torch\.float32, expected torch\.uint8"),
        ("box", torch.zeros(3, 4, dtype=torch.int32), "box "),
        ("*", "small", r"windows of \(16, 16\) pixels, expected 32 a side"),
        ("*", "none", "expected objects and pixels"),
        ("refused", 7, "not samples of this package"),
    ],
)
def test_a_shard_made_by_hand_is_refused_by_its_name(
    name: str, value: object, message: str, tmp_path: Path
) -> None:
    assert prepare(STREETS, tmp_path, SETTINGS)
    path = tmp_path / "samples_00001.safetensors"
    with safe_open(path, "pt") as file:
        header = json.loads(file.metadata()["diffrender.samples"])
    tensors = load_file(path)
    if value == "small":
        tensors = some().halved().to_tensors()
    elif value == "none":
        tensors = {key: tensor[:0] for key, tensor in tensors.items()}
    elif value == "float":
        tensors[name] = tensors[name].float()
    elif isinstance(value, torch.Tensor):
        tensors[name] = value
    elif value is None:
        del tensors[name]
    else:
        header[name] = value
    save_file(tensors, path, {"diffrender.samples": json.dumps(header)})
    with pytest.raises(InputError, match=rf"samples_00001\.safetensors: .*{message}"):
        load_samples(STREETS, tmp_path, SETTINGS)


def test_processes_share_the_shards(tmp_path: Path) -> None:
    assert prepare(STREETS, tmp_path, SETTINGS, share=(1, 2))
    assert [f.name for f in tmp_path.iterdir()] == ["samples_00001.safetensors"]
    assert not prepare(STREETS, tmp_path, SETTINGS, share=(0, 2), until=0.0)
    assert len(list(tmp_path.iterdir())) == 1


def test_what_cannot_be_used_is_noted_and_stops_nothing(tmp_path: Path) -> None:
    class Broken:
        description = "one good frame between two bad ones"

        def __len__(self) -> int:
            return 3

        def __getitem__(self, index: int) -> object:
            frame = STREETS[index]
            if index == 0:
                raise InputError("cannot be read")
            if index == 1:
                turned = dataclasses.replace(frame.camera, rotation=-torch.eye(3))
                return dataclasses.replace(frame, camera=turned)
            tram = dataclasses.replace(frame.instances[0], category="Tram", name="t")
            return dataclasses.replace(frame, instances=[*frame.instances, tram])

    assert prepare(Broken(), tmp_path, SETTINGS)  # type: ignore[arg-type]
    notes = []
    for file in sorted(tmp_path.iterdir()):
        with safe_open(file, "pt") as opened:
            notes += json.loads(opened.metadata()["diffrender.samples"])["refused"]
    assert "cannot be read" in notes[0]
    assert "turned in the frame" in notes[1]
    assert "'Tram' is not learned" in notes[2]
    assert len(load_samples(Broken(), tmp_path, SETTINGS)) == 1  # type: ignore[arg-type]


def test_without_depth_the_height_gives_the_reference() -> None:
    frame = dataclasses.replace(STREETS[0], depth=None)
    samples = samples_of(frame, SETTINGS)[0]
    assert samples is not None
    inputs = network_inputs(samples)
    e, k = samples.evidence, samples.windows.intrinsics
    expected = e.size_mean[:, 2] * k[:, 1, 1] / (e.box[:, 3] - e.box[:, 1])
    torch.testing.assert_close(inputs.reference, expected)
    assert (inputs.scalars[:, 3] == 0).all()
    assert (inputs.planes[:, 5:] == 0).all()


def test_every_epoch_sees_every_object_once() -> None:
    seen = torch.cat([indices_of(10, 4, step, seed=3) for step in range(5)])
    assert sorted(seen[:10].tolist()) == list(range(10))
    assert sorted(seen[10:].tolist()) == list(range(10))
    assert seen[:10].tolist() != seen[10:].tolist()
    assert len(indices_of(3, 8, 0, seed=0)) == 8


def test_alterations_follow_from_seed_and_step() -> None:
    plain, seen = altered(some(), 5, 0)
    again = altered(some(), 5, 0)[1]
    assert torch.equal(seen.evidence.image, again.evidence.image)
    assert not torch.equal(seen.evidence.image, altered(some(), 6, 0)[1].evidence.image)
    assert torch.equal(plain.evidence.mask, seen.evidence.mask)
    assert not torch.equal(plain.evidence.image, seen.evidence.image)


def test_a_street_is_told_how_high_its_camera_is() -> None:
    high = StreetFrames(1, size=(32, 96), settings=StreetSettings(camera_height=(2.3, 2.5)))
    assert high[0].camera_height == pytest.approx(2.4)
    assert StreetFrames(1, size=(32, 96))[0].camera_height == pytest.approx(1.65)
