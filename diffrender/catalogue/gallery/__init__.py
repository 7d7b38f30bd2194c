"""The gallery: a static site of the catalogue, one page a technique."""
