"""Every implicit technique on the standard scene: coverage, depth, and the claims of its card."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from diffrender.catalogue import Technique, find_technique, standard_camera, standard_scene
from diffrender.catalogue.evaluate import Subject, check_claims
from diffrender.catalogue.implicit import _sdf

SURFACES = ("dvr", "dist", "sdfdiff", "neus", "volsdf", "unisurf", "projected-points")
MESHES = ("dmtet", "flexicubes")
FIELDS = ("nerf", "hash-grid")
QUICK = ("dvr", "sdfdiff", "volsdf", "neus")  # the others' claims are checked by `slow`


@pytest.fixture(scope="module", autouse=True)
def grids() -> Iterator[None]:
    """The standard scene's distances are computed once for each size, not for each technique."""
    made: dict[tuple[Any, ...], _sdf.SdfGrid] = {}
    plain = _sdf._from_triangles

    @functools.wraps(plain)
    def remembered(mesh: Any, resolution: int) -> _sdf.SdfGrid:
        key = (mesh.vertices.dtype, mesh.texture is None, resolution, len(mesh.faces))
        if key not in made:
            made[key] = plain(mesh, resolution)
        return made[key]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sdf, "_from_triangles", remembered)
        yield


def coarse(name: str, resolution: int = 56) -> Technique:
    """The technique on a grid that is quick to make."""
    technique: Any = find_technique(name)
    changed: Technique = dataclasses.replace(technique, resolution=resolution)
    return changed


@pytest.mark.parametrize("name", [*SURFACES, *MESHES])
def test_standard_scene(name: str) -> None:
    scene, camera = standard_scene(), standard_camera((36, 48))
    hard = find_technique("pixel-pair-antialiasing").render(scene, camera)
    technique = coarse(name)
    prepared = technique.prepare(scene)
    assert technique.prepare(prepared) is prepared
    drawn = technique.render(prepared, camera)
    a, b = drawn.silhouette > 0.5, hard.silhouette > 0.5
    # The floor's thickness is seen at its front edge, two rows of the picture's 36.
    assert (a & b).sum() / (a | b).sum() > 0.88
    assert drawn.silhouette.min() >= 0 and drawn.silhouette.max() <= 1 + 1e-5
    both = a & b & (hard.silhouette == 1)
    off = (drawn.depth - hard.depth)[both].abs()
    assert off.median() < (0.1 if name in ("volsdf", "unisurf") else 0.03)
    assert (drawn.image - hard.image).abs().mean() < 0.06
    assert drawn.image.dtype == torch.float32 and drawn.image.shape == (36, 48, 3)
    assert torch.equal(drawn.image, technique.render(prepared, camera).image)


@pytest.mark.slow
@pytest.mark.parametrize("name", FIELDS)
def test_standard_scene_as_a_field(name: str) -> None:
    scene, camera = standard_scene(), standard_camera((36, 48))
    hard = find_technique("pixel-pair-antialiasing").render(scene, camera)
    drawn = find_technique(name).render(scene, camera)
    a, b = drawn.silhouette > 0.5, hard.silhouette > 0.5
    assert (a & b).sum() / (a | b).sum() > 0.85
    assert (drawn.image - hard.image).abs().mean() < 0.1


def test_a_texture_is_baked_into_the_colours() -> None:
    plain, textured = standard_scene(), standard_scene(textured=True)
    technique, camera = coarse("dvr"), standard_camera((36, 48))
    a, b = technique.render(plain, camera), technique.render(textured, camera)
    # The same tiles, once as colours and once as texels.
    assert (a.image - b.image).abs().mean() < 0.01


def claims_hold(name: str) -> None:
    results = check_claims(Subject(find_technique(name), (36, 48)))
    assert [r for r in results if not r.holds] == [], "\n".join(map(str, results))


@pytest.mark.parametrize("name", QUICK)
def test_claims_hold(name: str) -> None:
    claims_hold(name)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted({*SURFACES, *MESHES, *FIELDS} - set(QUICK)))
def test_claims_of_the_others_hold(name: str) -> None:
    claims_hold(name)
