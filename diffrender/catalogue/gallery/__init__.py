"""The gallery: a static site of the catalogue, one page a technique."""

from __future__ import annotations

from diffrender.catalogue.gallery.libraries import LIBRARIES as LIBRARIES
from diffrender.catalogue.gallery.libraries import library_table as library_table
from diffrender.catalogue.gallery.site import build_site as build_site
from diffrender.catalogue.gallery.site import read_results as read_results
from diffrender.catalogue.gallery.site import write_site as write_site

__all__ = ["LIBRARIES", "build_site", "library_table", "read_results", "write_site"]
