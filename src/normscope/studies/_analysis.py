"""From the raw values of a study's runs to what follows from them. No torch, and no luck."""

import base64
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from normscope._errors import StudyError
from normscope.records import (
    Analysis,
    Arm,
    Cell,
    Comparison,
    Estimate,
    McNemar,
    Study,
    StudyRun,
)
from normscope.records._study import Conclusion, Question
from normscope.studies._intervals import (
    holm,
    mean_interval,
    paired_proportions,
    ratio_interval,
)
from normscope.studies._steps_to_target import reference_target, steps_to_target


def analyse(study: Study) -> Analysis:
    """What follows from the runs of a study, by the rules of `docs/statistics.md`.

    The same runs give the same figures, always: the bootstrap's seed is fixed.

    Args:
        study: a study all of whose runs have ended; only its design, its data and its runs are
            looked at.

    Raises:
        StudyError: if a run of the design is missing.
    """
    design, runs = study.design, _Runs.of(study)
    best = {arm.name: runs.best_rate(arm) for arm in design.arms}
    target = design.target
    if target is None:
        target = runs.reference_target(best)
    measured = [
        _compared(runs, target, question, one, other)
        for question, one, other in _pairs(study, best)
    ]
    return Analysis(
        target=target,
        target_is="reference" if design.target is None else "given",
        best_learning_rates=best,
        cells=tuple(
            runs.summary(_Place(arm.name, rate), target)
            for arm in design.arms
            for rate in design.rates_of(arm)
        ),
        comparisons=_concluded([c for pair in measured for c in pair], 1 - design.confidence),
        mcnemar=tuple(_mcnemar(runs, best)) if len(design.seeds) == 1 else (),
    )


class _Place(NamedTuple):
    """Where a cell is in the design."""

    arm: str
    rate: float


@dataclass(frozen=True)
class _Runs:
    """The runs by their place, each cell in the order of the seeds."""

    study: Study
    cells: dict[_Place, tuple[StudyRun, ...]]

    @classmethod
    def of(cls, study: Study) -> "_Runs":
        """Sort a study's runs, and refuse it where one is missing."""
        design, ended = study.design, ("complete", "diverged")
        at = {(r.arm, r.learning_rate, r.seed): r for r in study.runs if r.status in ended}
        places = [_Place(arm.name, rate) for arm in design.arms for rate in design.rates_of(arm)]
        missing = [(*p, seed) for p in places for seed in design.seeds if (*p, seed) not in at]
        if missing:
            arm, rate, seed = missing[0]
            msg = (
                f"{len(missing)} of {len(places) * len(design.seeds)} runs of the study have not "
                f"ended, the first of them {arm} at learning rate {rate:g} with seed {seed}. "
                "Give the same `normscope compare` again: it finishes them."
            )
            raise StudyError(msg)
        return cls(study, {p: tuple(at[(*p, seed)] for seed in design.seeds) for p in places})

    @property
    def guessing(self) -> float:
        """Percent right of a network that has learned nothing, as a diverged one counts."""
        return 100 / len(self.study.data.classes)

    def test_accuracy(self, run: StudyRun) -> float:
        """Percent of the test set, under running statistics."""
        counts = run.status == "complete" and run.test is not None
        return run.test.running.accuracy if counts and run.test else self.guessing

    def valid_accuracy(self, run: StudyRun) -> float:
        """Percent of the validation set after the last epoch."""
        counts = run.status == "complete" and run.epochs
        return run.epochs[-1].valid_accuracy if counts else self.guessing

    def steps_in_all(self, run: StudyRun) -> int:
        """What the run would have trained for in full."""
        design = self.study.design
        arm = next(arm for arm in design.arms if arm.name == run.arm)
        return design.epochs_of(arm) * run.steps_per_epoch

    def best_rate(self, arm: Arm) -> float:
        """Where the arm's mean validation accuracy is best; of equals, the smallest rate."""
        means = {
            rate: math.fsum(map(self.valid_accuracy, self.cells[_Place(arm.name, rate)]))
            for rate in self.study.design.rates_of(arm)
        }
        return max(sorted(means), key=means.__getitem__)

    def reference_target(self, best: dict[str, float]) -> float:
        """What the reference's runs reach and keep at its best rate."""
        reference = self.study.design.reference
        ends = [self.valid_accuracy(r) for r in self.cells[_Place(reference, best[reference])]]
        return reference_target(ends, self.study.data.valid_rows, self.guessing)

    def summary(self, place: _Place, target: float) -> Cell:
        """One arm at one rate."""
        runs = self.cells[place]
        tested = [self.test_accuracy(run) for run in runs]
        return Cell(
            arm=place.arm,
            learning_rate=place.rate,
            n=len(runs),
            diverged=sum(run.status == "diverged" for run in runs),
            test_accuracy=mean_interval(tested, self.study.design.confidence)[0],
            valid_accuracy=math.fsum(map(self.valid_accuracy, runs)) / len(runs),
            steps=tuple(steps_to_target(run, target) for run in runs),
        )


