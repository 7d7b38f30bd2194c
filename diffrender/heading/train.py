"""Train the head of a heading network: `python -m diffrender.heading.train --help`.

The backbone is a classifier's and stays as it is, so its features of every crop, varied a few
times, are worked out once; the head is then a matter of seconds.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from diffrender._backbones import classifier_colours, classifier_weights
from diffrender._commands import run_module
from diffrender._recolour import Augmentation, recolour
from diffrender._seeds import check_seed
from diffrender._training import keep_freed_memory, read_arrays, rising_share, training_files
from diffrender.errors import InputError
from diffrender.heading.crops import to_tensors
from diffrender.heading.files import save_heading
from diffrender.heading.network import HeadingConfig, HeadingNet, cells_of

__all__ = ["CropSet", "HeadingTrainSettings", "check_heading", "load_crops", "train_heading"]

_SHARPNESS = 6.0  # of the target, a von Mises distribution about the direction


@dataclass(frozen=True)
class CropSet:
    """Crops in memory.

    Attributes:
        images: (N, S, S, 3) uint8 RGB.
        masks: (N, S, S) uint8, 0 to 255.
        alpha: (N,) float32 radians.
    """

    images: np.ndarray  # (N, S, S, 3)
    masks: np.ndarray  # (N, S, S)
    alpha: np.ndarray  # (N,)

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True)
class HeadingTrainSettings:
    """Settings of a run.

    Attributes:
        copies: how many variations of every crop are learned from.
        steps, batch: of the head's training.
        rate, decay: highest learning rate (AdamW, one cycle) and weight decay.
        coarse: probability that a crop is made as coarse as a small vehicle's.
        glints: probability that the sun's reflections are put on the vehicle; they look like lamps.
        seed: of every random draw.
    """

    copies: int = 4
    steps: int = 700
    batch: int = 128
    rate: float = 2e-3
    decay: float = 0.05
    coarse: float = 0.4
    glints: float = 0.5
    seed: int = 0

    def __post_init__(self) -> None:
        check_seed(self.seed)
        shares = all(0 <= share <= 1 for share in (self.coarse, self.glints))
        if min(self.copies, self.steps, self.batch, self.rate) <= 0 or not shares:
            raise InputError(f"{self}: expected positive numbers, coarse and glints in [0, 1]")


def load_crops(*folders: Path) -> CropSet:
    """All `crops_*.npz` of the folders.

    Raises:
        InputError: none, or files that do not hold what they should.
    """
    paths = training_files(folders, "crops_*.npz", "diffrender.datasets.heading_crops")
    images, masks, alphas = [], [], []
    for path in paths:
        arrays = read_arrays(path, ("image", "mask", "alpha"))
        image, mask, alpha = arrays["image"], arrays["mask"], arrays["alpha"]
        side = image.shape[1] if image.ndim == 4 else 0
        rows = (alpha.size, side, side)
        fits = alpha.ndim == 1 and image.shape == (*rows, 3) and mask.shape == rows
        if not fits or image.dtype != np.uint8 or mask.dtype != np.uint8:
            raise InputError(
                f"{path}: image is {image.dtype} {image.shape}, mask {mask.dtype} {mask.shape}, "
                f"alpha {alpha.shape}; expected uint8 (N, S, S, 3), uint8 (N, S, S) and (N,)"
            )
        images.append(image)
        masks.append(mask)
        alphas.append(alpha.astype(np.float32))
    return CropSet(np.concatenate(images), np.concatenate(masks), np.concatenate(alphas))


def train_heading(
    crops: CropSet,
    backbone: Path,
    config: HeadingConfig | None = None,
    settings: HeadingTrainSettings | None = None,
) -> HeadingNet:
    """A network over the classifier's weights in `backbone` whose head has learned from `crops`.

    Raises:
        InputError: crops of another size than the network's, or weights of another model.
    """
    config, settings = config or HeadingConfig(), settings or HeadingTrainSettings()
    if crops.images.shape[1] != config.side:
        raise InputError(f"crops have side {crops.images.shape[1]}, the network {config.side}")
    torch.manual_seed(settings.seed)
    net = HeadingNet(config)
    _fill_backbone(net, backbone)
    features, cells, alpha = _look(net, crops, settings)
    net.feature_mean.copy_(features.mean(dim=(0, 2, 3), keepdim=True))
    net.feature_std.copy_(features.std(dim=(0, 2, 3), keepdim=True).clamp_min(1e-3))
    head = [p for p in net.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(head, settings.rate, weight_decay=settings.decay)
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, settings.rate, settings.steps, pct_start=rising_share(settings.steps)
    )
    wanted = _target(alpha, config.bins)
    draw = torch.Generator().manual_seed(settings.seed)
    net.train()
    for _ in range(settings.steps):
        some = torch.randint(len(alpha), (settings.batch,), generator=draw)
        loss = -(wanted[some] * net.head(features[some], cells[some])).sum(dim=1).mean()
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        cycle.step()
    return net.eval().requires_grad_(False)


def check_heading(net: HeadingNet, crops: CropSet) -> dict[str, float]:
    """Share of crops whose front is told from the rear, and the mean -log odds of the truth."""
    odds = []
    for start in range(0, len(crops), 32):
        some = slice(start, start + 32)
        with torch.inference_mode():
            told = net.read(*to_tensors(crops.images[some], crops.masks[some]))
            odds.append(net.odds(told, torch.from_numpy(crops.alpha[some])))
    every = torch.cat(odds)
    return {
        "crops": len(crops),
        "right": float((every > 0.5).float().mean()),
        "nats": float(-every.log().mean()),
    }


def _fill_backbone(net: HeadingNet, path: Path) -> None:
    """The trunk's modules are the classifier's own, in its order: the names differ alone."""
    config = net.config
    found = classifier_weights(config.backbone, path)
    prefixes = {"0.": "conv_stem.", "1.": "bn1."}
    prefixes |= {f"{k + 2}.": f"blocks.{k}." for k in range(config.blocks)}
    state = {}
    for name in net.backbone.state_dict():
        start = next(p for p in prefixes if name.startswith(p))
        state[name] = found[prefixes[start] + name[len(start) :]]
    net.backbone.load_state_dict(state)


def _look(
    net: HeadingNet, crops: CropSet, settings: HeadingTrainSettings
) -> tuple[Tensor, Tensor, Tensor]:
    """Features, masked cells and directions of all variations."""
    draw = np.random.default_rng(settings.seed)
    features, cells, alphas = [], [], []
    order = np.tile(np.arange(len(crops)), settings.copies)
    for start in range(0, len(order), 32):
        some = [_vary(crops, int(k), settings, draw) for k in order[start : start + 32]]
        image = torch.from_numpy(np.stack([s[0] for s in some])).permute(0, 3, 1, 2)
        features.append(net.features(image.contiguous(memory_format=torch.channels_last)))
        cells.append(cells_of(torch.from_numpy(np.stack([s[1] for s in some]))))
        alphas += [s[2] for s in some]
    return torch.cat(features), torch.cat(cells), torch.tensor(alphas, dtype=torch.float32)


def _vary(
    crops: CropSet, index: int, settings: HeadingTrainSettings, draw: np.random.Generator
) -> tuple[np.ndarray, np.ndarray, float]:
    """One crop moved, mirrored, made coarse and recoloured: image, mask in [0, 1], direction."""
    import cv2

    image = crops.images[index].astype(np.float32) / 255
    mask = crops.masks[index].astype(np.float32) / 255
    alpha, side = float(crops.alpha[index]), len(image)
    scale = float(np.exp(draw.uniform(-0.12, 0.12)))
    shift = side / 2 * (1 - scale) + side / 16 * draw.uniform(-1, 1, 2)
    onto = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]])
    image = np.asarray(
        cv2.warpAffine(image, onto, (side, side), borderMode=cv2.BORDER_REPLICATE), np.float32
    )
    mask = np.asarray(cv2.warpAffine(mask, onto, (side, side)), np.float32)
    if draw.random() < settings.glints:
        image = _with_glints(image, mask, draw)
    if draw.random() < settings.coarse:
        few = int(draw.integers(side // 6, side // 2))
        small = cv2.resize(image, (few, few), interpolation=cv2.INTER_AREA)
        image = np.asarray(cv2.resize(small, (side, side)), np.float32)
    if draw.random() < 0.5:
        image, mask, alpha = image[:, ::-1], mask[:, ::-1], math.pi - alpha
    image = recolour(np.ascontiguousarray(image), Augmentation(cutout=0.1), draw)
    return image, np.ascontiguousarray(mask), alpha


def _with_glints(image: np.ndarray, mask: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """White spots and streaks, some as large as a lamp, about places of the mask."""
    rows, columns = np.nonzero(mask > 0.5)
    side = len(image)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    for _ in range(int(draw.integers(1, 6)) if len(rows) else 0):
        at = int(draw.integers(len(rows)))
        long, short = side * draw.uniform(0.01, 0.06), side * draw.uniform(0.008, 0.025)
        turn = draw.uniform(0, math.pi)
        across, down = x - columns[at], y - rows[at]
        u = across * math.cos(turn) + down * math.sin(turn)
        v = down * math.cos(turn) - across * math.sin(turn)
        light = draw.uniform(0.4, 1.5) * np.exp(-((u / long) ** 2) - (v / short) ** 2)
        image = image + (1 - image) * np.clip(light, 0, 1)[..., None].astype(np.float32)
    return image


def _target(alpha: Tensor, bins: int) -> Tensor:  # (N,)
    """Soft bins about each direction, (N, bins)."""
    centres = torch.arange(bins) * (2 * math.pi / bins)
    weights = torch.exp(_SHARPNESS * (torch.cos(alpha[:, None] - centres) - 1))
    return weights / weights.sum(dim=1, keepdim=True)


def main(arguments: Sequence[str] | None = None) -> None:
    """Command line; see --help."""
    parser = argparse.ArgumentParser(description="Train a heading network's head.")
    parser.add_argument(
        "--crops", type=Path, nargs="+", required=True, help="folders of crops_*.npz"
    )
    parser.add_argument("--check", type=Path, required=True, help="folder of crops to check on")
    parser.add_argument("--backbone", type=Path, required=True, help="a classifier's weights")
    parser.add_argument("--model", default=HeadingConfig.backbone, help="timm's name of it")
    parser.add_argument("--blocks", type=int, default=HeadingConfig.blocks, help="used of it")
    parser.add_argument("--side", type=int, default=HeadingConfig.side, help="of the crops")
    parser.add_argument("--steps", type=int, default=HeadingTrainSettings.steps)
    parser.add_argument("--copies", type=int, default=HeadingTrainSettings.copies)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="file of weights to write")
    given = parser.parse_args(arguments)
    keep_freed_memory()
    mean, std = classifier_colours(given.model)
    config = HeadingConfig(given.model, given.blocks, given.side, mean=mean, std=std)
    settings = HeadingTrainSettings(copies=given.copies, steps=given.steps, seed=given.seed)
    net = train_heading(load_crops(*given.crops), given.backbone, config, settings)
    print(check_heading(net, load_crops(given.check)))
    print(save_heading(net, given.out, half=True))


if __name__ == "__main__":
    run_module(main)
