"""Percentiles that cost next to nothing, from a sample of what a layer makes of its rows."""

import math

import numpy as np
from torch import Tensor

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

    Example:
        >>> import torch
        >>> pooled(torch.arange(101.0).reshape(101, 1))
        Band(low=15.0, middle=50.0, high=85.0)
    """
    rows, units = values.shape
    return _band(values.flatten()[:: _stride(rows * units, units)])


def of_unit(values: Sums, unit: int) -> Band:
    """The percentiles of one unit, over all rows."""
    return _band(values[:, unit])


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


def _band(values: Tensor) -> Band:
    """The percentiles of `values`; NaN where one of them is NaN, to five significant digits."""
    with np.errstate(invalid="ignore"):  # between two infinities
        low, middle, high = np.percentile(values.cpu().numpy(), _PERCENTILES)
    return Band(low=_rounded(low), middle=_rounded(middle), high=_rounded(high))


def _rounded(value: float) -> float:
    return float(f"{value:.{_DIGITS}g}")