def _pairs(study: Study, best: dict[str, float]) -> Iterator[tuple[Question, _Place, _Place]]:
    """What is held against what."""
    design = study.design
    plain = next(arm for arm in design.arms if arm.name == design.reference)
    their_best = _Place(plain.name, best[plain.name])
    for arm in design.arms:
        if arm.name == plain.name:
            continue
        own_best = _Place(arm.name, best[arm.name])
        yield "own-best", own_best, their_best
        for rate in design.rates_of(arm):
            if rate in design.rates_of(plain):
                yield "equal-rate", _Place(arm.name, rate), _Place(plain.name, rate)
        if their_best.rate in design.rates_of(arm) and their_best.rate != own_best.rate:
            yield "other-rate", own_best, _Place(arm.name, their_best.rate)


def _compared(
    runs: _Runs, target: float, question: Question, one: _Place, other: _Place
) -> Iterator[Comparison]:
    """The two measures, before Holm."""
    yield _accuracy_compared(runs, question, one, other)
    if not math.isnan(target):
        yield _steps_compared(runs, target, question, one, other)


def _accuracy_compared(runs: _Runs, question: Question, one: _Place, other: _Place) -> Comparison:
    """Test accuracy: the mean difference over seeds.

    A share of the test rows is rounded to whole rows: a variance of row² / 12, twice. Networks that
    are the same to the last bit of their losses have no difference to be rounded.
    """
    pairs = list(zip(runs.cells[one], runs.cells[other], strict=True))
    differences = [runs.test_accuracy(a) - runs.test_accuracy(b) for a, b in pairs]
    same = all((a.test, a.status) == (b.test, b.status) for a, b in pairs)
    rounding = 0.0 if same else 100 / runs.study.data.test_rows / math.sqrt(6)
    effect, p = mean_interval(differences, runs.study.design.confidence, resolution=rounding)
    return _comparison("test-accuracy", question, one, other, effect, p)


def _steps_compared(
    runs: _Runs, target: float, question: Question, one: _Place, other: _Place
) -> Comparison:
    """Steps to the target: the geometric mean over seeds of the ratio."""
    sides = []
    for place in (one, other):
        reached = [steps_to_target(run, target) for run in runs.cells[place]]
        in_all = [runs.steps_in_all(run) for run in runs.cells[place]]
        sides.append((reached, [r or a for r, a in zip(reached, in_all, strict=True)]))
    (reached, steps), (other_reached, other_steps) = sides
    logs = [math.log(a / b) for a, b in zip(steps, other_steps, strict=True)]
    spacing = runs.study.design.steps_between_validations
    rounding = [spacing / steps for side, _ in sides for steps in side if steps]
    effect, p = ratio_interval(
        logs,
        runs.study.design.confidence,
        resolution=math.sqrt(math.fsum(r**2 for r in rounding) / 12 / len(logs)),
    )
    censored = (reached.count(None), other_reached.count(None))
    return _comparison("steps-to-target", question, one, other, effect, p, censored)


