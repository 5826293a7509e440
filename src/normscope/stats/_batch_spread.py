"""Are batches alike? How far their means wander, beyond what sampling makes of it."""

import dataclasses
from collections.abc import Sequence

import torch
from torch import Tensor

from normscope._errors import InputError
from normscope.stats._moments import Moments, merge_all

WANDERING = 0.25
"""Batches whose means wander by more than this, in deviations within a batch, are not alike."""
CHANCE = 0.001
"""How likely such an F may be at most among batches that are alike."""


@dataclasses.dataclass(frozen=True, eq=False)
class BatchSpread:
    r"""One-way analysis of variance over batches, per channel.

    .. math:: \mathrm{MS_b} = \frac{\sum_i n_i (\bar x_i - \bar x)^2}{k - 1}, \qquad
              \mathrm{MS_w} = \frac{\sum_i M_{2,i}}{N - k}, \qquad
              F = \frac{\mathrm{MS_b}}{\mathrm{MS_w}}

    With batches drawn at random F is about 1. The wander is the deviation of the batches' true
    means in units of the deviation within a batch, by the method of moments (Searle, Casella &
    McCulloch 1992, *Variance Components*, section 3.6):

    .. math:: w^2 = \frac{F - 1}{n_0}, \qquad
              n_0 = \frac{1}{k - 1} \left( N - \frac{\sum_i n_i^2}{N} \right)

    Attributes:
        f: F per channel; NaN for a channel that does not vary within batches.
        wander: w per channel, 0 where F is below 1.
        degrees: those of freedom of F, k - 1 and N - k.

    >>> alike = [Moments.of(torch.tensor([[0.0], [2.0]]), [0])] * 2
    >>> float(BatchSpread.of(alike).wander)
    0.0
    >>> apart = [Moments.of(torch.tensor([[0.0], [2.0]]) + shift, [0]) for shift in (0, 10)]
    >>> BatchSpread.of(apart).f, round(float(BatchSpread.of(apart).wander), 2)
    (tensor([50.]), 4.95)
    """

    f: Tensor
    wander: Tensor
    degrees: tuple[int, int]

    @classmethod
    def of(cls, batches: Sequence[Moments]) -> "BatchSpread":
        """From the moments of every batch.

        Raises:
            InputError: if there are fewer than two batches, or none has two rows.
        """
        k, total = len(batches), sum(batch.count for batch in batches)
        if k < 2 or total <= k:
            msg = f"{k} batches of {total} rows have no spread; pass two batches of two rows."
            raise InputError(msg)
        whole = merge_all(batches)
        within = torch.stack([batch.m2 for batch in batches]).sum(dim=0)
        between = torch.stack(
            [batch.count * (batch.mean - whole.mean).square() for batch in batches]
        ).sum(dim=0)
        f = (between / (k - 1)) / (within / (total - k))
        n0 = (total - sum(batch.count**2 for batch in batches) / total) / (k - 1)
        return cls(f, ((f - 1).clamp(min=0) / n0).sqrt(), (k - 1, total - k))

    @property
    def typical_f(self) -> float:
        """The median of F over channels; NaN if none varies within batches."""
        return float(self.f.nanmedian())

    @property
    def typical_wander(self) -> float:
        """The median of the wander over channels; NaN if none varies within batches."""
        return float(self.wander.nanmedian())

    @property
    def chance(self) -> float:
        """How likely an F as large as the typical one is, if rows come into batches at random.

        By the F distribution with these degrees, which knows how small the batches are.
        """
        # Takes longer to import than all of stats.
        import scipy.special  # type: ignore[import-untyped]  # noqa: PLC0415

        return float(scipy.special.fdtrc(*self.degrees, self.typical_f))

    @property
    def is_wandering(self) -> bool:
        """Whether the batches are not alike: by more than luck, and by enough to matter.

        >>> rows = torch.arange(64.0)[:, None]
        >>> def wanders(batches):
        ...     return BatchSpread.of([Moments.of(rows, [0]) for rows in batches]).is_wandering
        >>> wanders(rows.split(16)), wanders([rows[start::4] for start in range(4)])
        (True, False)
        """
        return self.typical_wander > WANDERING and self.chance <= CHANCE
