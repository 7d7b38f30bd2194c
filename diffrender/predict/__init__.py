"""The amortised predictor: pose, size and shape of an object in one pass, learned by rendering.

    net = load_predictor(shipped_predictor())
    scene = reconstruct(..., run=Run(start=PredictorStart(net)))

Trained by the rendering objective alone (`hindsight`); there is no 3D label in `Samples`.
"""

from diffrender.predict.cache import Frame as Frame
from diffrender.predict.cache import FrameSource as FrameSource
from diffrender.predict.cache import SampleSettings as SampleSettings
from diffrender.predict.cache import left_out as left_out
from diffrender.predict.cache import load_samples as load_samples
from diffrender.predict.cache import prepare as prepare
from diffrender.predict.cache import samples_of as samples_of
from diffrender.predict.config import PredictorConfig as PredictorConfig
from diffrender.predict.decode import Prediction as Prediction
from diffrender.predict.decode import decode as decode
from diffrender.predict.files import load_predictor as load_predictor
from diffrender.predict.files import save_predictor as save_predictor
from diffrender.predict.files import shipped_predictor as shipped_predictor
from diffrender.predict.hindsight import Hindsight as Hindsight
from diffrender.predict.hindsight import HindsightSettings as HindsightSettings
from diffrender.predict.hindsight import hindsight as hindsight
from diffrender.predict.inputs import NetworkInputs as NetworkInputs
from diffrender.predict.inputs import network_inputs as network_inputs
from diffrender.predict.network import PredictorNet as PredictorNet
from diffrender.predict.roi import roi_align as roi_align
from diffrender.predict.samples import Samples as Samples
from diffrender.predict.settings import Group as Group
from diffrender.predict.settings import TrainSettings as TrainSettings
from diffrender.predict.start import PredictorChoice as PredictorChoice
from diffrender.predict.start import PredictorStart as PredictorStart
from diffrender.predict.start import load_start as load_start
from diffrender.predict.start import short_settings as short_settings
from diffrender.predict.streets import StreetFrames as StreetFrames
from diffrender.predict.training import Trainer as Trainer
from diffrender.predict.training import split_shards as split_shards

__all__ = [
    "Frame",
    "FrameSource",
    "Group",
    "Hindsight",
    "HindsightSettings",
    "NetworkInputs",
    "Prediction",
    "PredictorConfig",
    "PredictorNet",
    "PredictorChoice",
    "PredictorStart",
    "SampleSettings",
    "Samples",
    "StreetFrames",
    "TrainSettings",
    "Trainer",
    "decode",
    "hindsight",
    "left_out",
    "load_predictor",
    "load_samples",
    "load_start",
    "network_inputs",
    "prepare",
    "roi_align",
    "samples_of",
    "save_predictor",
    "shipped_predictor",
    "short_settings",
    "split_shards",
]
