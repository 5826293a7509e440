"""How often do a study's intervals cover what they should? `python tools/coverage.py` prints it.

Differences are drawn from populations whose mean is known, few at a time, as a study has them; an
interval that is to cover with 95 % is asked how often it does. Beside ours stand the methods that
were not taken. The tables are in `docs/statistics.md`. One core, about four minutes.
"""

import math
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import scipy.stats

from normscope.studies._intervals import (
    _weights,
    mean_interval,
    paired_proportions,
    ratio_interval,
)

REPEATS = 4000
SIZES = (2, 3, 5, 10, 20)
SEED = 1
CONFIDENCE = 0.95

Draw = Callable[[np.random.Generator, int], np.ndarray]
Bounds = tuple[float, float]


class Population(NamedTuple):
    """Where differences come from."""

    name: str
    draw: Draw
    resolution: float = 0.0
    """The standard deviation that the rounding of a value brings, as the analysis reckons it."""

    def mean(self) -> float:
        """The true one, to about three digits more than are needed."""
        return float(np.mean(self.draw(np.random.default_rng(0), 4_000_000)))


# --- differences of accuracy, in points ---


def bell(random: np.random.Generator, size: int) -> np.ndarray:
    """Normal."""
    return random.normal(0.3, 0.2, size)


def skewed(random: np.random.Generator, size: int) -> np.ndarray:
    """Lognormal: skewness 3.7."""
    return 0.2 * random.lognormal(0, 0.8, size)


def rounded(random: np.random.Generator, size: int) -> np.ndarray:
    """Shares of 1,000 rows that differ by few of them."""
    return (random.binomial(1000, 0.92, size) - random.binomial(1000, 0.919, size)) / 10


def coarse(random: np.random.Generator, size: int) -> np.ndarray:
    """Shares of 200 rows: most differences are 0, half a point or one."""
    return np.round(random.normal(0.2, 0.3, size) * 2) / 2


def diverging(random: np.random.Generator, size: int) -> np.ndarray:
    """Normal, but one run of the other arm in ten diverges."""
    return np.where(random.random(size) < 0.1, 82.0, random.normal(0.3, 0.2, size))


ACCURACIES = (
    Population("normal", bell),
    Population("skewed (lognormal)", skewed),
    Population("shares of 1,000 rows", rounded, 0.1 / math.sqrt(6)),
    Population("shares of 200 rows", coarse, 0.5 / math.sqrt(6)),
    Population("one in ten diverges", diverging, 0.1 / math.sqrt(6)),
)


# --- logarithms of ratios of steps ---


def log_bell(random: np.random.Generator, size: int) -> np.ndarray:
    """Lognormal ratios around a half."""
    return random.normal(-0.7, 0.25, size)


def on_a_grid(random: np.random.Generator, size: int) -> np.ndarray:
    """About 400 and 800 steps, seen at every 40th."""
    return _steps(random, 400, 0.2, 40, size) - _steps(random, 800, 0.2, 40, size)


def on_a_coarse_grid(random: np.random.Generator, size: int) -> np.ndarray:
    """About 200 and 400 steps, seen at every 80th: hardly more than two values."""
    return _steps(random, 200, 0.08, 80, size) - _steps(random, 400, 0.08, 80, size)


def _steps(
    random: np.random.Generator, middle: float, spread: float, spacing: int, size: int
) -> np.ndarray:
    exact = middle * random.lognormal(0, spread, size)
    return np.asarray(np.log(np.ceil(exact / spacing) * spacing))


def log_skewed(random: np.random.Generator, size: int) -> np.ndarray:
    """Skewed even after the logarithm."""
    return 0.3 * random.lognormal(0, 0.8, size) - 1


def one_slow(random: np.random.Generator, size: int) -> np.ndarray:
    """One run in ten takes three times as long."""
    return random.normal(-0.7, 0.2, size) + math.log(3) * (random.random(size) < 0.1)


def capped(random: np.random.Generator, size: int) -> np.ndarray:
    """The other arm often does not arrive, and counts with all its steps."""
    return random.normal(-0.8, 0.2, size) - np.minimum(random.normal(-0.2, 0.4, size), 0)


def _rounding(spacing: int, *steps: float) -> float:
    return math.sqrt(math.fsum((spacing / s) ** 2 / 12 for s in steps))


RATIOS = (
    Population("lognormal", log_bell),
    Population("seen at every 40th step", on_a_grid, _rounding(40, 400, 800)),
    Population("seen at every 80th step", on_a_coarse_grid, _rounding(80, 200, 400)),
    Population("skewed logarithms", log_skewed),
    Population("one in ten takes 3 times as long", one_slow),
    Population("a third never arrives", capped),
)


# --- methods ---


