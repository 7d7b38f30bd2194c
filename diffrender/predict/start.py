"""The predictor as the optimizer's start: its hypotheses in place of the box fit's, or beside."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch

from diffrender._devices import pick_device
from diffrender.errors import InputError
from diffrender.predict.decode import Prediction, decode
from diffrender.predict.files import load_predictor, shipped_predictor
from diffrender.predict.inputs import network_inputs
from diffrender.predict.network import PredictorNet
from diffrender.predict.samples import Samples
from diffrender.reconstruct import ReconstructSettings, StageSettings, StartRequest
from diffrender.reconstruct.crops import crop_evidence
from diffrender.reconstruct.hypotheses import Hypotheses
from diffrender.shape_priors import ShapePrior

__all__ = ["PredictorChoice", "PredictorStart", "load_start", "short_settings"]

_ALONE, _BESIDE = 8, 4  # hypotheses of an object: without and with box fits
# Two descents and no turns, which the network's hypotheses hold: three steps of Levenberg-Marquardt
# and two, where the whole search takes 28.
_STAGES = (
    StageSettings(iterations=14, size=(64, 64), keep=8, parts=True),
    StageSettings(iterations=9, size=(96, 96), keep=2, parts=True),
)


class PredictorStart:
    """Call it with a `StartRequest`: the `count` most believed hypotheses of every object.

    Args:
        net: the trained network.
        count: hypotheses of an object; None takes eight, or four beside those of a box fit.
        stages: the descents that follow, None for those of the run's settings.
        beside_box_fits: the box fit's hypotheses start too. The whole search then has both to
            choose from, and finds more hidden cars.

    Raises:
        InputError: the shape prior of the run is not the one that the network was trained with.
    """

    def __init__(
        self,
        net: PredictorNet,
        count: int | None = None,
        stages: tuple[StageSettings, ...] | None = None,
        beside_box_fits: bool = False,
    ) -> None:
        if count is None:
            count = _BESIDE if beside_box_fits else _ALONE
        if count < 1:
            raise InputError(f"count is {count}, expected at least 1 hypothesis an object")
        self.net = net.eval()
        self.count = count
        self.stages = stages
        self.beside_box_fits = beside_box_fits

    @property
    def name(self) -> str:
        """What the results call it."""
        return "box fits and predictor" if self.beside_box_fits else "predictor"

    def serves(self, prior: ShapePrior) -> bool:
        """Whether it is the prior that the network was trained with, under whatever name."""
        config = self.net.config
        return len(prior.part_names) == config.parts and prior.digest() == config.prior

    def __call__(self, request: StartRequest) -> Hypotheses:
        return self.predict(request).best(self.count)

    def predict(self, request: StartRequest) -> Prediction:
        """All hypotheses of every object with beliefs, part colours and confidences."""
        config, prior = self.net.config, request.prior
        if not self.serves(prior):
            trained = f"the predictor was trained with {config.latent_size}"
            if prior.latent_size == config.latent_size:
                trained += " of another prior"
            raise InputError(
                f"the shape prior '{prior.name}' has {prior.latent_size} latents, {trained}: "
                "use its prior, or train one with this prior"
            )
        side = (config.size, config.size)
        crops = crop_evidence(
            request.observations, request.image, request.depth, request.camera, request.noise,
            side, request.class_sizes,
        )  # fmt: skip
        count = len(request.observations)
        height = torch.full((count,), request.camera_height)
        samples = Samples(crops.evidence, crops.camera.expand(count), height)
        with torch.no_grad():
            device = next(self.net.parameters()).device
            samples = samples.to(device)
            inputs = network_inputs(samples)
            return decode(self.net.see(inputs), inputs, samples, config)


@dataclass(frozen=True)
class PredictorChoice:
    """Which predictor starts: a file or the shipped one, and what `load_start` is told."""

    weights: str | None = None
    count: int | None = None
    short: bool = True
    beside_box_fits: bool = False

    def at(self, weights: str) -> PredictorChoice:
        """The same with the weights in another place."""
        return dataclasses.replace(self, weights=weights)

    def load(self, device: str) -> PredictorStart:
        """The start, its network on the device."""
        start = load_start(
            self.weights, self.count, short=self.short, beside_box_fits=self.beside_box_fits
        )
        start.net.to(pick_device(device))
        return start


def load_start(
    path: str | Path | None = None,
    count: int | None = None,
    *,
    short: bool = False,
    beside_box_fits: bool = False,
) -> PredictorStart:
    """The start of a predictor's file, or of the shipped one; `short` descents in its wake.

    `count` and `beside_box_fits` as in `PredictorStart`.

    Raises:
        InputError: as `load_predictor`; None, and this build has no shipped one.
    """
    net = load_predictor(shipped_predictor() if path is None else path)
    return PredictorStart(net, count, _STAGES if short else None, beside_box_fits)


def short_settings(settings: ReconstructSettings) -> ReconstructSettings:
    """The settings with the stages that a predicted start needs: a fifth of the iterations."""
    return dataclasses.replace(settings, stages=_STAGES)
