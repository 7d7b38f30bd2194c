"""Losses between a rendering and the evidence in an image, as named terms that add up.

    loss = Silhouette() + 0.1 * Depth()
    print(loss)                        # the formula
    value = loss(rendering, evidence)
    value.total, value.terms           # (B,), {"silhouette": (B,), "depth": (B,)}

The terms are those of MonoDR (Beker et al., ECCV 2020), whose formulas are not public: each
docstring states ours. Every term is differentiable to the rendering, never to the evidence.
"""

from diffrender.losses.algebra import Curved as Curved
from diffrender.losses.algebra import Loss as Loss
from diffrender.losses.algebra import LossValue as LossValue
from diffrender.losses.algebra import Term as Term
from diffrender.losses.colour import srgb_to_lab as srgb_to_lab
from diffrender.losses.colour_terms import Photometric as Photometric
from diffrender.losses.colour_terms import Structure as Structure
from diffrender.losses.drawn import drawn_loss as drawn_loss
from diffrender.losses.image_terms import Box as Box
from diffrender.losses.image_terms import Depth as Depth
from diffrender.losses.image_terms import Silhouette as Silhouette
from diffrender.losses.mesh_terms import MeshEdges as MeshEdges
from diffrender.losses.mesh_terms import edge_length as edge_length
from diffrender.losses.mesh_terms import laplacian as laplacian
from diffrender.losses.mesh_terms import laplacian_smoothness as laplacian_smoothness
from diffrender.losses.mesh_terms import mesh_edges as mesh_edges
from diffrender.losses.mesh_terms import normal_consistency as normal_consistency
from diffrender.losses.prior_terms import GroundContact as GroundContact
from diffrender.losses.prior_terms import LatentPrior as LatentPrior
from diffrender.losses.prior_terms import SizePrior as SizePrior
from diffrender.losses.records import Evidence as Evidence
from diffrender.losses.records import Rendering as Rendering
from diffrender.losses.tangents import Outline as Outline
from diffrender.losses.tangents import Tangents as Tangents
