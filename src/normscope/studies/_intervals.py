"""Intervals around paired differences, and the chance of such differences where there are none.

What each is, where it comes from, and how often it covers what it should: `docs/statistics.md`.
"""

import math
from collections.abc import Sequence
from functools import cache

import numpy as np
import scipy.stats  # type: ignore[import-untyped]

from normscope.records import Estimate

RESAMPLES = 9_999
"""One less than a round number: the ranks that cut off 2.5 % are then whole."""
BOOTSTRAP_SEED = 20150211
"""Of the resampling weights: the same study gives the same interval, always. (The day on which
Ioffe and Szegedy's paper was submitted; any other would do.)"""


def mean_interval(
    values: Sequence[float], confidence: float, *, resolution: float = 0.0
) -> tuple[Estimate, float]:
    r"""The mean of differences with Student's t interval, and the two-sided p of a mean of 0.

    .. math:: \bar d \pm t_{n-1} \, s / \sqrt n

    Student 1908. `s` (Bessel-corrected) is never taken to be smaller than the rounding of the
    values, so that two differences that happen to be alike prove nothing.

    Args:
        values: one difference per seed. A single one has no interval (NaN), and p is 1.
        confidence: that the interval covers the true mean.
        resolution: the standard deviation that the rounding of a value brings; 0 where values that
            are alike are alike, so that nothing but zeros have the interval [0, 0] and a p of 1.

    Example:
        >>> estimate, p = mean_interval([0.4, 0.5, 0.6], 0.95)
        >>> round(estimate.low, 3), round(estimate.high, 3), round(p, 3)
        (0.252, 0.748, 0.013)
    """
    n, mean = len(values), math.fsum(values) / max(len(values), 1)
    if n == 0:
        return Estimate(value=math.nan, low=math.nan, high=math.nan, n=0), 1.0
    if n == 1:
        return Estimate(value=mean, low=math.nan, high=math.nan, n=1), 1.0
    error = max(float(np.std(values, ddof=1)), resolution) / math.sqrt(n)
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, n - 1)) * error
    p = 2 * float(scipy.stats.t.sf(abs(mean) / error, n - 1)) if error else float(mean == 0)
    return Estimate(value=mean, low=mean - half, high=mean + half, n=n), p


def ratio_interval(
    log_ratios: Sequence[float], confidence: float, *, resolution: float = 0.0
) -> tuple[Estimate, float]:
    r"""The geometric mean of ratios with a paired bootstrap interval, and the p of a ratio of 1.

    Pairs are resampled by weights :math:`w_i \propto \mathrm{Beta}(1/2, 3/2)`, and

    .. math:: t^* = (\bar d^* - \bar d) / s^*, \quad \bar d^* = \sum w_i d_i, \quad
              s^{*2} = \sum w_i (d_i - \bar d^*)^2

    stands for the unknown :math:`(\bar d - \mu) / s`: the beta bootstrap t of Owen (2025,
    arXiv 2508.10083). It keeps its level from three pairs on, where percentiles cannot. The
    interval is never narrower than the t interval that the rounding alone would have.

    Args:
        log_ratios: natural logarithms, one per seed. One alone has no interval, and p is 1.
        confidence: that the interval covers the true geometric mean.
        resolution: the standard deviation that the rounding of a logarithm brings.

    Returns:
        The estimate on the scale of ratios, and the two-sided p that inverts the interval.
    """
    d = np.asarray(log_ratios, dtype=np.float64)
    if len(d) < 2:
        return _exp(mean_interval(log_ratios, confidence)[0]), 1.0
    mean, deviation = float(d.mean()), float(d.std())
    error = resolution / math.sqrt(len(d))
    half = float(scipy.stats.t.ppf((1 + confidence) / 2, len(d) - 1)) * error
    low, high = mean - half, mean + half
    p = 2 * float(scipy.stats.t.sf(abs(mean) / error, len(d) - 1)) if error else float(mean == 0)
    if deviation > 1e-12 * max(1.0, abs(mean)):
        t = _studentized(d - mean)
        cut_off = round((1 - confidence) / 2 * (RESAMPLES + 1), 6)  # 500 at 90 %, not 499.99…
        rank = max(1, math.floor(cut_off))
        low = min(low, mean - float(t[-rank]) * deviation)
        high = max(high, mean - float(t[rank - 1]) * deviation)
        seen = mean / deviation
        beyond = min(int((t >= seen).sum()), int((t <= seen).sum()))
        p = max(p, min(1.0, 2 * (1 + beyond) / (RESAMPLES + 1)))
    return _exp(Estimate(value=mean, low=low, high=high, n=len(d))), p


