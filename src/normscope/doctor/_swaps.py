"""What each layer's running statistics cost: swapped in one layer at a time."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope.anatomy import normalizing_by, normalizing_by_batch
from normscope.doctor._gap import Gap, gap_between
from normscope.doctor._layer_fit import LayerFit
from normscope.doctor._observation import Observation
from normscope.doctor._sights import Sights
from normscope.stats import merge_all

if TYPE_CHECKING:
    from normscope.doctor._scores import Outcome

_MOST_BATCHES = 4
_FOR_OTHER_RULES = 3

Statistics = dict[_BatchNorm, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Swap:
    """One layer with its running statistics, all others with exact ones.

    Attributes:
        path: of the layer.
        cost: how much worse the answers are than where all have exact ones, as `Gap.size` is.
        rows: on how many rows.
    """

    path: str
    cost: float
    rows: int


@dataclass(frozen=True)
class Swaps:
    """What statistics cost.

    Attributes:
        left: the gap that is left where every layer has the exact statistics of these batches;
            None where no batch could be used for that.
        of: the layers, dearest first.
    """

    left: float | None
    of: tuple[Swap, ...]


def swaps(observation: Observation, fits: Sequence[LayerFit]) -> Swaps:
    """What each of these layers costs, as far as batches may be used once more.

    The reference is the model in eval mode with the exact statistics of what each layer is given,
    not with batch statistics: those would take out in a later layer what an earlier one did. The
    layers that are furthest off come first.
    """
    exact = _exact(observation)
    order = sorted(fits, key=_distance, reverse=True)
    spare = max(observation.spare_batches - _FOR_OTHER_RULES, 1)
    each = min(_MOST_BATCHES, spare // (len(order) + 1)) or 1
    left = _gap_with(observation, exact, each)
    if left is None:
        return Swaps(None, ())
    done = []
    for fit in order[: spare // each - 1]:
        others = {norm: s for norm, s in exact.items() if norm is not observation.norms[fit.path]}
        gap = _gap_with(observation, others, each)
        if gap is not None:
            done.append(Swap(fit.path, _less(gap, left), gap.rows))
    done.sort(key=lambda swap: swap.cost, reverse=True)
    return Swaps(left.size, tuple(done))


def _exact(observation: Observation) -> Statistics:
    """Mean and population variance of what every batch norm is given."""
    statistics: Statistics = {}
    for path, sights in observation.batch_sights.of.items():
        norm = observation.norms.get(path)
        seen = [sight.moments for sight in sights if sight.moments is not None]
        if norm is not None and norm.running_mean is not None and seen:
            moments = merge_all(seen)
            like = norm.running_mean
            statistics[norm] = moments.mean.to(like), moments.population_variance.to(like)
    return statistics


def _distance(fit: LayerFit) -> float:
    worst = max(fit.shift, fit.spread)
    return math.inf if math.isnan(worst) else worst


def _less(gap: Gap, left: Gap) -> float:
    return gap.size - left.size if gap.finite else math.inf


def _gap_with(observation: Observation, statistics: Statistics, batches: int) -> Gap | None:
    """The gap in eval mode with these statistics, over some batches; None if none may be used."""
    answers: list[Outcome] = []
    references: list[Outcome] = []
    for _ in range(batches):
        batch = observation.spare()
        if batch is None or batch.by_batch is None:
            break
        answer = observation.again(batch, normalizing_by(statistics))
        if answer is not None:
            answers.append(answer)
            references.append(batch.by_batch)
    return gap_between(answers, references)


def sights_with_dropout(observation: Observation) -> Sights | None:
    """What norm layers are given with batch statistics and dropout on, for one spare batch.

    None if the model has no dropout that does anything, or no batch may be used.
    """
    dropouts = [
        module
        for module in observation.model.modules()
        if isinstance(module, nn.modules.dropout._DropoutNd) and module.p > 0  # noqa: SLF001
    ]
    batch = observation.spare() if dropouts else None
    if batch is None:
        return None
    seen = Sights()
    norms = list(observation.norms.values())
    observation.again(batch, _both(dropouts, normalizing_by_batch(norms)), seen)
    return seen


@contextmanager
def _both(dropouts: Sequence[nn.Module], mode: AbstractContextManager[None]) -> Iterator[None]:
    """Dropout on, inside another mode."""
    with mode:
        for module in dropouts:
            module.training = True
        try:
            yield
        finally:
            for module in dropouts:
                module.training = False
