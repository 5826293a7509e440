"""What predictions are made of: the figures that one seed has in every arm of a study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from normscope.records import Reading, Study, StudyRun
from normscope.studies._readings_of import READINGS, wanted_readings

_GHOST = "ghost_size"
_Statistics = Literal["running", "population"]

STAY = 2
"""Of the rows whose noise is read, how many stay while the others of a batch are drawn anew."""

_FEWEST_ROWS = 8 * STAY
"""Of a batch, for a quarter of it to have enough that do not stay."""


def noise_rows(batch_size: int) -> tuple[int, int]:
    """The rows of the batches that noise is read in: the training's own, and a quarter of it.

    Example:
        >>> noise_rows(120)
        (120, 30)
    """
    return batch_size, min(batch_size, max(STAY + 1, batch_size // 4))


@dataclass(frozen=True)
class SeedNumbers:
    """The figures of one seed. What cannot be known is NaN: a run or a reading that is missing.

    Attributes:
        study: complete and analysed.
        seed: which.
        arms: for each key of `ARMS` that was trained, the study's name of the arm.
        readings: of every run that has any, by its folder.
    """

    study: Study
    seed: int
    arms: Mapping[str, str]
    readings: Mapping[str, Sequence[Reading]]

    def ended(
        self, arm: str, rate: float | None = None, *, statistics: _Statistics = "running"
    ) -> float:
        """A: percent of the test set, at the arm's own best rate unless another is given."""
        run = self._run(arm, rate)
        if run is None:
            return math.nan
        if run.test is None:
            return self._guessing
        score = run.test.running if statistics == "running" else run.test.population
        return score.accuracy

    def learned(self, arm: str, rate: float | None = None) -> float:
        """L: percent of the training rows that were right in training, mean over the epochs."""
        run = self._run(arm, rate)
        if run is None:
            return math.nan
        if run.status == "diverged":
            return self._guessing
        return math.fsum(epoch.train_accuracy for epoch in run.epochs) / len(run.epochs)

    def gap_at_the_smallest_rate(self, arm: str, other: str) -> float:
        """How far L is ahead there, less half of how far at own best rates.

        With one rate alone the two are the same gap, which says nothing of larger ones.
        """
        rates = self.study.design.learning_rates
        if len(rates) < 2:
            return math.nan
        ahead = self.learned(arm, min(rates)) - self.learned(other, min(rates))
        return ahead - (self.learned(arm) - self.learned(other)) / 2

    def early(self, arm: str) -> float:
        """E: the same of the first epoch alone."""
        run = self._run(arm, None)
        if run is None:
            return math.nan
        return self._guessing if run.status == "diverged" else run.epochs[0].train_accuracy

    def fall(self, arm: str) -> float:
        """F: what A is at the arm's best rate, less its mean over all rates of the grid."""
        rates = self.study.design.learning_rates
        if len(rates) < 2:
            return math.nan
        return self.ended(arm) - math.fsum(self.ended(arm, rate) for rate in rates) / len(rates)

    def dose(self, arms: Sequence[str]) -> float:
        """The least-squares slope of A over how often the batch is halved, of the arms there."""
        batch, settings = self.study.design.recipe.batch_size, self._settings
        there = {
            math.log2(batch / (settings[self.arms[arm]].get(_GHOST) or batch)): self.ended(arm)
            for arm in arms
            if arm in self.arms
        }
        if len(there) < 3:
            return math.nan
        return float(np.polyfit(list(there), list(there.values()), 1)[0])

    def turning(self, arm: str) -> float:
        """T: the least-squares slope of the logarithm of the angle over that of the rate."""
        angles = {
            math.log(rate): self.log_reading(arm, "angle", rate)
            for rate in self.study.design.learning_rates
        }
        seen = {rate: angle for rate, angle in angles.items() if math.isfinite(angle)}
        if len(seen) < 3:
            return math.nan
        return float(np.polyfit(list(seen), list(seen.values()), 1)[0])

    def log_ratio(self, arm: str, other: str, what: str) -> float:
        """The logarithm of a reading's ratio, both at the rate that is best without a norm."""
        rate = self._best("none")
        return self.log_reading(arm, what, rate) - self.log_reading(other, what, rate)

    def log_reading(self, arm: str, what: str, rate: float | None = None) -> float:
        """The logarithm of a `reading`."""
        value = self.reading(arm, what, rate)
        return math.log(value) if 0 < value < math.inf else math.nan

    def reading(self, arm: str, what: str, rate: float | None = None) -> float:
        """A reading: the median, or the mean, of the layers and the steps that it is about.

        Args:
            arm: whose run.
            what: a name in `READINGS`.
            rate: by default the one that is best without a norm.
        """
        run = self._run(arm, self._best("none") if rate is None else rate)
        if run is None or what not in READINGS or run.status != "complete":
            return math.nan
        wanted = READINGS[what]
        read = wanted_readings(self.readings.get(run.folder, ()), wanted)
        values = [each.value for each in read if each.value is not None]
        middle = np.mean if wanted.over == "mean" else np.median
        return float(middle(values)) if values else math.nan

    def percent(self, arm: str, what: str) -> float:
        """A reading that is a share."""
        return 100 * self.reading(arm, what)

    def more_percent(self, arm: str, other: str, what: str) -> float:
        """By how many percent points a share is larger."""
        return self.percent(arm, what) - self.percent(other, what)

    def fall_of_noise(self, arm: str) -> float:
        """The power of 1/n that the noise of the output falls with, n being a batch's rows.

        A batch of n rows of which f stay has mates whose statistics vary as (n − f)/n² (see
        `BatchNoise`); a power of 1 is that.
        """
        whole, part = noise_rows(self.study.design.recipe.batch_size)
        if whole < _FEWEST_ROWS:
            return math.nan
        theory = math.log(_mates(part) / _mates(whole))
        return (
            self.log_reading(arm, "noise-of-a-quarter") - self.log_reading(arm, "noise")
        ) / theory

    def lag(self, arm: str) -> float:
        r"""W over what it would be if running means were the population's.

        The mean of r rows is then normal around them with a deviation of 1/√r, and the mean size of
        that is √(2/(π r)); so in the first layer. Behind it less, where rows are normalized by
        their own statistics before.
        """
        rows = min(max(2, self.study.design.recipe.batch_size), self.study.data.valid_rows)
        return self.reading(arm, "lag") * math.sqrt(math.pi * rows / 2)

    @property
    def _settings(self) -> dict[str, dict[str, Any]]:
        """What every arm changes, by the study's name of it."""
        return {arm.name: arm.settings for arm in self.study.design.arms}

    @property
    def _guessing(self) -> float:
        """Percent right of who has learned nothing, as a run counts that diverged."""
        return 100 / len(self.study.data.classes)

    def _best(self, arm: str) -> float | None:
        """The arm's own best rate."""
        assert self.study.analysis, "a complete study is analysed"
        return self.study.analysis.best_learning_rates.get(self.arms.get(arm, ""))

    def _run(self, arm: str, rate: float | None) -> StudyRun | None:
        """The run of an arm at a rate, by default at its own best."""
        wanted = (self.arms.get(arm), self._best(arm) if rate is None else rate, self.seed)
        for run in self.study.runs:
            if (run.arm, run.learning_rate, run.seed) == wanted:
                return run
        return None


def _mates(rows: int) -> float:
    """How much the statistics of a batch vary with its mates, times what does not depend on it."""
    return max(rows - STAY, 1) / rows**2
