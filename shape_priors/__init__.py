"""Shape priors: a procedural car family, the shipped car prior, learning one's own, decoders."""

from __future__ import annotations

from diffrender.shape_priors.car_family import CarSample as CarSample
from diffrender.shape_priors.car_family import sample_car as sample_car
from diffrender.shape_priors.car_params import CAR_KINDS as CAR_KINDS
from diffrender.shape_priors.decoder import DecoderSettings as DecoderSettings
from diffrender.shape_priors.decoder import ShapeDecoder as ShapeDecoder
from diffrender.shape_priors.files import list_priors as list_priors
from diffrender.shape_priors.files import load_prior as load_prior
from diffrender.shape_priors.files import save_prior as save_prior
from diffrender.shape_priors.learn import learn_prior as learn_prior
from diffrender.shape_priors.prior import ShapePrior as ShapePrior
from diffrender.shape_priors.registration import FitResult as FitResult
from diffrender.shape_priors.registration import FitSettings as FitSettings
from diffrender.shape_priors.registration import fit_prior as fit_prior
from diffrender.shape_priors.texture import default_texture as default_texture
from diffrender.shape_priors.texture import part_colours as part_colours
from diffrender.shape_priors.texture import spread_texels as spread_texels
from diffrender.shape_priors.texture import texel_surface as texel_surface
from diffrender.shape_priors.volume import volumetric_iou as volumetric_iou
from diffrender.shape_priors.volume import voxel_occupancy as voxel_occupancy
