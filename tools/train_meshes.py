"""`diffrender train mesh-denoiser`, `mesh-refiner`: the graph network on procedural cars."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from diffrender.tools.console import guarded, note, out
from diffrender.tools.given import check_places, path_of
from diffrender.tools.train_options import Pause, deadline

if TYPE_CHECKING:
    from diffrender.graph.meshes.training import Examples

__all__ = ["mesh_denoiser", "mesh_refiner"]

_Out = Annotated[
    Path,
    typer.Option(
        "--out", metavar="DIR", parser=path_of("--out"), help="Checkpoint and weights; goes on."
    ),
]
_Steps = Annotated[int, typer.Option(help="Gradient steps.")]
_Seed = Annotated[int, typer.Option(help="Of weights and examples.")]
_Rate = Annotated[float, typer.Option(help="Highest learning rate.")]


@guarded
def mesh_denoiser(
    out_dir: _Out,
    steps: _Steps = 1600,
    rate: _Rate = 2e-3,
    seed: _Seed = 0,
    pause_after: Pause = None,
) -> None:
    """Learn to clean noisy meshes of cars; reads nothing, the cars are drawn by formula."""
    from diffrender.graph.meshes.examples import NoisyCars

    _train(NoisyCars(), out_dir, "mesh-denoiser", (steps, rate, seed), pause_after)


@guarded
def mesh_refiner(
    out_dir: _Out,
    steps: _Steps = 1200,
    rate: _Rate = 2e-3,
    seed: _Seed = 0,
    pause_after: Pause = None,
) -> None:
    """Learn to move vertices by the gradient of a picture's loss; cars drawn by formula."""
    from diffrender.graph.meshes.views import SeenCars

    _train(SeenCars(), out_dir, "mesh-refiner", (steps, rate, seed), pause_after)


def _train(
    examples: Examples,
    folder: Path,
    name: str,
    numbers: tuple[int, float, int],
    pause_after: float | None,
) -> None:
    from diffrender.graph.meshes import MeshSettings, save_mesh_network
    from diffrender.graph.meshes.training import MeshTrainSettings, train_mesh_network

    steps, rate, seed = numbers
    until = deadline(pause_after)
    settings = MeshTrainSettings(steps=steps, rate=rate, seed=seed)
    check_places({}, [folder])
    recent: list[float] = []

    def tell(step: int, loss: float) -> None:
        recent.append(loss)
        if step % 50 == 0 or step == steps:
            note().print(f"step {step}  loss {sum(recent) / len(recent):.4f}", markup=False)
            recent.clear()

    net = train_mesh_network(
        examples,
        MeshSettings(evidence=examples.evidence),
        settings,
        folder / f"{name}.checkpoint",
        until,
        tell,
    )
    if net is None:
        out().print("paused: the same command goes on")
        return
    path = save_mesh_network(net, folder / f"{name}.safetensors", half=True)
    out().print(f"wrote {path}", markup=False, soft_wrap=True)
