"""What `diffrender prior learn` refuses before it learns."""

from __future__ import annotations

from pathlib import Path

import pytest
from command_files import refused
from typer.testing import CliRunner

from diffrender.tools.app import app

LEARN = ["prior", "learn"]
NETWORK = ["--kind", "autoencoder"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["cars"], "cars is a folder, expected the meshes in it, such as cars/*.obj"),
        (["a.obj", "b.obj"], "b.obj does not exist, expected an .obj or .ply mesh"),
        (["b.obj", *NETWORK], "b.obj does not exist"),
        (["a.obj", "--steps", "3"], "--steps goes with --kind autoencoder"),
        (["a.obj", "--checkpoint", "run.ckpt"], "--checkpoint goes with --kind autoencoder"),
        (["a.obj", "--seed", "0"], "--seed goes with --kind autoencoder"),
        (["a.obj", *NETWORK, "--checkpoint", "cars"], "--checkpoint cars is a folder or --out"),
        (
            ["a.obj", *NETWORK, "--checkpoint", "m.safetensors", "--out", "m.safetensors"],
            "--checkpoint m.safetensors is a folder or --out",
        ),
        (["--family", "car", *NETWORK, "--up", "+z"], "--up goes with meshes"),
        (["--family", "car", *NETWORK, "--scale", "0.01"], "--scale goes with meshes"),
        (["a.obj", "--out", "mine.obj"], "--out mine.obj: expected a name that ends in .safete"),
    ],
)
def test_what_would_do_nothing_or_is_not_there_is_one_line(
    arguments: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def learn(*_: object, **__: object) -> None:
        pytest.fail("learned first")

    for name in ("learn_prior", "learn_autoencoder", "autoencoder_of_cars"):
        monkeypatch.setattr(f"diffrender.shape_priors.{name}", learn)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cars").mkdir()
    (tmp_path / "a.obj").touch()
    result = CliRunner().invoke(app, [*LEARN, "--out", "mine.safetensors", *arguments])
    refused(result, message)


def test_a_network_of_procedural_cars_has_the_licence_that_was_stated(tmp_path: Path) -> None:
    file = str(tmp_path / "cars.safetensors")
    small = ["--steps", "1", "--encoder-steps", "1", "--width", "16", "--latents", "2"]
    for said, expected in (([], "Apache-2.0"), (["--licence", "MIT"], "MIT")):
        command = [*LEARN, "--family", "car", *NETWORK, *small, "--out", file, *said]
        result = CliRunner().invoke(app, command)
        assert result.exit_code == 0, result.output
        assert f"licence   {expected}\n" in result.stdout
