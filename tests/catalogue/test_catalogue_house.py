"""What the catalogue stands on: cards, the registry, scenes, and the scene that all are shown."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
import torch

from diffrender.catalogue import (
    FAMILIES,
    PARAMETERS,
    Card,
    Claim,
    Light,
    Scene,
    Triangles,
    as_triangles,
    car_scene,
    find_technique,
    list_techniques,
    standard_camera,
    standard_scene,
)
from diffrender.catalogue.standard import look_at
from diffrender.errors import InputError
from diffrender.raster import rasterize

CARDS = {name: find_technique(name).card for name in list_techniques()}


@pytest.mark.parametrize("name", CARDS)
def test_cards_are_complete(name: str) -> None:
    card = CARDS[name]
    assert card.name == name and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", name)
    assert 2000 < card.year <= 2026 and card.family in FAMILIES
    assert re.fullmatch(r"(\d{4}\.\d{4,5})?", card.arxiv)
    for text in (card.title, card.authors, card.paper, card.sections, card.memory, card.time):
        assert text and text == text.strip()
    for sentence in (*card.idea, card.limits, card.use_when):
        assert sentence.endswith("."), sentence
    assert card.equations and all(e and "\n" not in e for e in card.equations)
    for author in card.authors.split(" and "):
        assert author.count(", ") == 1, f"expected 'Family, I.', got {author!r}"


def test_the_issues_members_are_there() -> None:
    assert {card.family for card in CARDS.values()} == set(FAMILIES)
    assert {
        "pixel-pair-antialiasing", "soft-rasterizer", "dib-r", "gendr", "edge-sampling",
        "warped-area", "path-replay", "perspective-transformer", "ray-consistency",
        "emission-absorption", "surface-splatting", "gaussian-splatting-3d",
        "triangle-splatting", "dvr", "neus", "nerf", "dmtet", "flexicubes",
        "deferred-neural-texture",
    } <= set(CARDS)  # fmt: skip


def test_a_card_has_one_claim_a_parameter() -> None:
    card = CARDS["pixel-pair-antialiasing"]
    claim = card.claim("pose")
    assert claim is not None and claim.parameter == "pose" and card.claim("density") is None
    with pytest.raises(InputError, match="claims a parameter twice"):
        dataclasses.replace(card, claims=(claim, claim))
    with pytest.raises(InputError, match="has family 'meshes', expected one of"):
        dataclasses.replace(card, family="meshes")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("venue", "kind", "row"),
    [
        ("Journal of Things 3", "article", "journal = {Journal of Things 3}"),
        ("CVPR", "inproceedings", "booktitle = {CVPR}"),
        ("", "misc", "howpublished = {arXiv}"),
    ],
)
def test_bibtex(venue: str, kind: str, row: str) -> None:
    card = dataclasses.replace(CARDS["soft-rasterizer"], venue=venue, arxiv="1904.01786")
    text = card.bibtex()
    assert text.startswith(f"@{kind}{{soft-rasterizer,\n") and text.endswith("\n}")
    assert f"  {row}" in text and "eprint = {1904.01786}" in text
    assert text.count("{") == text.count("}")


def test_a_technique_is_found_by_its_name() -> None:
    assert find_technique("dib-r") is find_technique("dib-r")
    with pytest.raises(InputError, match="no technique named 'dibr', did you mean .*dib-r"):
        find_technique("dibr")


def test_triangles_name_their_parameters() -> None:
    plain, textured = standard_scene(), standard_scene(textured=True)
    assert set(plain.parameters()) == {"vertices", "attributes", "light"}
    assert set(textured.parameters()) == {"vertices", "attributes", "texture", "light"}
    assert set(textured.parameters()) <= set(PARAMETERS)
    mesh = as_triangles(textured)
    changed = textured.replaced("texture", torch.zeros(2, 2, 3))
    assert as_triangles(changed).texture is not mesh.texture
    assert as_triangles(changed).vertices is mesh.vertices
    lit = plain.replaced("light", torch.arange(9.0).view(3, 3))
    assert lit.light.colour.tolist() == [3, 4, 5] and lit.content is plain.content
    with pytest.raises(InputError, match="no parameter 'density' here, expected one of vertices"):
        plain.replaced("density", torch.zeros(1))


def test_what_does_not_fit_is_named() -> None:
    corners, faces = torch.zeros(3, 3), torch.tensor([[0, 1, 2]])
    with pytest.raises(InputError, match=r"Triangles.colours"):
        Triangles(corners, faces, torch.zeros(2, 3))
    with pytest.raises(InputError, match="come together"):
        Triangles(corners, faces, corners, uv=torch.zeros(3, 2))
    with pytest.raises(InputError, match=r"Light.ambient"):
        Light(torch.zeros(3), torch.zeros(3), torch.zeros(2))
    grid = find_technique("visual-hull").prepare(standard_scene())
    with pytest.raises(InputError, match="draws Triangles, the scene holds VoxelGrid"):
        as_triangles(grid)


def test_shading_is_lambertian() -> None:
    light = Light(
        torch.tensor([0.0, -3.0, 0.0], dtype=torch.float64),
        torch.tensor([0.5, 0.6, 0.7], dtype=torch.float64),
        torch.tensor([0.1, 0.2, 0.3], dtype=torch.float64),
    )
    normals = torch.tensor([[0.0, -1, 0], [0, 1, 0], [0.6, -0.8, 0]], dtype=torch.float64)
    albedo = torch.full((3, 3), 0.5, dtype=torch.float64)
    expected = 0.5 * torch.tensor(
        [[0.6, 0.8, 1.0], [0.1, 0.2, 0.3], [0.5, 0.68, 0.86]], dtype=torch.float64
    )
    torch.testing.assert_close(light.shade(albedo, normals), expected)

    def shaded(direction: Any, albedo: Any) -> Any:
        return Light(direction, light.colour, light.ambient).shade(albedo, normals)

    direction = torch.tensor([0.2, -1.0, 0.3], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(shaded, (direction, albedo.requires_grad_()))


def test_convention_standard_scene_stands_on_its_floor() -> None:
    """y down, the floor at 0: nothing lies below it, and car and ball touch it."""
    mesh = as_triangles(standard_scene())
    assert mesh.vertices[:, 1].max() <= 1e-6
    camera = standard_camera((48, 64))
    assert camera.size == (48, 64) and camera.centre[1] == pytest.approx(-2.7)
    torch.testing.assert_close(camera.rotation @ camera.rotation.T, torch.eye(3))
    assert torch.linalg.det(camera.rotation) == pytest.approx(1.0, abs=1e-5)
    share = (rasterize((mesh.vertices, mesh.faces), camera).face >= 0).float().mean()
    assert 0.4 < share < 0.95


def test_the_car_alone_is_centred_and_seen() -> None:
    scene = car_scene()
    vertices = as_triangles(scene).vertices
    torch.testing.assert_close(vertices.amin(0), -vertices.amax(0), atol=1e-5, rtol=0)
    assert isinstance(scene, Scene) and 3.5 < torch.cdist(vertices, vertices).max() < 5.5


def test_radiance_without_texture_is_shaded_colour() -> None:
    scene = standard_scene()
    found = scene.radiance()
    mesh = as_triangles(scene)
    assert found.shape == mesh.vertices.shape
    # Never darker than the ambient part, never brighter than ambient and direct together.
    low = mesh.colours * scene.light.ambient
    high = mesh.colours * (scene.light.ambient + scene.light.colour)
    assert (found >= low - 1e-6).all() and (found <= high + 1e-6).all()


def test_a_card_without_claims_is_allowed() -> None:
    card = dataclasses.replace(CARDS["dib-r"], claims=())
    assert isinstance(card, Card) and all(card.claim(p) is None for p in PARAMETERS)
    assert Claim("pose", "both", "own") == Claim("pose", "both", "own")


def test_looking_straight_down_has_no_up() -> None:
    with pytest.raises(InputError, match="straight above or below"):
        look_at(torch.tensor([0.0, -10, 0]), torch.zeros(3), (10, 10))
    with pytest.raises(InputError, match="straight above or below"):
        look_at(torch.ones(3), torch.ones(3), (10, 10))
