"""What a camera wrote into a photograph's file about its lens."""

from __future__ import annotations

import io
import math
import os
import warnings

from diffrender.instances.reading import IMAGE_LIMIT, read_bytes

__all__ = ["written_fov"]

_FILM_DIAGONAL = 43.27  # mm, of 36 x 24 mm film
_EXIF_BLOCK = 0x8769
_EQUIVALENT, _WIDTH, _HEIGHT = 0xA405, 0xA002, 0xA003
_SAME = 0.01  # of the proportions: sides are rounded


def written_fov(path: str | os.PathLike[str], size: tuple[int, int]) -> float | None:
    """Horizontal field of view, degrees, of a picture of `size` (height, width); None: unknown.

    From the focal length in 35 mm film (EXIF 2.32, tag 41989), which compares diagonals: f in
    pixels is that length over 43.27 mm of the picture's own diagonal. Nothing is known where the
    file has no such tag, where it is not a length that lenses have, or where the picture had other
    proportions when it was taken: a part of it shows less.

    Raises:
        InputError: the file cannot be read.
    """
    from PIL import Image

    content = read_bytes(path, IMAGE_LIMIT, "an image")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of Pillow's limit and of odd tags
            with Image.open(io.BytesIO(content)) as picture:
                tags = picture.getexif().get_ifd(_EXIF_BLOCK)
        length = float(tags.get(_EQUIVALENT, 0))
        taken = sorted(float(tags.get(side, 0)) for side in (_WIDTH, _HEIGHT))
    except Exception:  # a broken block says nothing of the lens; the picture may be whole
        return None
    if not 5 <= length <= 2000:
        return None
    short, long = sorted(size)
    if taken[0] > 0 and abs(taken[0] / taken[1] * long / short - 1) > _SAME:
        return None
    focal = length / _FILM_DIAGONAL * math.hypot(*size)
    return math.degrees(2 * math.atan(size[1] / 2 / focal))
