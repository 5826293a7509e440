"""Batch normalization derived a second time: float64, one channel after the other, no kernel."""

import math

import numpy as np
import numpy.typing as npt

from tests.oracles.moments import average_by_weights

Array = npt.NDArray[np.float64]


def channel(x: Array, index: int) -> list[float]:
    """All values of one channel of `[N, C, ...]`."""
    return [float(value) for value in x[:, index].reshape(-1)]


def batch_moments(values: list[float]) -> tuple[float, float]:
    """Mean and population variance; `fsum` rounds once."""
    mean = math.fsum(values) / len(values)
    return mean, math.fsum((value - mean) ** 2 for value in values) / len(values)


def normalized_by_hand(x: Array, gamma: Array, beta: Array, eps: float) -> Array:
    """Algorithm 1 of Ioffe & Szegedy 2015, line by line."""
    y = np.empty_like(x)
    for index in range(x.shape[1]):
        mean, population_variance = batch_moments(channel(x, index))
        standardized = (x[:, index] - mean) / math.sqrt(population_variance + eps)
        y[:, index] = gamma[index] * standardized + beta[index]
    return y


def decays_by_hand(batches: int, momentum: float | None, *, warm_up: bool) -> list[float]:
    """The weight of the old at each of so many batches."""
    if momentum is None:
        return [t / (t + 1) for t in range(batches)]
    if warm_up:
        return [min(1 - momentum, (1 + t) / (10 + t)) for t in range(batches)]
    return [1 - momentum] * batches


def running_by_hand(
    batches: list[Array], momentum: float | None, running_variance: str, *, warm_up: bool
) -> tuple[Array, Array]:
    """Running mean and variance after the batches, as weighted sums from 0 and 1."""
    decays = decays_by_hand(len(batches), momentum, warm_up=warm_up)
    means, variances = [], []
    for index in range(batches[0].shape[1]):
        values = [channel(x, index) for x in batches]
        moments = [batch_moments(v) for v in values]
        n = [len(v) for v in values]
        factors = [k / (k - 1) if running_variance == "bessel" else 1.0 for k in n]
        tracked = [f * v for f, (_, v) in zip(factors, moments, strict=True)]
        means.append(average_by_weights([0.0, *(m for m, _ in moments)], decays))
        variances.append(average_by_weights([1.0, *tracked], decays))
    return np.array(means), np.array(variances)
