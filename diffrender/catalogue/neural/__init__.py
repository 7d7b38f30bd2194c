"""Techniques of the catalogue: one file each, found by the registry; _files are shared code."""
