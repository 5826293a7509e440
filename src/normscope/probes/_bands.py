"""Percentiles that cost next to nothing, from a sample of what a layer makes of its rows."""

import math

import numpy as np

from normscope._shapes import Sums
from normscope.records import Band

SAMPLED = 16_384
"""Values of a layer's, at most, that its percentiles are taken of."""

_PERCENTILES = (15, 50, 85)
_DIGITS = 5


def pooled(values: Sums) -> Band:
    """The 15th, 50th and 85th percentile over all rows and units, of at most `SAMPLED` values.

    Row by row, every so-manieth value is taken: the same places every time, and every unit as often
    as every other, since the step from one to the next shares no factor with the number of units.
    Where one of them is NaN, so are the percentiles.

    Example:
        >>> import torch
        >>> pooled(torch.arange(101.0).reshape(101, 1))
        Band(low=15.0, middle=50.0, high=85.0)
    """
    rows, units = values.shape
    sample = values.flatten()[:: _stride(rows * units, units)]
    with np.errstate(invalid="ignore"):  # between two infinities
        low, middle, high = np.percentile(sample.cpu().numpy(), _PERCENTILES)
    return Band(low=_rounded(low), middle=_rounded(middle), high=_rounded(high))


def _stride(values: int, units: int) -> int:
    """The smallest step that leaves at most `SAMPLED` of the values, and visits all units alike.

    Example:
        >>> _stride(100, 10), _stride(512_000, 1000), _stride(320_000, 1000)
        (1, 33, 21)
    """
    stride = -(-values // SAMPLED)
    while math.gcd(stride, units) > 1:
        stride += 1
    return stride


def _rounded(value: float) -> float:
    """To five significant digits."""
    return float(f"{value:.{_DIGITS}g}")