def _comparison(
    measure: Literal["test-accuracy", "steps-to-target"],
    question: Question,
    one: _Place,
    other: _Place,
    effect: Estimate,
    p: float,
    censored: tuple[int, int] = (0, 0),
) -> Comparison:
    """Undecided as yet."""
    return Comparison(
        question=question,
        measure=measure,
        arm=one.arm,
        learning_rate=one.rate,
        other=other.arm,
        other_learning_rate=other.rate,
        effect=effect,
        p=p,
        p_holm=p,
        conclusion="undecided",
        censored=censored,
    )


def _concluded(comparisons: Sequence[Comparison], error: float) -> tuple[Comparison, ...]:
    """The same with Holm's p in each family of question and measure, and what follows from it."""
    families: dict[tuple[str, str], list[int]] = defaultdict(list)
    for at, comparison in enumerate(comparisons):
        families[comparison.question, comparison.measure].append(at)
    concluded = list(comparisons)
    for family in families.values():
        for at, p in zip(family, holm([comparisons[at].p for at in family]), strict=True):
            changed = {"p_holm": p, "conclusion": _conclusion(comparisons[at], p, error)}
            concluded[at] = comparisons[at].model_copy(update=changed)
    return tuple(concluded)


def _conclusion(comparison: Comparison, p: float, error: float) -> Conclusion:
    """What may be said.

    Where runs of one side alone never reach the target, the ratio is a bound, and only what lies
    beyond the bound may be concluded: "at most 0.8" can be lower, never higher. Where half of the
    runs of both together, or more, never reach it, that no difference is found says no more than
    that they were stopped: all of them at the same step, or all of one side before its end is seen.
    A difference between sides that both have such runs is one of steps within this training, and
    stands: `docs/statistics.md`.
    """
    effect, steps = comparison.effect, comparison.measure == "steps-to-target"
    ours, theirs = comparison.censored
    nothing_reached = steps and ours == theirs == effect.n
    if effect.n < 2 or nothing_reached:
        return "undecided"
    higher = effect.value > (1 if steps else 0)
    against_the_bound = theirs > ours == 0 if higher else ours > theirs == 0
    if against_the_bound:
        return "undecided"
    if p > error:
        return "undecided" if steps and ours + theirs >= effect.n else "no-difference"
    return "higher" if higher else "lower"


def _mcnemar(runs: _Runs, best: dict[str, float]) -> Iterable[McNemar]:
    """Single runs at their own best rates, row by row; a diverged run has no rows to compare."""
    study, plain = runs.study, runs.study.design.reference
    (theirs,) = runs.cells[_Place(plain, best[plain])]
    for arm in study.design.arms:
        (ours,) = runs.cells[_Place(arm.name, best[arm.name])]
        if arm.name == plain or not (ours.right and theirs.right):
            continue
        rows = study.data.test_rows
        right, other = _right(ours, rows), _right(theirs, rows)
        only_arm, only_other = int((right & ~other).sum()), int((other & ~right).sum())
        difference, p = paired_proportions(only_arm, only_other, rows, study.design.confidence)
        yield McNemar(
            arm=arm.name,
            other=plain,
            learning_rates=(ours.learning_rate, theirs.learning_rate),
            seed=ours.seed,
            only_arm=only_arm,
            only_other=only_other,
            difference=difference,
            p=p,
        )


def _right(run: StudyRun, rows: int) -> np.ndarray:
    """Which test rows the run has right."""
    bits = np.frombuffer(base64.b64decode(run.right), dtype=np.uint8)
    return np.unpackbits(bits, count=rows).astype(bool)