def _studentized(centred: np.ndarray) -> np.ndarray:
    """The statistic t* of every resample, sorted; infinite where a resample has no spread."""
    weights = _weights(len(centred))
    means = weights @ centred
    variances = np.maximum(weights @ centred**2 - means**2, 0.0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.sort(np.nan_to_num(means / np.sqrt(variances), nan=0.0, posinf=np.inf))


@cache
def _weights(n: int) -> np.ndarray:
    """The pairs' weights in every resample, of sum 1."""
    drawn = np.random.default_rng(BOOTSTRAP_SEED).beta(0.5, 1.5, (RESAMPLES, n))
    return np.asarray(drawn / drawn.sum(axis=1, keepdims=True))


def _exp(estimate: Estimate) -> Estimate:
    """From logarithms to ratios; what is too large for a float is infinite."""
    with np.errstate(over="ignore"):
        value, low, high = np.exp((estimate.value, estimate.low, estimate.high)).tolist()
    return Estimate(value=value, low=low, high=high, n=estimate.n)


def paired_proportions(
    only_arm: int, only_other: int, rows: int, confidence: float
) -> tuple[Estimate, float]:
    r"""The difference of two shares of the same rows, in percentage points, and McNemar's exact p.

    With b and c rows that only the one and only the other has right, the interval is *Wald + 2*
    (Agresti and Min 2005, Statistics in Medicine 24, 729-740): Wald's, with half a row added to
    each of the table's four cells,

    .. math:: \frac{b - c}{n + 2} \pm \frac{z}{n + 2} \sqrt{b + c + 1 - (b - c)^2 / (n + 2)}

    and p is twice the tail of a binomial of b + c fair coins (McNemar 1947).

    Example:
        >>> estimate, p = paired_proportions(31, 14, 1000, 0.95)
        >>> round(estimate.value, 2), round(estimate.low, 2), round(estimate.high, 2), round(p, 3)
        (1.7, 0.37, 3.02, 0.016)
    """
    b, c, n = only_arm, only_other, rows + 2
    z = float(scipy.stats.norm.ppf((1 + confidence) / 2))
    middle, half = (b - c) / n, z * math.sqrt(b + c + 1 - (b - c) ** 2 / n) / n
    p = float(scipy.stats.binomtest(b, b + c).pvalue) if b + c else 1.0
    low, high = (100 * min(1.0, max(-1.0, bound)) for bound in (middle - half, middle + half))
    return Estimate(value=100 * (b - c) / rows, low=low, high=high, n=rows), p


def holm(ps: Sequence[float]) -> list[float]:
    """The p-values of a family after Holm's procedure, in their order.

    Holm 1979, Scandinavian Journal of Statistics 6, 65-70: the smallest is multiplied by their
    number, the next by one less, and so on, none falling below the one before. Holding each
    against an error rate, one keeps the rate of any false finding in the family.

    Example:
        >>> holm([0.01, 0.04, 0.03])
        [0.03, 0.06, 0.06]
    """
    adjusted, least = [1.0] * len(ps), 0.0
    for before, at in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        least = max(least, min(1.0, (len(ps) - before) * ps[at]))
        adjusted[at] = least
    return adjusted
