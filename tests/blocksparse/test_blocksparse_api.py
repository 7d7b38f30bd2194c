"""The doors of the block-sparse products: none comes or goes unnoticed."""

from __future__ import annotations

import inspect

from diffrender import blocksparse

PUBLIC = {
    "BlockPattern", "BlockSparseLinear", "Conversion", "DynamicBlockSparseLinear", "DynamicPattern",
    "GradientWatch", "SparseLinear", "SparsityConfig", "StaticPlan", "backends", "cubic_density",
    "dense_copy", "densify_", "drop_and_grow", "linear", "measure", "prune_", "rigl_fraction",
    "sddmm", "sparse_copy", "sparsify_", "spmm", "static_plan",
}  # fmt: skip


def test_public_names() -> None:
    assert set(blocksparse.__all__) == PUBLIC


def test_public_names_are_documented_and_short() -> None:
    for name in sorted(PUBLIC):
        value = getattr(blocksparse, name)
        assert inspect.getdoc(value), name
        if inspect.isfunction(value):
            assert len(inspect.signature(value).parameters) <= 8, name
