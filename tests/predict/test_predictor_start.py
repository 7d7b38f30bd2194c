"""The predictor as the optimizer's start, from Python and from the command line."""

from __future__ import annotations

import dataclasses
import json
from functools import cache
from pathlib import Path

import pytest
import torch
from predict_cases import STREETS, TINY, prior
from typer.testing import CliRunner

from diffrender.errors import InputError
from diffrender.predict import (
    PredictorChoice,
    PredictorNet,
    PredictorStart,
    load_start,
    save_predictor,
    short_settings,
)
from diffrender.reconstruct import (
    ReconstructSettings,
    Run,
    Scene,
    StageSettings,
    StartRequest,
    reconstruct,
)
from diffrender.reconstruct import solver as solver_module
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.reconstruct.optimizer import Fit, Problem, Progress
from diffrender.shape_priors import load_prior

QUICK = ReconstructSettings(
    stages=(
        StageSettings(iterations=2, size=(32, 32), keep=2, parts=True),
        StageSettings(iterations=2, size=(32, 32), keep=1, turns=(180,), parts=True),
    ),
    texture_size=16,
    solver="adam",
)


@cache
def net() -> PredictorNet:
    torch.manual_seed(0)
    return PredictorNet(TINY).eval().requires_grad_(False)


def scene(start: PredictorStart | None, settings: ReconstructSettings = QUICK) -> Scene:
    frame = STREETS[0]
    run = Run(frame.name, start=start)
    return reconstruct(
        frame.image, frame.camera, frame.instances, frame.depth, prior(), settings, run
    )


def test_it_takes_the_place_of_the_box_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[StartRequest] = []

    class Watched(PredictorStart):
        def __call__(self, request: StartRequest) -> Hypotheses:
            asked.append(request)
            return super().__call__(request)

    monkeypatch.setattr(solver_module, "fit_boxes", None)  # calling it would raise
    found = scene(Watched(net(), count=2))
    assert len(asked) == 1
    assert len(found.objects) == len(asked[0].observations)
    assert set(found.settings["start"].values()) == {"predictor"}
    for item in found.objects:
        assert len(item.history) == 4
        assert item.history[-1]["total"] <= item.history[0]["total"] * 1.5
        assert 3.0 < item.pose.location[2] < 25.0
    monkeypatch.undo()
    assert set(scene(None).settings["start"].values()) == {"box fits"}
    boxes = scene(PredictorStart(net()), dataclasses.replace(QUICK, method="box"))
    assert boxes.objects
    assert set(boxes.settings["start"].values()) == {"box fits"}


def test_beside_box_fits_both_start(monkeypatch: pytest.MonkeyPatch) -> None:
    begun: list[Hypotheses] = []
    explore = solver_module.explore

    def watched(problem: Problem, start: Hypotheses, progress: Progress | None = None) -> Fit:
        begun.append(start)
        return explore(problem, start, progress)

    monkeypatch.setattr(solver_module, "explore", watched)
    short = dataclasses.replace(QUICK, hypotheses=3)
    both = scene(PredictorStart(net(), count=2, beside_box_fits=True), short)
    alone, boxes = scene(PredictorStart(net(), count=2), short), scene(None, short)
    assert len(both.objects) == len(alone.objects) == len(boxes.objects)
    together, given, fitted = begun
    for index in range(len(both.objects)):
        own = together.angles[together.owner == index, 0].tolist()
        expected = [*fitted.angles[fitted.owner == index, 0].tolist(),
                    *given.angles[given.owner == index, 0].tolist()]  # fmt: skip
        assert len(own) == 5
        assert own == expected
    assert together.owner.tolist() == sorted(together.owner.tolist())
    assert set(both.settings["start"].values()) == {"box fits and predictor"}


def test_the_same_start_gives_the_same_bits() -> None:
    one, two = (scene(PredictorStart(net())) for _ in range(2))
    assert [o.pose for o in one.objects] == [o.pose for o in two.objects]


def test_a_fifth_of_the_iterations() -> None:
    plain = ReconstructSettings(tilt=True)
    short = short_settings(plain)
    whole = sum(stage.iterations for stage in plain.stages)
    assert 5 * sum(stage.iterations for stage in short.stages) <= whole
    assert short.tilt


def test_refusals(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="count is 0"):
        PredictorStart(net(), count=0)
    other = dataclasses.replace(prior(), basis=prior().basis[:3])
    frame = STREETS[0]
    with pytest.raises(InputError, match="has 3 latents, the predictor was trained with 8"):
        reconstruct(frame.image, frame.camera, frame.instances, frame.depth, other, QUICK,
                    Run("a", start=PredictorStart(net())))  # fmt: skip
    file = save_predictor(net(), tmp_path / "p.safetensors")
    assert load_start(file, 2).count == 2


