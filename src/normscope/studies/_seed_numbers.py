"""What predictions are made of: the figures that one seed has in every arm of a study."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from normscope.records import Reading, Study, StudyRun

_LAST_PART = 0.2
_GHOST = "ghost_size"


@dataclass(frozen=True)
class ReadingOf:
    """A probe's quantity as predictions use it: one number of a run.

    Attributes:
        letter: what formulas call it.
        words: what it is.
        probe: whose.
        quantities: its name there; of several, the first that a layer has.
        when: all readings of a run, the first, or those of its last fifth.
        layers: which of the weight layers: those in front of the logits, the last of these, all
            but the first; or the whole network.
    """

    letter: str
    words: str
    probe: str
    quantities: tuple[str, ...]
    when: Literal["all", "first", "end"] = "all"
    layers: Literal["hidden", "last hidden", "later", "network"] = "hidden"


READINGS = {
    "drift": ReadingOf(
        "D",
        "how far the medians of a layer's sums move from reading to reading, in interquartile "
        "ranges; where there is a norm, of what it makes of them; hidden layers",
        "distribution-drift",
        ("normalized-drift", "sums-drift"),
    ),
    "gradient-shift": ReadingOf(
        "S",
        "how far the step of the layers before it moves a layer's gradient, relative to its "
        "length; layers after the first",
        "covariate-shift",
        ("relative-shift",),
        layers="later",
    ),
    "smoothness": ReadingOf(
        "B",
        "effective smoothness along the gradient: its largest change per distance gone",
        "landscape",
        ("gradient-smoothness",),
        layers="network",
    ),
    "scale-free-smoothness": ReadingOf(
        "B\u2032",
        "the same where every weight matrix counts as having length 1",
        "landscape",
        ("gradient-scale-free-smoothness",),
        layers="network",
    ),
    "safe-step": ReadingOf(
        "M",
        "the largest safe step along the gradient, as a learning rate",
        "safe-step",
        ("largest-safe",),
        layers="network",
    ),
    "angle": ReadingOf(
        "t",
        "the angle that a layer's weights turn by in a step, in the last fifth of the readings' "
        "steps; hidden layers",
        "angular-update",
        ("angle",),
        when="end",
    ),
    "rank": ReadingOf(
        "R",
        "the stable rank of the last hidden layer's sums before the first step",
        "stable-rank",
        ("sums",),
        when="first",
        layers="last hidden",
    ),
    "growth": ReadingOf(
        "G",
        "how many times longer the gradient by a layer's sums is than by the next layer's, before "
        "the first step; hidden layers",
        "depth-growth",
        ("gradient-growth",),
        when="first",
    ),
}
"""By the names that predictions use."""


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

    @property
    def smallest_rate(self) -> float:
        """Of the grid."""
        return min(self.study.design.learning_rates)

    def ended(self, arm: str, rate: float | None = None) -> float:
        """A: percent of the test set, at the arm's own best rate unless another is given."""
        run = self._run(arm, rate)
        if run is None:
            return math.nan
        return run.test.running.accuracy if run.test else self._guessing

    def learned(self, arm: str, rate: float | None = None) -> float:
        """L: percent of the training rows that were right in training, mean over the epochs."""
        run = self._run(arm, rate)
        if run is None:
            return math.nan
        if run.status == "diverged":
            return self._guessing
        return math.fsum(epoch.train_accuracy for epoch in run.epochs) / len(run.epochs)

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
        """The logarithm of a reading, the median of the layers and the steps that it is about.

        Args:
            arm: whose run.
            what: a name in `READINGS`.
            rate: by default the one that is best without a norm.
        """
        run = self._run(arm, self._best("none") if rate is None else rate)
        if run is None or what not in READINGS or run.status != "complete":
            return math.nan
        wanted = READINGS[what]
        read = [each for each in self.readings.get(run.folder, ()) if each.probe == wanted.probe]
        values = [each.value for each in _chosen(read, wanted) if each.value is not None]
        middle = float(np.median(values)) if values else math.nan
        return math.log(middle) if 0 < middle < math.inf else math.nan

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


def _chosen(read: Sequence[Reading], wanted: ReadingOf) -> list[Reading]:
    """Those of the layers and the steps that are wanted."""
    kinds: dict[str, str] = {}
    for quantity in wanted.quantities:
        for reading in read:
            if reading.quantity == quantity:
                kinds.setdefault(reading.layer, quantity)
    read = [each for each in read if kinds.get(each.layer) == each.quantity]
    if not read:
        return []
    called = dict.fromkeys(each.layer for each in read)
    layers = _chosen_layers(list(filter(None, called)), wanted)
    steps = sorted({each.step for each in read})
    late = steps[-1] * (1 - _LAST_PART)
    return [
        reading
        for reading in read
        if reading.layer in layers
        and (wanted.when != "first" or reading.step == 0)
        and (wanted.when != "end" or reading.step >= late)
    ]


def _chosen_layers(layers: Sequence[str], wanted: ReadingOf) -> Sequence[str]:
    """The paths of the layers, of all that were read, in the order of the calls."""
    if wanted.layers == "network":
        return [""]
    if wanted.layers == "later":
        return layers[1:]
    return layers[:-1] if wanted.layers == "hidden" else layers[-2:-1]
