"""How often do a study's intervals cover what they should? `./dev intervals` prints it.

Differences are drawn from populations whose mean is known, few at a time, as a study has them; an
interval that is to cover with 95 % is asked how often it does. Beside ours stand the methods that
were not taken. The tables are in `docs/statistics.md`. One core, about four minutes.

`./dev intervals STUDY` takes the runs of a study of many seeds as the population instead, and draws
small studies from them: real trainings, and the truth about them is known.
"""

import math
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import NamedTuple

import numpy as np
import scipy.stats

from normscope.records import Arm, Study, StudyRun
from normscope.report._numbers import signed
from normscope.studies._analysis import analyse
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


# --- small studies, drawn from the runs of a large one ---

Sides = Sequence[Sequence[StudyRun]]
"""Of two arms the runs, seed by seed."""


def as_study(study: Study, sides: Sides) -> Study:
    """A study of two arms that have these runs, with the target of the large one."""
    assert study.analysis
    names = ("this", "that")
    runs = [
        run.model_copy(update={"arm": name, "seed": seed})
        for name, side in zip(names, sides, strict=True)
        for seed, run in enumerate(side)
    ]
    design = study.design.model_copy(
        update={
            "arms": tuple(Arm(name=name, settings={}) for name in names),
            "reference": names[1],
            "learning_rates": (sides[0][0].learning_rate,),
            "seeds": tuple(range(len(sides[0]))),
            "target": study.analysis.target,
        }
    )
    return study.model_copy(update={"design": design, "runs": tuple(runs)})


class Judged(NamedTuple):
    """Of many small studies, percent."""

    covered: float
    """Whose interval covers the truth."""
    concluded: float
    """That conclude that there is a difference."""


def judged(
    study: Study, draw: Callable[[np.random.Generator], Sides], truth: dict[str, float]
) -> dict[str, Judged]:
    """Draw and analyse `REPEATS` / 4 small studies; how they judge, by measure."""
    random, repeats = np.random.default_rng(SEED), REPEATS // 4
    covered, concluded = dict.fromkeys(truth, 0), dict.fromkeys(truth, 0)
    for _ in range(repeats):
        for found in analyse(as_study(study, draw(random))).comparisons:
            if found.question == "own-best":
                effect, known = found.effect, truth[found.measure]
                covered[found.measure] += effect.low <= known <= effect.high
                concluded[found.measure] += found.conclusion in {"higher", "lower"}
    return {
        measure: Judged(100 * covered[measure] / repeats, 100 * concluded[measure] / repeats)
        for measure in truth
    }


def drawn(
    ours: Sequence[StudyRun],
    theirs: Sequence[StudyRun],
    n: int,
    random: np.random.Generator,
    *,
    paired: bool,
) -> Sides:
    """The runs of `n` seeds; of others on the other side, where an arm is held against itself."""
    seeds = random.integers(len(ours), size=n)
    others = seeds if paired else random.integers(len(theirs), size=n)
    return [ours[seed] for seed in seeds], [theirs[seed] for seed in others]


def real_trainings(study: Study, sizes: Sequence[int] = (3, 5, 10)) -> list[str]:
    """The table: every arm against itself, with other seeds; and the first two against each other.

    Seeds are drawn with replacement. Against itself the truth is no difference; against the other
    arm it is the difference over all seeds.
    """
    arms = {
        arm.name: [run for run in study.runs if run.arm == arm.name] for arm in study.design.arms
    }
    lines = [
        "| compared | truth | n | accuracy | told apart | truth | steps | told apart |",
        f"|{' --- |' * 8}",
    ]
    pairs = [(name, name) for name in arms] + [tuple(arms)[:2]]
    for one, other in pairs:
        ours, theirs = arms[one], arms[other]
        truth = {"test-accuracy": 0.0, "steps-to-target": 1.0}
        if one != other:
            whole = analyse(as_study(study, (ours, theirs))).comparisons
            truth = {c.measure: c.effect.value for c in whole if c.question == "own-best"}
        for n in sizes:
            draw = partial(drawn, ours, theirs, n, paired=one != other)
            found = judged(study, draw, truth)
            accuracy, steps = found["test-accuracy"], found["steps-to-target"]
            lines.append(
                f"| {one} and {other} | {signed(truth['test-accuracy'])} | {n} "
                f"| {accuracy.covered:.1f} | {accuracy.concluded:.1f} "
                f"| × {truth['steps-to-target']:.2f} "
                f"| {steps.covered:.1f} | {steps.concluded:.1f} |"
            )
            print(lines[-1], file=sys.stderr, flush=True)
    return lines


def main(arguments: Sequence[str]) -> None:
    """Print the tables: of made-up populations, or of the runs of a study."""
    if arguments:
        print("\n".join(real_trainings(Study.load(arguments[0]))))
        return
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
    main(sys.argv[1:])
