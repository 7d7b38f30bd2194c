"""Take the common factor out of a metric depth network, measured on development streets.

python benchmarks/depth_calibration.py --weights IN --out OUT [--streets 24]

A network that was trained on small pictures sees full-sized ones made small sharper than it ever
saw any, and errs by a few percent alike everywhere. The median over streets of the median of
truth over prediction goes into the file's reference focal length. Prints JSON.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
from pathlib import Path

import numpy as np
import torch
from depth_errors import CLOSE

from diffrender.datasets.synthetic import DEVELOPMENT_SEED, StreetSettings, SyntheticStreets
from diffrender.depth import create_depth, load_dpt, save_dpt

_SEED = DEVELOPMENT_SEED + 7  # not the streets that the training was watched on


def factors(weights: Path, settings: StreetSettings, count: int) -> list[float]:
    """Median of truth over prediction of every street, truth below 80 m."""
    network, found = create_depth("dpt-timm", weights), []
    for frame in SyntheticStreets(_SEED, count, settings=settings):
        focal = float(frame.camera.intrinsics[0, 0])
        values = network.predict(frame.image, focal, frame.camera_height).values
        known = (frame.depth > 0) & (frame.depth < 80)
        found.append(float(np.median(frame.depth[known] / values[known])))
    return found


def main() -> None:
    """The command line above."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--streets", type=int, default=24, help="of either kind")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    both = {
        "plain": factors(asked.weights, StreetSettings(), asked.streets),
        "close": factors(asked.weights, CLOSE, asked.streets),
    }
    factor = float(np.median([value for some in both.values() for value in some]))
    net = load_dpt(asked.weights)
    focal = net.config.reference_focal / factor
    net.config = dataclasses.replace(net.config, reference_focal=focal)
    save_dpt(net, asked.out, half=True)
    medians = {kind: float(np.median(some)) for kind, some in both.items()}
    print(json.dumps({"factor": factor, "medians": medians, "reference_focal": focal}))


if __name__ == "__main__":
    main()
