"""What a prediction is: a number of every seed, and where it has to lie."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from normscope.studies._seed_numbers import SeedNumbers


@dataclass(frozen=True)
class Region:
    """Numbers from `low` to `high`.

    Example:
        >>> 0.9 in Region(high=1), Region().told("x"), Region(high=0.8).told("x")
        (True, 'any x', 'x < 0.8')
    """

    low: float = -math.inf
    high: float = math.inf

    def __contains__(self, number: float) -> bool:
        return self.low < number < self.high

    def told(self, name: str) -> str:
        """In signs."""
        left = f"{self.low:g} < " if math.isfinite(self.low) else ""
        right = f" < {self.high:g}" if math.isfinite(self.high) else ""
        if left and not right:
            return f"{name} > {self.low:g}"
        return f"{left}{name}{right}" if right else f"any {name}"


Scale = Literal["points", "ratio", "slope"]
"""``points``: percentage points. ``ratio``: averaged by its logarithm. ``slope``: a bare number."""


@dataclass(frozen=True)
class Premise:
    """What has to be so, or else a prediction says nothing here.

    Attributes:
        key: what predictions call it.
        words: a sentence that follows "not decided: ", where it is not so.
        formula: of the per-seed number, which has to be above 0.
        x: that number, of one seed; NaN where something is missing.
        scale: of that number.
    """

    key: str
    words: str
    formula: str
    x: Callable[[SeedNumbers], float]
    scale: Scale = "points"


@dataclass(frozen=True)
class Prediction:
    """One testable statement, with what would bear it out and what would go against it.

    Attributes:
        key: short, for files.
        explanation: that it follows from.
        source: who says so.
        says: the prediction, as a sentence.
        formula: of the number that every seed has.
        scale: of that number.
        predicted: it is borne out where the interval lies in here.
        against: and contradicted where the interval lies in here.
        x: the number of one seed; NaN where a run or a reading is missing.
        arms: that it is about.
        premises: by key.
    """

    key: str
    explanation: str
    source: str
    says: str
    formula: str
    scale: Scale
    predicted: Region
    against: Region
    x: Callable[[SeedNumbers], float]
    arms: tuple[str, ...] = ("none", "batch")
    premises: tuple[str, ...] = field(default=())


ABOVE, BELOW = Region(low=0.0), Region(high=0.0)
HALF_L = "L({0}) − ½ [L(batch) + L(none)]"
"""How much more than half of batch norm's gain an arm keeps, as a formula."""


def kept(arm: str, measure: str = "learned") -> Callable[[SeedNumbers], float]:
    """How much more than half of batch norm's gain an arm keeps."""

    def x(seed: SeedNumbers) -> float:
        of: Callable[[str], float] = getattr(seed, measure)
        return of(arm) - (of("batch") + of("none")) / 2

    return x


def ratio(quantity: str) -> Callable[[SeedNumbers], float]:
    """A probe's reading under batch norm, divided by that without a norm."""
    return lambda seed: math.exp(seed.log_ratio("batch", "none", quantity))
