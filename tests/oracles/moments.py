"""Moments derived a second time: exact fractions of the stored numbers, one after the other."""

from collections.abc import Iterable
from fractions import Fraction


def exact_moments(values: Iterable[float]) -> tuple[int, Fraction, Fraction]:
    """Count, mean and sum of squared deviations, without any rounding."""
    numbers = [Fraction(value) for value in values]
    mean = sum(numbers, Fraction(0)) / len(numbers)
    return len(numbers), mean, sum(((x - mean) ** 2 for x in numbers), Fraction(0))


def weights_of_the_values(decays: list[float]) -> list[float]:
    """What each value weighs in the shadow: the start first, then one value per decay.

    The recursion written out: a value enters with `1 - decay` and is multiplied by every later
    decay. The weights add up to one.
    """
    weights = []
    for entered in range(-1, len(decays)):
        weight = 1.0 if entered < 0 else 1 - decays[entered]
        for later in decays[entered + 1 :]:
            weight *= later
        weights.append(weight)
    return weights


def average_by_weights(values: list[float], decays: list[float]) -> float:
    """The exponential average of a start and the values after it."""
    return sum(w * v for w, v in zip(weights_of_the_values(decays), values, strict=True))
