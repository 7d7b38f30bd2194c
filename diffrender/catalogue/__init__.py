"""The catalogue: "Differentiable Rendering: A Survey" as running modules, brought up to date.

    technique = find_technique("soft-rasterizer")
    picture = technique.render(standard_scene(), standard_camera())
    print(technique.card.idea)

Each technique is one file with a card and a short implementation, and takes and gives the same
types. Its card says what it is differentiable to; the tests hold it to that.
"""

from __future__ import annotations

from diffrender.catalogue.card import FAMILIES as FAMILIES
from diffrender.catalogue.card import PARAMETERS as PARAMETERS
from diffrender.catalogue.card import Card as Card
from diffrender.catalogue.card import Claim as Claim
from diffrender.catalogue.registry import Technique as Technique
from diffrender.catalogue.registry import find_technique as find_technique
from diffrender.catalogue.registry import list_techniques as list_techniques
from diffrender.catalogue.scene import Content as Content
from diffrender.catalogue.scene import Light as Light
from diffrender.catalogue.scene import Rendering as Rendering
from diffrender.catalogue.scene import Scene as Scene
from diffrender.catalogue.scene import Triangles as Triangles
from diffrender.catalogue.scene import as_triangles as as_triangles
from diffrender.catalogue.standard import car_scene as car_scene
from diffrender.catalogue.standard import standard_camera as standard_camera
from diffrender.catalogue.standard import standard_scene as standard_scene

__all__ = [
    "FAMILIES",
    "PARAMETERS",
    "Card",
    "Claim",
    "Content",
    "Light",
    "Rendering",
    "Scene",
    "Technique",
    "Triangles",
    "as_triangles",
    "car_scene",
    "find_technique",
    "list_techniques",
    "standard_camera",
    "standard_scene",
]