def test_latents_of_another_meaning_are_not_served() -> None:
    frame, other = STREETS[0], load_prior("car-autoencoder")
    assert (other.latent_size, len(other.part_names)) == (TINY.latent_size, TINY.parts)
    start = PredictorStart(net())
    assert not start.serves(other)
    assert start.serves(load_prior("car")) and start.serves(load_prior("car").to(torch.float64))
    seen = (frame.image, frame.camera, frame.instances, frame.depth)
    with pytest.raises(InputError, match=r"'car-autoencoder' .* with 8 of another prior: use its"):
        reconstruct(*seen, other, QUICK, Run("a", start=start))
    beside = Run("a", start=PredictorStart(net(), beside_box_fits=True))
    found = reconstruct(*seen, other, QUICK, beside)
    assert found.objects
    assert set(found.settings["start"].values()) == {"box fits"}
    own = PredictorNet(dataclasses.replace(TINY, prior=other.digest()))
    assert PredictorStart(own).serves(other)
    assert not PredictorStart(own).serves(load_prior("car"))


def test_it_is_float32_whatever_the_default_is(tmp_path: Path) -> None:
    file = save_predictor(net(), tmp_path / "p.safetensors")
    torch.set_default_dtype(torch.float64)
    try:
        start = load_start(file, 2)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    assert {p.dtype for p in start.net.parameters()} == {torch.float32}
    found, usual = scene(start), scene(load_start(file, 2))
    assert [o.pose for o in found.objects] == [o.pose for o in usual.objects]


def test_from_the_command_line(tmp_path: Path) -> None:
    from diffrender.datasets import SyntheticStreets, write_kitti
    from diffrender.tools.app import app

    root = write_kitti(SyntheticStreets(1, 1, (96, 320), STREETS.settings), tmp_path / "k")
    weights = save_predictor(net(), tmp_path / "p.safetensors")
    depth = root / "training" / "depth_2" / "000000.png"
    common = ["reconstruct", "--kitti", str(root), "--frame", "000000", "--depth", str(depth),
              "--out", str(tmp_path / "out")]  # fmt: skip
    runner = CliRunner()
    done = runner.invoke(
        app, [*common, "--init", "predictor", "--predictor", str(weights), "--iterations", "4"]
    )
    assert done.exit_code == 0, done.output
    assert _begun(tmp_path / "out") == {"predictor"}
    plain = runner.invoke(app, [*common, "--predictor", str(weights), "--iterations", "4"])
    assert plain.exit_code == 0, plain.output
    assert _begun(tmp_path / "out") == {"box fits and predictor"}
    boxes = runner.invoke(app, [*common, "--init", "box", "--iterations", "4"])
    assert boxes.exit_code == 0, boxes.output
    assert _begun(tmp_path / "out") == {"box fits"}
    bad = runner.invoke(app, [*common, "--init", "box", "--predictor", str(weights)])
    assert bad.exit_code == 2
    assert "--predictor goes with --init both or predictor" in bad.output
    worse = runner.invoke(app, [*common, "--init", "predictor", "--method", "box"])
    assert worse.exit_code == 2
    assert "goes with --method render" in worse.output


def _begun(out: Path) -> set[str]:
    """How the objects of a result were begun."""
    result = json.loads((out / "result.json").read_text(encoding="utf-8"))
    return set(result["settings"]["start"].values())


def test_a_data_set_starts_from_it(tmp_path: Path) -> None:
    from diffrender.datasets import SyntheticStreets, write_kitti
    from diffrender.reconstruct.dataset import DatasetJob, choose_frames, reconstruct_dataset
    from diffrender.reconstruct.dataset.cluster import _open, pack
    from diffrender.reconstruct.dataset.job import describe, differences
    from diffrender.reconstruct.input_depth import DepthChoice

    root = write_kitti(SyntheticStreets(1, 1, (96, 320), STREETS.settings), tmp_path / "k")
    weights = save_predictor(net(), tmp_path / "p.safetensors")
    choice = PredictorChoice(str(weights), count=2)
    job = DatasetJob(str(root), depth=DepthChoice("depth_2"), settings=QUICK, start=choice)
    done = reconstruct_dataset(job, choose_frames(root, "training"), tmp_path / "out")
    assert (done.done, done.failures) == (1, {})
    record = json.loads((tmp_path / "out" / "frames" / "000000.json").read_text())
    assert record["objects"]
    told = differences(describe(dataclasses.replace(job, start=None)), describe(job))
    assert any(line.startswith(("start.weights", "start:")) for line in told)
    # What a worker elsewhere gets holds the weights themselves.
    payload = pack(job, "key")
    weights.unlink()
    there = _open(payload)
    assert there.start is not None and there.start.name == "predictor"
    assert [o.name for o in there.scene("000000").objects] == [o["name"] for o in record["objects"]]


def test_a_prior_that_it_does_not_know_starts_from_box_fits() -> None:
    frame = STREETS[0]
    priors = {"Car": load_prior("free"), "Van": load_prior("free")}
    run = Run(frame.name, start=PredictorStart(net()))
    seen = (frame.image, frame.camera, frame.instances, frame.depth)
    found = reconstruct(*seen, priors, QUICK, run)
    assert found.objects
    assert set(found.settings["start"].values()) == {"box fits"}
    beside = Run(frame.name, start=PredictorStart(net(), beside_box_fits=True))
    assert (
        reconstruct(*seen, load_prior("free"), QUICK, beside).settings["start"]
        == (found.settings["start"])
    )
    assert not PredictorStart(net()).serves(load_prior("free"))
