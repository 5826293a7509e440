"""What a measurement is: samples by contestant and round, their ratios, and targets.

Nothing here measures, and nothing here needs torch: a table that was read from JSON prints as it
did on the day.
"""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from statistics import median, quantiles
from typing import Any, Self


@dataclass(frozen=True)
class Quartiles:
    """A sample's middle and its spread.

    >>> Quartiles.of([1.0, 2.0, 3.0, 4.0, 50.0])
    Quartiles(low=2.0, median=3.0, high=4.0)
    """

    low: float
    median: float
    high: float

    @classmethod
    def of(cls, values: list[float]) -> Self:
        """The quartiles of at least one value, interpolated between the values themselves."""
        if len(values) == 1:
            return cls(values[0], values[0], values[0])
        low, _, high = quantiles(values, n=4, method="inclusive")
        return cls(low, median(values), high)


@dataclass(frozen=True)
class Target:
    """What a contestant shall reach.

    Attributes:
        who: the contestant.
        bound: in the table's unit, or in multiples of `against`.
        against: the contestant that `who` is compared with, round by round; None for no comparison.
        at_least: whether the ratio shall be no smaller; otherwise it shall be no larger.
    """

    who: str
    bound: float
    against: str | None = None
    at_least: bool = False

    def met_by(self, measured: float) -> bool:
        """Whether a median is on the right side of the bound."""
        return measured >= self.bound if self.at_least else measured <= self.bound


@dataclass(frozen=True)
class Table:
    """One comparison under one set of conditions.

    Attributes:
        title: the conditions, in words.
        unit: what a sample is, e.g. ``"s"``.
        samples: for each contestant one figure a round; the rounds of all are the same rounds.
        against: the contestant that ratios are printed against; None where none makes sense.
        targets: what shall be reached.
        left_out: contestants that took no part, and why.
        notes: sentences under the table.
    """

    title: str
    unit: str
    samples: Mapping[str, list[float]]
    against: str | None = None
    targets: tuple[Target, ...] = ()
    left_out: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def quartiles(self, who: str) -> Quartiles:
        """A contestant's own figures."""
        return Quartiles.of(self.samples[who])

    def ratio(self, who: str, against: str) -> Quartiles:
        """The quartiles of `who` divided by `against`, taken round by round: drift cancels."""
        pairs = zip(self.samples[who], self.samples[against], strict=True)
        return Quartiles.of([mine / theirs for mine, theirs in pairs])

    def measured(self, target: Target) -> float | None:
        """The median that a target is about; None if one of the two took no part."""
        if target.who not in self.samples:
            return None
        if target.against is None:
            return self.quartiles(target.who).median
        if target.against not in self.samples:
            return None
        return self.ratio(target.who, target.against).median

    def to_json(self) -> dict[str, Any]:
        """Plain values, samples with four significant digits."""
        samples = {who: [_rounded(value) for value in row] for who, row in self.samples.items()}
        return asdict(self) | {"samples": samples}

    @classmethod
    def from_json(cls, plain: dict[str, Any]) -> Self:
        """The table that `to_json` wrote."""
        targets = tuple(Target(**target) for target in plain["targets"])
        return cls(**plain | {"targets": targets, "notes": tuple(plain["notes"])})


@dataclass(frozen=True)
class Section:
    """One question, and what answers it.

    Attributes:
        name: what selects it on the command line.
        explained: what is compared, for someone who sees it for the first time.
        measure: makes the tables from the command line's options.
    """

    name: str
    explained: str
    measure: Callable[[Any], list[Table]]


def _rounded(value: float) -> float:
    """Four significant digits.

    >>> _rounded(0.012345678), _rounded(123456.0)
    (0.01235, 123500.0)
    """
    return float(f"{value:.4g}")
