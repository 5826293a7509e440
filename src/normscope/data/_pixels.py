"""From pixels as people store them to float32 ``[rows, height, width]``."""

import math

import numpy as np

from normscope._errors import DataError
from normscope.data._contents import Array

_LARGEST = float(np.finfo(np.float32).max)


def as_pictures(images: Array, at: str) -> Array:
    """View images as ``[rows, height, width]``, from that, ``[…, 1]``, or flattened squares.

    Raises:
        DataError: if the shape is none of these, or if there are no rows or no pixels.
    """
    shape = images.shape
    if len(shape) == 4 and shape[3] == 1:
        images = images[..., 0]
    elif len(shape) == 2 and shape[1] == math.isqrt(shape[1]) ** 2:
        side = math.isqrt(shape[1])
        images = images.reshape(shape[0], side, side)
    if images.ndim != 3:
        msg = (
            f"{at} has shape {list(shape)}; images must be grey, [rows, height, width] "
            "(or [rows, height, width, 1], or [rows, side * side])."
        )
        raise DataError(msg)
    if images.size == 0:
        msg = f"{at} has shape {list(shape)}, no pixel at all; every split needs rows."
        raise DataError(msg)
    return images


def of_any_shape(inputs: Array, at: str) -> Array:
    """Take inputs as they are: ``[rows, ...]``.

    Raises:
        DataError: if there are no rows or no columns, or whole numbers that are no pixels.
    """
    if inputs.ndim < 2 or inputs.size == 0:
        msg = f"{at} has shape {list(inputs.shape)}; inputs must be [rows, ...], at least one row."
        raise DataError(msg)
    if inputs.dtype.kind != "f" and inputs.dtype.itemsize > 1:
        msg = (
            f"{at} holds {inputs.dtype}; inputs must be floats, or pictures of 8 bits. Convert "
            "them: inputs.astype('float32')."
        )
        raise DataError(msg)
    return inputs


def pixel_range(images: Array, at: str) -> tuple[float, float]:
    """Give the smallest and largest pixel.

    Raises:
        DataError: if one is NaN, infinite, or an integer outside 0 to 255; the message names it.
    """
    with np.errstate(all="ignore"):
        low, high = float(images.min()), float(images.max())
    if images.dtype.kind == "f":
        # One NaN makes both ends NaN, and an infinity is an end.
        if not (abs(low) <= _LARGEST and abs(high) <= _LARGEST):
            with np.errstate(all="ignore"):
                wrong = ~(np.abs(images.astype(np.float64)) <= _LARGEST)
            msg = f"{_pixel(images, wrong, at)}; pixels must be finite float32 numbers."
            raise DataError(msg)
    elif low < 0 or high > 255:
        wrong = (images < 0) | (images > 255)
        msg = (
            f"{_pixel(images, wrong, at)}; whole-number pixels run from 0 to 255: "
            "correct it, or store another scale as floats."
        )
        raise DataError(msg)
    return low, high


def _pixel(images: Array, wrong: Array, at: str) -> str:
    row, *place = map(int, np.unravel_index(int(wrong.argmax()), wrong.shape))
    value = images[(row, *place)]
    if len(place) != 2:
        return f"{at} row {row} has the value {value} at {place}"
    return f"{at} row {row} has the pixel {value} at line {place[0]}, column {place[1]}"


def as_float32(images: Array, rows: Array | None = None) -> Array:
    """Put whole-number pixels on notMNIST's scale, ``x / 255 - 0.5``; leave floats as they are.

    A bool counts as 0 or 255. The result is a new array, C-contiguous and writable.

    Args:
        images: pixels that `pixel_range` has accepted.
        rows: which rows to take; all of them if left out.
    """
    count = len(images) if rows is None else len(rows)
    scaled = np.empty((count, *images.shape[1:]), np.float32)
    white = np.float32(1 if images.dtype.kind == "b" else 255)
    # In pieces that stay in the cache from one step to the next: half the time on MNIST.
    for start in range(0, count, 256):
        piece = slice(start, start + 256)
        found = images[piece if rows is None else rows[piece]]
        part = scaled[piece]
        if images.dtype.kind == "f":
            # The range was checked: what is lost here is precision alone.
            with np.errstate(all="ignore"):
                part[...] = found
        else:
            np.divide(found, white, out=part, dtype=np.float32)
            part -= np.float32(0.5)
    return scaled
