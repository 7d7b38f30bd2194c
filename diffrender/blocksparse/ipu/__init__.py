"""The IPU that PopSparse was made for, as a model: plans, costs, and runs tile by tile.

`simulate` takes a pattern and a number of columns and returns cycles, bytes exchanged, memory and
TFLOP/s, and with operands the product itself. What is modelled and what is not: docs/ipu.md.
"""

from __future__ import annotations

from diffrender.blocksparse.ipu.counts import BlockCounts as BlockCounts
from diffrender.blocksparse.ipu.dense_planner import DensePlan as DensePlan
from diffrender.blocksparse.ipu.dense_planner import plan_dense as plan_dense
from diffrender.blocksparse.ipu.dynamic_planner import DynamicPlan as DynamicPlan
from diffrender.blocksparse.ipu.dynamic_planner import plan_dynamic as plan_dynamic
from diffrender.blocksparse.ipu.encoding import Encoding as Encoding
from diffrender.blocksparse.ipu.encoding import encode as encode
from diffrender.blocksparse.ipu.machine import BOW as BOW
from diffrender.blocksparse.ipu.machine import MK2 as MK2
from diffrender.blocksparse.ipu.machine import DoesNotFitError as DoesNotFitError
from diffrender.blocksparse.ipu.machine import IpuMachine as IpuMachine
from diffrender.blocksparse.ipu.settings import SimulationSettings as SimulationSettings
from diffrender.blocksparse.ipu.simulation import Phase as Phase
from diffrender.blocksparse.ipu.simulation import Simulation as Simulation
from diffrender.blocksparse.ipu.simulation import simulate as simulate
from diffrender.blocksparse.ipu.static_planner import StaticPlan as StaticPlan
from diffrender.blocksparse.ipu.static_planner import plan_static as plan_static

__all__ = [
    "BOW",
    "MK2",
    "BlockCounts",
    "DensePlan",
    "DoesNotFitError",
    "DynamicPlan",
    "Encoding",
    "IpuMachine",
    "Phase",
    "Simulation",
    "SimulationSettings",
    "StaticPlan",
    "encode",
    "plan_dense",
    "plan_dynamic",
    "plan_static",
    "simulate",
]
