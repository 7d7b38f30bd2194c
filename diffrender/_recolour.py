"""How the looks of a training picture are varied, so that a network does not trust them.

What separates a synthetic street from a photograph is light first: sun and shade that burn out or
drown, a tone curve, a white balance, compression. None of it changes depth.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

__all__ = ["Augmentation", "recolour"]


@dataclass(frozen=True)
class Augmentation:
    """How far a frame is varied; pairs are (low, high).

    Attributes:
        crop: width of the crop as a share of the widest crop that fits.
        stretch: aspect ratio of the crop relative to the network's input.
        blur, grey, shuffle, field, cutout: probabilities of Gaussian blur, of a grey picture, of
            exchanged channels, of uneven light, and of a covered rectangle.
        patches: probability of hard-edged patches of shade and sun.
        clip: probability each of burnt-out lights and of drowned shadows.
        coded: probability of the blocks of a strong JPEG compression.
        noise: largest standard deviation of pixel noise.
        gain, gamma, contrast: log standard deviation of brightness, tone curve and contrast.
        saturation: of the colours, 1 leaves them.
    """

    crop: tuple[float, float] = (0.62, 1.0)
    stretch: tuple[float, float] = (0.9, 1.12)
    blur: float = 0.3
    grey: float = 0.08
    shuffle: float = 0.08
    field: float = 0.5
    cutout: float = 0.2
    patches: float = 0.4
    clip: float = 0.2
    coded: float = 0.15
    noise: float = 0.05
    gain: float = 0.3
    gamma: float = 0.25
    contrast: float = 0.25
    saturation: tuple[float, float] = (0.3, 1.6)


def recolour(
    image: np.ndarray,  # (H, W, 3)
    given: Augmentation,
    draw: np.random.Generator,
) -> np.ndarray:
    """Vary colours, light, sharpness and noise of a picture in [0, 1]; returns (H, W, 3)."""
    image = _colours(image, given, draw)
    if draw.random() < given.field:
        image = image * _uneven(image.shape[:2], draw)[..., None]
    if draw.random() < given.patches:
        image = _patched(image, draw)
    balance = np.exp(draw.normal(0, 0.08, 3)) * np.exp(draw.normal(0, given.gain))
    if draw.random() < given.clip:
        balance = balance * draw.uniform(1.3, 2.4)
    image = np.clip(image * balance.astype(np.float32), 0, 1)
    image **= np.float32(np.exp(draw.normal(0, given.gamma)))
    contrast = np.float32(np.exp(draw.normal(0, given.contrast)))
    image = (image - image.mean()) * contrast + image.mean()
    if draw.random() < given.clip:
        black = np.float32(draw.uniform(0.03, 0.2))
        image = (image - black) / (1 - black)
    image = _taken(image, given, draw)
    if draw.random() < given.cutout:
        height, width = image.shape[:2]
        high, wide = int(draw.uniform(8, height / 3)), int(draw.uniform(8, width / 6))
        top, left = int(draw.integers(0, height - high)), int(draw.integers(0, width - wide))
        image[top : top + high, left : left + wide] = draw.random(3, dtype=np.float32)
    return np.clip(image, 0, 1)


def _colours(image: np.ndarray, given: Augmentation, draw: np.random.Generator) -> np.ndarray:
    if draw.random() < given.shuffle:
        image = image[..., draw.permutation(3)]
    grey = image.mean(axis=2, keepdims=True)
    saturation = 0.0 if draw.random() < given.grey else draw.uniform(*given.saturation)
    return grey + (image - grey) * np.float32(saturation)


def _uneven(size: tuple[int, int], draw: np.random.Generator) -> np.ndarray:
    """A smooth factor on the light, (H, W)."""
    import cv2

    coarse = np.exp(draw.normal(0, 0.35, (3, 6))).astype(np.float32)
    return np.asarray(cv2.resize(coarse, size[::-1], interpolation=cv2.INTER_CUBIC))


def _patched(image: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    """Patches of shade or sun with hard edges, some dappled as under leaves."""
    import cv2

    height, width = image.shape[:2]
    for _ in range(int(draw.integers(1, 5))):
        cover = np.zeros((height, width), np.float32)
        turn = np.sort(draw.uniform(0, 2 * np.pi, int(draw.integers(4, 9))))
        reach = width * draw.uniform(0.05, 0.4) * draw.uniform(0.5, 1.0, len(turn))
        flat = draw.uniform(0.1, 0.8)  # most shade lies on the ground, seen at a grazing angle
        middle = draw.uniform((0, 0.25 * height), (width, height))
        corners = middle + np.stack([reach * np.cos(turn), flat * reach * np.sin(turn)], axis=1)
        cv2.fillPoly(cover, [np.round(corners).astype(np.int32)], 1.0)
        if draw.random() < 0.4:
            cells = (
                max(2, height // int(draw.integers(3, 10))),
                width // int(draw.integers(4, 16)),
            )
            leaves = draw.standard_normal(cells, dtype=np.float32)
            cover *= cv2.resize(leaves, (width, height), interpolation=cv2.INTER_CUBIC) > 0.2
        cover = cv2.GaussianBlur(cover, (0, 0), draw.uniform(0.3, 1.2))[..., None]
        factor = draw.uniform(0.25, 0.7) if draw.random() < 0.6 else draw.uniform(1.4, 2.6)
        image = image * (1 + np.float32(factor - 1) * cover)
    return image


def _taken(image: np.ndarray, given: Augmentation, draw: np.random.Generator) -> np.ndarray:
    """Sharpness, noise and compression, in a camera's order."""
    import cv2

    if draw.random() < given.blur:
        image = cv2.GaussianBlur(image, (0, 0), draw.uniform(0.3, 1.3))
    elif draw.random() < 0.3:  # oversharpened, as cameras do
        image = image + draw.uniform(0.2, 1.0) * (image - cv2.GaussianBlur(image, (0, 0), 1.0))
    if draw.random() < 0.7:
        sigma = draw.uniform(0, given.noise) * draw.random()
        image = image + np.float32(sigma) * draw.standard_normal(image.shape, dtype=np.float32)
    if draw.random() < given.coded:
        eight = (np.clip(image, 0, 1) * 255 + 0.5).astype(np.uint8)
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(draw.integers(25, 90))]
        image = np.asarray(cv2.imdecode(cv2.imencode(".jpg", eight, quality)[1], 1), np.float32)
        image /= 255.0
    return np.asarray(image, np.float32)
