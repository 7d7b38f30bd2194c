"""Block-sparse products and layers, after PopSparse (arXiv 2303.16999)."""

from __future__ import annotations

from diffrender.blocksparse.pattern import BlockPattern as BlockPattern
from diffrender.blocksparse.products import sddmm as sddmm
from diffrender.blocksparse.products import spmm as spmm

__all__ = ["BlockPattern", "sddmm", "spmm"]
