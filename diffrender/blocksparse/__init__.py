"""Block-sparse products, layers and training, after PopSparse (arXiv 2303.16999).

A `BlockPattern` says which blocks of a weight are stored, `spmm` and `sddmm` multiply at them, and
`BlockSparseLinear` and `DynamicBlockSparseLinear` stand where nn.Linear stood.
"""

from __future__ import annotations

from diffrender.blocksparse.backends import backends as backends
from diffrender.blocksparse.config import SparsityConfig as SparsityConfig
from diffrender.blocksparse.convert import Conversion as Conversion
from diffrender.blocksparse.convert import dense_copy as dense_copy
from diffrender.blocksparse.convert import densify_ as densify_
from diffrender.blocksparse.convert import linear as linear
from diffrender.blocksparse.convert import sparse_copy as sparse_copy
from diffrender.blocksparse.convert import sparsify_ as sparsify_
from diffrender.blocksparse.dynamic import DynamicPattern as DynamicPattern
from diffrender.blocksparse.layers import BlockSparseLinear as BlockSparseLinear
from diffrender.blocksparse.layers import DynamicBlockSparseLinear as DynamicBlockSparseLinear
from diffrender.blocksparse.layers import SparseLinear as SparseLinear
from diffrender.blocksparse.pattern import BlockPattern as BlockPattern
from diffrender.blocksparse.plan import StaticPlan as StaticPlan
from diffrender.blocksparse.plan import measure as measure
from diffrender.blocksparse.plan import static_plan as static_plan
from diffrender.blocksparse.products import sddmm as sddmm
from diffrender.blocksparse.products import spmm as spmm
from diffrender.blocksparse.training import GradientWatch as GradientWatch
from diffrender.blocksparse.training import cubic_density as cubic_density
from diffrender.blocksparse.training import drop_and_grow as drop_and_grow
from diffrender.blocksparse.training import prune_ as prune_
from diffrender.blocksparse.training import rigl_fraction as rigl_fraction

__all__ = [
    "BlockPattern",
    "BlockSparseLinear",
    "Conversion",
    "DynamicBlockSparseLinear",
    "DynamicPattern",
    "GradientWatch",
    "SparseLinear",
    "StaticPlan",
    "SparsityConfig",
    "backends",
    "cubic_density",
    "dense_copy",
    "densify_",
    "drop_and_grow",
    "linear",
    "measure",
    "prune_",
    "rigl_fraction",
    "sddmm",
    "sparse_copy",
    "sparsify_",
    "spmm",
    "static_plan",
]
