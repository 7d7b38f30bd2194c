"""Textures of the procedural car family on its atlas: paint, glass, tyres, lamps, road dirt."""

from __future__ import annotations

import torch
from torch import Tensor

from diffrender.errors import InputError
from diffrender.shape_priors.prior import ShapePrior
from diffrender.shape_priors.texture import spread_texels, texel_surface

__all__ = ["sample_textures"]

# sRGB paints and their shares: most cars are white, black, grey or silver (general knowledge).
_PAINTS = (
    (0.24, (0.88, 0.88, 0.87)),
    (0.20, (0.09, 0.09, 0.10)),
    (0.18, (0.35, 0.36, 0.38)),
    (0.14, (0.66, 0.67, 0.68)),
    (0.10, (0.12, 0.20, 0.42)),
    (0.08, (0.60, 0.08, 0.08)),
    (0.03, (0.16, 0.28, 0.18)),
    (0.03, (0.55, 0.46, 0.32)),
)
# Mean colour and how far each draw moves it, for parts that are not painted.
_PARTS = {
    "glass": ((0.16, 0.18, 0.20), 0.06),
    "wheel": ((0.08, 0.08, 0.08), 0.03),
    "head_light": ((0.82, 0.82, 0.80), 0.10),
    "tail_light": ((0.62, 0.06, 0.06), 0.10),
    "grille": ((0.10, 0.10, 0.11), 0.05),
    "underside": ((0.06, 0.06, 0.06), 0.02),
}


def sample_textures(
    prior: ShapePrior, count: int, resolution: int, generator: torch.Generator
) -> Tensor:
    """Random textures (count, S, S, 3), sRGB in [0, 1], for a prior with the car's parts.

    A draw has a paint, a roof in paint or black, bumpers in paint or plastic, glass of some tint,
    rims, and dirt that rises from the road; left and right are alike.

    Raises:
        InputError: the prior has no texture coordinates, or no part named "wheel".
    """
    if prior.uv is None or prior.face_uv is None or "wheel" not in prior.part_names:
        raise InputError(f"the prior '{prior.name}' has no atlas with the parts of a car")
    face, bary = texel_surface(prior.uv, prior.face_uv, resolution)
    covered = face >= 0
    inside = face.clamp(min=0)
    mean = prior.mean.detach().cpu()
    place = (bary[..., None] * mean[prior.faces.cpu()[inside]]).sum(-2)  # (S, S, 3) unit box
    part = prior.face_parts.cpu()[inside]
    rim = _rims(prior, place, part)
    shares = torch.tensor([share for share, _ in _PAINTS])
    paints = torch.tensor([colour for _, colour in _PAINTS])
    pictures = []
    for _ in range(count):
        paint = paints[int(torch.multinomial(shares, 1, generator=generator))]
        paint = paint + 0.05 * torch.randn(3, generator=generator)
        draw = torch.rand(6, generator=generator).tolist()
        picture = paint.expand(resolution, resolution, 3).clone()
        for index, name in enumerate(prior.part_names):
            usual = _PARTS.get(name)
            if usual is not None:
                tone = usual[1] * float(torch.randn(1, generator=generator))
                picture[part == index] = torch.tensor(usual[0]) + tone
            elif name == "bumper" and draw[0] < 0.35:
                picture[part == index] = torch.tensor([0.17, 0.17, 0.18])
            elif name == "body" and draw[1] < 0.12:
                picture[(part == index) & (place[..., 1] < -0.93)] = 0.08
        picture[rim] = 0.25 + 0.5 * draw[2]
        dirt = (draw[3] * ((place[..., 1] + 0.45) / 0.45).clamp(0, 1) * 0.6)[..., None]
        picture = picture * (1 - dirt) + dirt * torch.tensor([0.30, 0.27, 0.23])
        pictures.append(spread_texels(picture.clamp(0, 1), covered))
    return torch.stack(pictures)


def _rims(prior: ShapePrior, place: Tensor, part: Tensor) -> Tensor:
    """Texels within 0.6 of a wheel's radius of its middle, on its outward side."""
    wheel = (part == prior.part_names.index("wheel")) & (place[..., 2].abs() > 0.3)
    metric = place * prior.size_mean.cpu()[[0, 2, 1]]
    rim = torch.zeros_like(wheel)
    for ahead in (True, False):
        own = wheel & ((place[..., 0] > 0) == ahead)
        if bool(own.any()):
            points = metric[own][:, :2]
            low, high = points.amin(0), points.amax(0)
            radius = float((high - low).max()) / 2
            rim |= own & ((metric[..., :2] - (low + high) / 2).norm(dim=-1) < 0.6 * radius)
    return rim
