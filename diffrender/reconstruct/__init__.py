"""Reconstruction: from an image with masks and depth to a scene of posed, textured meshes."""

from diffrender.reconstruct.adam import Adam as Adam
from diffrender.reconstruct.classes import ClassPriors as ClassPriors
from diffrender.reconstruct.classes import priors_by_class as priors_by_class
from diffrender.reconstruct.confidence import Agreement as Agreement
from diffrender.reconstruct.descent import Descent as Descent
from diffrender.reconstruct.descent import Objective as Objective
from diffrender.reconstruct.freeform import RefineSettings as RefineSettings
from diffrender.reconstruct.freeform import refine_vertices as refine_vertices
from diffrender.reconstruct.lbfgs import LBFGS as LBFGS
from diffrender.reconstruct.levenberg import LevenbergMarquardt as LevenbergMarquardt
from diffrender.reconstruct.noise import depth_noise_of as depth_noise_of
from diffrender.reconstruct.observations import DepthNoise as DepthNoise
from diffrender.reconstruct.optimizer import iteration_limit as iteration_limit
from diffrender.reconstruct.pipeline import Run as Run
from diffrender.reconstruct.pipeline import reconstruct as reconstruct
from diffrender.reconstruct.scene import Pose as Pose
from diffrender.reconstruct.scene import ReconstructedObject as ReconstructedObject
from diffrender.reconstruct.scene import Scene as Scene
from diffrender.reconstruct.settings import LossWeights as LossWeights
from diffrender.reconstruct.settings import ReconstructSettings as ReconstructSettings
from diffrender.reconstruct.settings import StageSettings as StageSettings
from diffrender.reconstruct.settings import StepSizes as StepSizes
from diffrender.reconstruct.solver import objective as objective
from diffrender.reconstruct.starting import Starter as Starter
from diffrender.reconstruct.starting import StartRequest as StartRequest
