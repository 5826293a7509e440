"""A batch norm whose mean and variance are, in part, those of padding.

## What it finds

Rows of a batch that end, or begin, in one and the same vector at differing lengths: sequences that
were padded to the longest. It takes the layer's statistics with these positions and without, and
reports how far apart they are, in deviations of the real positions.

## Why it matters

A batch norm averages over all positions. How much of a batch is padding depends on its longest
sequence, so the same sequence is scaled differently from batch to batch, and differently again in
eval mode, where lengths may be others.

## Example

    >>> import torch
    >>> from normscope.doctor import check
    >>> batches = [torch.randn(8, 4, 20) + 2 for _ in range(4)]
    >>> for batch in batches:
    ...     for row, length in zip(batch, (20, 18, 12, 9, 7, 6, 5, 4)):
    ...         row[:, length:] = 0
    >>> check(torch.nn.BatchNorm1d(4), batches).of("NS404")[0].message
    'Of the positions that it averages over, 49 % are padding. ...'

## Fix

Normalize the real positions only: ``y = x.transpose(1, 2)[mask]``, the batch norm on `y`, and back.
Or use a norm that looks at one position at a time: `torch.nn.LayerNorm`. Then train again, or
recompute the statistics with `normscope.recalibrate`. Batches of sequences of similar length lessen
it, and make batches unlike each other.

## On purpose

Where evaluation pads as training does, and by as much. A batch norm whose `forward` takes more than
its input (a mask) is left alone.

## Symptoms

- results depend on the batch size or on how much padding a batch has
- BatchNorm1d with variable length sequences
- masked batch normalization, padding in batch norm statistics
- training diverges on batches with one very long sequence
- speech or text model is worse with padding

## References

- pytorch/pytorch#70529: batch norm for sequences of variable length
- Tomiinek/Multilingual_Text_to_Speech#81
- SeanNaren/deepspeech.pytorch#312
- tensorflow/tensorflow#30161
- apple/axlearn#646
"""

import inspect
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._counted import percent
from normscope.doctor._rules import Found
from normscope.doctor._sights import Sight
from normscope.doctor._trained import trained_batch_norms
from normscope.stats import Moments, merge_all

_HARM = 0.1
"""Statistics that are further from those of the real positions, in deviations, are harmed."""
_HARM_IN_PICTURES = 0.15
"""Of pictures more: borders of their own, too, may be of several widths."""

_FIX = (
    "Normalize the real positions only (x.transpose(1, 2)[mask]), or use torch.nn.LayerNorm; then "
    "train again, or normscope.recalibrate(model, loader)."
)


def find(case: Case) -> Iterator[Found]:
    """Yield one finding: the first layer with padding in its statistics, and how many more."""
    trained = trained_batch_norms(case)
    effects = [
        effect
        for path, sights in case.observation.eval_sights.of.items()
        if path in trained and not _takes_a_mask(trained[path])
        if (effect := _Effect.of(path, sights)) is not None and effect.size > _harm(sights[0])
    ]
    if effects:
        first = effects[0]
        yield Found(
            severity="warning",
            module=first.path,
            message=first.told(more=len(effects) - 1),
            fix=_FIX,
            evidence=first.evidence() | {"layers": len(effects)},
        )


def _harm(sight: Sight) -> float:
    return _HARM_IN_PICTURES if len(sight.shape) > 3 else _HARM


def _takes_a_mask(norm: RunningNorm) -> bool:
    """Whether it is told more than its input, as torch's are not: a mask, it seems."""
    return len(inspect.signature(norm.module.forward).parameters) > 1


@dataclass(frozen=True, eq=False)
class _Effect:
    """What padding does to a layer's statistics.

    Attributes:
        path: of the layer.
        shares: of padding among the positions, per batch.
        shift: of the mean, the root mean square over channels, in deviations of what is real.
        factor: of the deviation, the geometric mean over channels.
        wander: how far the shift goes up and down between batches, as a standard deviation.
    """

    path: str
    shares: Sequence[float]
    shift: float
    factor: float
    wander: float

    @classmethod
    def of(cls, path: str, sights: Sequence[Sight]) -> "_Effect | None":
        """None where most batches have no padding."""
        seen = [sight for sight in sights if sight.moments is not None]
        padded = [sight for sight in seen if sight.padding is not None]
        if not padded or 2 * len(padded) < len(seen):
            return None
        everything = merge_all(_whole(sight) for sight in seen)
        real = merge_all(_real(sight) for sight in seen)
        varies = (everything.m2 > 0) & (real.m2 > 0)
        if not bool(varies.any()):
            return None
        deviation = real.population_variance.sqrt()
        shift = ((everything.mean - real.mean) / deviation)[varies]
        ratio = (everything.population_variance.sqrt() / deviation)[varies]
        by_batch = torch.stack([_whole(s).mean - _real(s).mean for s in seen]) / deviation
        return cls(
            path,
            [0.0 if sight.padding is None else sight.padding.share for sight in seen],
            _root_mean_square(shift),
            math.exp(float(ratio.log().mean())),
            _root_mean_square((by_batch - by_batch.mean(dim=0))[:, varies]),
        )

    @property
    def size(self) -> float:
        """Of the shift or the change of scale, whichever is larger, in deviations."""
        return max(self.shift, abs(self.factor - 1))

    def told(self, more: int) -> str:
        """In words."""
        others = f" So it is with {more} more." if more else ""
        return (
            f"Of the positions that it averages over, {percent(self._share)} are padding. That "
            f"moves its means by {self.shift:.2g} deviations of the real positions, by "
            f"{self.wander:.2g} more or less from batch to batch, and makes its deviations "
            f"{self.factor:.2g} times as large.{others}"
        )

    def evidence(self) -> dict[str, int | float | str]:
        """As numbers."""
        return {
            "padding, percent": 100 * self._share,
            "least in a batch, percent": 100 * min(self.shares),
            "most in a batch, percent": 100 * max(self.shares),
            "shift of the means, deviations": self.shift,
            "its deviation between batches": self.wander,
            "factor of the deviations": self.factor,
        }

    @property
    def _share(self) -> float:
        return sum(self.shares) / len(self.shares)


def _whole(sight: Sight) -> Moments:
    assert sight.moments is not None
    return sight.moments


def _real(sight: Sight) -> Moments:
    return _whole(sight) if sight.padding is None else sight.padding.without


def _root_mean_square(values: Tensor) -> float:
    return float(values.square().mean().sqrt())
