"""Shape priors: procedural families, the shipped priors, learning one's own, auto-encoders."""

from __future__ import annotations

from diffrender.shape_priors.autoencoder import train_point_autoencoder as train_point_autoencoder
from diffrender.shape_priors.autoencoder_settings import AutoencoderSettings as AutoencoderSettings
from diffrender.shape_priors.autoencoder_settings import TrainingReport as TrainingReport
from diffrender.shape_priors.car_family import CarSample as CarSample
from diffrender.shape_priors.car_family import sample_car as sample_car
from diffrender.shape_priors.car_params import CAR_KINDS as CAR_KINDS
from diffrender.shape_priors.decoder import DecoderSettings as DecoderSettings
from diffrender.shape_priors.decoder import ShapeDecoder as ShapeDecoder
from diffrender.shape_priors.files import list_priors as list_priors
from diffrender.shape_priors.files import load_prior as load_prior
from diffrender.shape_priors.files import save_prior as save_prior
from diffrender.shape_priors.free_form import free_prior as free_prior
from diffrender.shape_priors.learn import learn_prior as learn_prior
from diffrender.shape_priors.learn_autoencoder import autoencoder_of_cars as autoencoder_of_cars
from diffrender.shape_priors.learn_autoencoder import learn_autoencoder as learn_autoencoder
from diffrender.shape_priors.neural import NeuralPrior as NeuralPrior
from diffrender.shape_priors.point_encoder import PointEncoder as PointEncoder
from diffrender.shape_priors.point_encoder import surface_points as surface_points
from diffrender.shape_priors.prior import ShapePrior as ShapePrior
from diffrender.shape_priors.registration import FitResult as FitResult
from diffrender.shape_priors.registration import FitSettings as FitSettings
from diffrender.shape_priors.registration import fit_prior as fit_prior
from diffrender.shape_priors.texture import default_texture as default_texture
from diffrender.shape_priors.texture import part_colours as part_colours
from diffrender.shape_priors.texture import spread_texels as spread_texels
from diffrender.shape_priors.texture import texel_surface as texel_surface
from diffrender.shape_priors.texture_decoder import TextureDecoder as TextureDecoder
from diffrender.shape_priors.texture_decoder import TextureSettings as TextureSettings
from diffrender.shape_priors.texture_training import complete_texture as complete_texture
from diffrender.shape_priors.texture_training import fit_texture as fit_texture
from diffrender.shape_priors.volume import volumetric_iou as volumetric_iou
from diffrender.shape_priors.volume import voxel_occupancy as voxel_occupancy
