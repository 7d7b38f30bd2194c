"""Cards of the soft, sampled and splatted techniques are held to what they claim."""

from __future__ import annotations

import pytest

from diffrender.catalogue import find_technique
from diffrender.catalogue.evaluate import Subject, check_claims


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("gendr", (24, 32)),
        ("unclamped-barycentrics", (48, 64)),
        ("rasterize-then-splat", (32, 42)),
        ("perturbed-rasterizer", (32, 42)),
        ("stochastic-gradients", (32, 42)),
        ("plateau-reduced", (32, 42)),
        ("triangle-splatting", (48, 64)),
        ("translucent-gaussians", (32, 42)),
    ],
)
def test_claims_hold(name: str, size: tuple[int, int]) -> None:
    results = check_claims(Subject(find_technique(name), size=size))
    assert results
    broken = [str(result) for result in results if not result.holds]
    assert broken == []


@pytest.mark.parametrize("name", ["soft-rasterizer", "dib-r"])
def test_claims_hold_where_pixels_are_asked_one_by_one(name: str) -> None:
    """Kernels of the library have no second derivative: a few parameters, small, in blocks."""
    technique = find_technique(name)
    chosen = [technique.card.claim(asked) for asked in ("vertices", "attributes", "pose")]
    claims = [claim for claim in chosen if claim is not None]
    assert len(claims) == 3
    results = check_claims(Subject(technique, size=(24, 32), seconds=3), claims)
    broken = [str(result) for result in results if not result.holds]
    assert broken == []
