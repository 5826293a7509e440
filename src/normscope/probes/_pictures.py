"""Images of a data set as pictures that a page can hold."""

import base64
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from normscope.data import Split

_LONGEST_SIDE = 64


def as_png(split: Split) -> Callable[[int], str]:
    """What makes a PNG in base64 of a row of `split`.

    Greys, or red, green and blue where rows have three channels, run from the lowest value of the
    split, 0, to its highest, 255, the same for all rows. An image that is longer than 64 pixels is
    scaled down to that. Of rows that are no pictures there is none: the text is empty.
    """
    images = _pixels(split)
    if images is None:
        return lambda row: ""  # noqa: ARG005
    low, high = float(images.min()), float(images.max())
    scale = 255 / (high - low) if high > low else 0.0

    def picture(row: int) -> str:
        levels = np.round((images[row] - low) * scale).astype(np.uint8)
        image = Image.fromarray(levels)
        image.thumbnail((_LONGEST_SIDE, _LONGEST_SIDE))
        file = io.BytesIO()
        image.save(file, "PNG", optimize=True)
        return base64.b64encode(file.getvalue()).decode("ascii")

    return picture


def _pixels(split: Split) -> np.ndarray | None:
    """Greys, or colours with the channels last; None where rows are no pictures."""
    images = split.images
    if images.ndim == 4 and images.shape[1] == 3:
        return np.moveaxis(images, 1, -1)
    return split.pictures
