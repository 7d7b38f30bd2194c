"""Molecules as graphs: features, the PCQM4Mv2 layout, and sets that are grown and labelled."""

from __future__ import annotations
