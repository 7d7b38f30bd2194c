"""Block-sparse products and layers, after PopSparse (arXiv 2303.16999)."""

from __future__ import annotations

from diffrender.blocksparse.pattern import BlockPattern as BlockPattern

__all__ = ["BlockPattern"]