def student(values: np.ndarray, resolution: float) -> Bounds:
    """Ours for accuracies: Student's t."""
    estimate, _ = mean_interval(values.tolist(), CONFIDENCE, resolution=resolution)
    return estimate.low, estimate.high


def beta_t(values: np.ndarray, resolution: float) -> Bounds:
    """Ours for ratios: the beta bootstrap t, on the scale of logarithms."""
    estimate, _ = ratio_interval(values.tolist(), CONFIDENCE, resolution=resolution)
    return math.log(estimate.low), math.log(estimate.high)


def percentiles(values: np.ndarray, _: float) -> Bounds:
    """Efron's percentiles of 10,000 resamples."""
    return _percentiles(values, (1 - CONFIDENCE) / 2)


def expanded(values: np.ndarray, _: float) -> Bounds:
    """Hesterberg's expanded percentiles (2015, arXiv 1411.5279)."""
    n = len(values)
    t = scipy.stats.t.ppf((1 - CONFIDENCE) / 2, n - 1)
    return _percentiles(values, float(scipy.stats.norm.cdf(t * math.sqrt(n / (n - 1)))))


_resamples: dict[int, np.ndarray] = {}


def _percentiles(values: np.ndarray, tail: float) -> Bounds:
    n = len(values)
    if n not in _resamples:
        random = np.random.default_rng(SEED)
        _resamples[n] = random.multinomial(n, [1 / n] * n, size=10_000) / n
    low, high = np.quantile(_resamples[n] @ values, (tail, 1 - tail))
    return float(low), float(high)


METHODS = {
    "beta bootstrap t": beta_t,
    "Student's t": student,
    "percentiles": percentiles,
    "expanded percentiles": expanded,
}


def coverage(
    population: Population,
    n: int,
    methods: Sequence[str],
    repeats: int = REPEATS,
) -> dict[str, tuple[float, float]]:
    """For each method: percent of intervals that cover the mean, and their median length."""
    random, truth = np.random.default_rng([SEED, n]), population.mean()
    found: dict[str, list[Bounds]] = {method: [] for method in methods}
    for _ in range(repeats):
        values = population.draw(random, n)
        for method in methods:
            found[method].append(METHODS[method](values, population.resolution))
    slack = 1e-9  # a mean that was itself drawn
    return {
        method: (
            100 * float(np.mean([low - slack <= truth <= high + slack for low, high in bounds])),
            float(np.median([high - low for low, high in bounds])),
        )
        for method, bounds in found.items()
    }


def proportions_coverage(rows: int, only_arm: float, only_other: float) -> tuple[float, float]:
    """Percent of Wald + 2 intervals that cover; percent of exact p at most 0.05."""
    random, truth = np.random.default_rng(SEED), 100 * (only_arm - only_other)
    shares = [only_arm, only_other, 1 - only_arm - only_other]
    covered, rejected = 0, 0
    for b, c, _ in random.multinomial(rows, shares, size=REPEATS).tolist():
        estimate, p = paired_proportions(b, c, rows, CONFIDENCE)
        covered += estimate.low <= truth <= estimate.high
        rejected += p <= 1 - CONFIDENCE
    return 100 * covered / REPEATS, 100 * rejected / REPEATS


def table(populations: Sequence[Population], methods: Sequence[str]) -> list[str]:
    """Coverage in percent, and in brackets the length as a multiple of the first method's."""
    lines = [
        f"| population | n | {' | '.join(methods)} |",
        f"| --- | --- | {' | '.join(['---'] * len(methods))} |",
    ]
    for population in populations:
        for n in SIZES:
            found = coverage(population, n, methods)
            ours = found[methods[0]][1]
            cells = [f"{found[methods[0]][0]:.1f}"]
            cells += [f"{found[m][0]:.1f} ({found[m][1] / ours:.2f})" for m in methods[1:]]
            lines.append(f"| {population.name} | {n} | {' | '.join(cells)} |")
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main() -> None:
    """Print the three tables."""
    for n in SIZES:
        _weights(n)
    print(f"Final accuracy: percent of {REPEATS:,} intervals that cover.\n")
    print("\n".join(table(ACCURACIES, ["Student's t"])))
    print(f"\nSteps to the target: percent of {REPEATS:,} intervals that cover (median length).\n")
    print("\n".join(table(RATIOS, list(METHODS))))
    print("\nTwo single runs:\n")
    print("| rows | right only here, only there | Wald + 2 covers | exact p at most 0.05 |")
    print("| --- | --- | --- | --- |")
    for rows in (200, 1000, 10_000):
        for b, c in ((0.03, 0.03), (0.002, 0.002), (0.04, 0.02)):
            covers, rejects = proportions_coverage(rows, b, c)
            print(f"| {rows:,} | {100 * b:g} %, {100 * c:g} % | {covers:.1f} | {rejects:.1f} |")


if __name__ == "__main__":
    main()
