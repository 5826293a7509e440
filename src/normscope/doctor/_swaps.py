"""What each layer's running statistics cost: swapped in one layer at a time."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import nn

from normscope.anatomy import normalizing_by_batch
from normscope.doctor._gap import gap_between
from normscope.doctor._layer_fit import LayerFit
from normscope.doctor._observation import Observation
from normscope.doctor._sights import Sights

if TYPE_CHECKING:
    from normscope.doctor._scores import Outcome

_MOST_BATCHES = 4


@dataclass(frozen=True)
class Swap:
    """One layer alone with running statistics, all others with those of the batch.

    Attributes:
        path: of the layer.
        cost: how much worse the answers are, as `Gap.size` is.
        rows: on how many rows.
    """

    path: str
    cost: float
    rows: int


def swaps(observation: Observation, fits: Sequence[LayerFit]) -> list[Swap]:
    """What each of these layers costs, dearest first, as far as batches may be used once more.

    The layers that are furthest off come first.
    """
    order = sorted(fits, key=_distance, reverse=True)
    each = min(_MOST_BATCHES, observation.spare_batches // max(len(order), 1)) or 1
    done = [swap for fit in order if (swap := _swap(observation, fit.path, each))]
    return sorted(done, key=lambda swap: swap.cost, reverse=True)


def _distance(fit: LayerFit) -> float:
    worst = max(fit.shift, fit.spread)
    return math.inf if math.isnan(worst) else worst


def _swap(observation: Observation, path: str, batches: int) -> Swap | None:
    """One layer's, over some batches; None if none may be used."""
    others = [norm for other, norm in observation.norms.items() if other != path]
    swapped: list[Outcome] = []
    references: list[Outcome] = []
    for _ in range(batches):
        batch = observation.spare()
        if batch is None or batch.by_batch is None:
            break
        answer = observation.again(batch, normalizing_by_batch(others))
        if answer is not None:
            swapped.append(answer)
            references.append(batch.by_batch)
    gap = gap_between(swapped, references)
    if gap is None:
        return None
    return Swap(path, gap.size if gap.finite else math.inf, gap.rows)


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
