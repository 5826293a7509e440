"""Are running statistics off by what is left in them of the initial mean 0 and variance 1?"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from torch import Tensor

from normscope.anatomy import RunningNorm, in_float64
from normscope.doctor._layer_fit import OFF
from normscope.doctor._sights import Sight
from normscope.stats import Moments, merge_all

MUCH_OF_THE_START = 0.05
"""A share of the initial mean 0 and variance 1 that is worth a word."""
_EXPLAINED = 0.9
"""Without the start's share, what is wrong is that much of what it was, or less."""


@dataclass(frozen=True)
class WithoutStart:
    r"""How far statistics are off as they are, and without the share of their initial values.

    With the share w that the counter says is left of the mean 0 and the variance 1, and the shift
    and the spread of `LayerFit`, of the running statistics and of

    .. math:: \frac{\mathrm{mean_{run}}}{1 - w}, \qquad \frac{\mathrm{variance_{run}} - w}{1 - w}

    Attributes:
        before: shift and spread of the running statistics.
        after: of these.
    """

    before: tuple[float, float]
    after: tuple[float, float]

    @classmethod
    def of(cls, norm: RunningNorm, sights: Sequence[Sight]) -> "WithoutStart | None":
        """Measure; None where a running variance is below w, which proves the counter wrong.

        Counters are set by recalibrations and resets, too.
        """
        seen = [sight.moments for sight in sights if sight.moments is not None]
        if norm.mean is None or norm.variance is None or not seen or norm.denies_its_counter:
            return None
        left, exact = norm.initial_share, merge_all(seen)
        mean, variance = in_float64(norm.mean), in_float64(norm.variance)
        collected = (variance - left).clamp(min=0) / (1 - left)
        return cls(
            _distances(mean, variance, exact, norm.eps),
            _distances(mean / (1 - left), collected, exact, norm.eps),
        )

    @property
    def share(self) -> float:
        """What is left of what is wrong; above 1 for a counter that says nothing of them."""
        return math.hypot(*self.after) / math.hypot(*self.before)

    @property
    def is_the_start(self) -> bool:
        """Whether neither means nor variances are off by something else, by enough to be told."""
        return all(
            after < max(_EXPLAINED * before, OFF)
            for before, after in zip(self.before, self.after, strict=True)
        )


def _distances(mean: Tensor, variance: Tensor, exact: Moments, eps: float) -> tuple[float, float]:
    """Shift and spread, as `LayerFit` has them."""
    width = (exact.population_variance + eps).sqrt()
    shift = (mean - exact.mean) / width
    spread = ((variance + eps).sqrt() / width).log()
    return float(shift.square().mean().sqrt()), float(spread.square().mean().sqrt())
