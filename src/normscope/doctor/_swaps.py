"""What each layer's running statistics cost: swapped in one layer at a time."""

import math
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from normscope._errors import OwnModelError
from normscope.anatomy import normalizing_by, normalizing_by_batch
from normscope.doctor._gap import Gap, gap_between
from normscope.doctor._layer_fit import LayerFit
from normscope.doctor._observation import Observation
from normscope.doctor._sights import Sights
from normscope.stats import merge_all

if TYPE_CHECKING:
    from normscope.anatomy import Outcome

_MOST_BATCHES = 4
_FOR_OTHER_RULES = 3

Statistics = dict[_BatchNorm, tuple[Tensor, Tensor]]


@dataclass(frozen=True)
class Swap:
    """One layer, or a few, with running statistics, all others with exact ones.

    Attributes:
        paths: of the layers.
        cost: how much worse the answers are than where all have exact ones, as `Gap.size` is.
        rows: on how many rows.
    """

    paths: tuple[str, ...]
    cost: float
    rows: int


@dataclass(frozen=True)
class Swaps:
    """What statistics cost.

    Attributes:
        left: the gap that is left where every layer has the exact statistics of these batches;
            None where no batch could be used for that.
        of: single layers, and the group to which halving came, dearest first.
        batches: about how many would be needed to swap every layer by itself.
    """

    left: float | None
    of: tuple[Swap, ...]
    batches: int

    @property
    def alone(self) -> int:
        """How many layers were swapped by themselves."""
        return sum(len(swap.paths) == 1 for swap in self.of)


def swaps(observation: Observation, fits: Sequence[LayerFit], gap: float) -> Swaps:
    """What each of these layers costs, as far as batches may be used once more.

    The reference is the model in eval mode with the exact statistics of what each layer is given,
    not with batch statistics: those would take out in a later layer what an earlier one did. Each
    swap takes batches of its own, since none may pass a fourth time. Where there are fewer than
    layers, halves of them are swapped, and the half that costs more is halved again.

    Args:
        observation: the model at work.
        fits: of the layers.
        gap: how much worse the answers are with the running statistics of all.
    """
    exact = _exact(observation)
    order = sorted(fits, key=_distance, reverse=True)
    spare = observation.spare_batches
    usable = spare - min(_FOR_OTHER_RULES, spare // 2)
    needed = len(order) + 1 + min(_FOR_OTHER_RULES, len(order))
    batches = len(observation.batches) + max(needed - spare, 0)
    each = min(_MOST_BATCHES, usable // (len(order) + 1)) or 1
    left = _gap_with(observation, exact, each)
    if left is None:
        return Swaps(None, (), batches)
    bench = _Bench(observation, exact, left.size, each, usable // each - 1)
    if bench.swaps < len(order):
        done = _halved(bench, order, gap - left.size)
    else:
        done = [swap for fit in order if (swap := bench.swap([fit]))]
    done.sort(key=lambda swap: swap.cost, reverse=True)
    return Swaps(left.size, tuple(done), batches)


@dataclass
class _Bench:
    """Where layers are swapped, while batches last.

    Attributes:
        observation: the model at work.
        exact: the statistics of every layer.
        left: the gap with these.
        each: how many batches a swap takes.
        swaps: how many may still be made.
    """

    observation: Observation
    exact: Statistics
    left: float
    each: int
    swaps: int

    def swap(self, fits: Sequence[LayerFit]) -> Swap | None:
        """These layers with their running statistics; None if no batch is left for it."""
        if self.swaps < 1:
            return None
        self.swaps -= 1
        swapped = {self.observation.norms[fit.path] for fit in fits}
        others = {norm: each for norm, each in self.exact.items() if norm not in swapped}
        gap = _gap_with(self.observation, others, self.each)
        if gap is None:
            return None
        cost = gap.size - self.left if gap.finite else math.inf
        return Swap(tuple(fit.path for fit in fits), cost, gap.rows)


def _halved(bench: _Bench, order: Sequence[LayerFit], cost: float) -> list[Swap]:
    """The layer, or the few, to which halving comes, and others while batches last.

    Args:
        bench: for fewer swaps than there are layers.
        order: the layers.
        cost: of all together.
    """
    group, of_group = list(order), None
    while len(group) > 1 and bench.swaps > 1:  # the last is for a half that was not swapped itself
        half = group[: len(group) // 2]
        if (swap := bench.swap(half)) is None:
            return []
        if swap.cost >= cost / 2:
            group, of_group, cost = half, swap, swap.cost
        else:
            group, of_group, cost = group[len(half) :], None, cost - swap.cost
    done = [of_group or bench.swap(group)]
    done += [bench.swap([fit]) for fit in order if fit not in group]
    return [swap for swap in done if swap is not None]


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


def sights_in_training(observation: Observation, modules: Sequence[nn.Module]) -> Sights | None:
    """What norm layers are given with batch statistics and `modules` in training mode.

    For one spare batch. None if there are no such modules, no batch may be used, or the model
    raises so: in training it may want labels too.
    """
    batch = observation.spare() if modules else None
    if batch is None:
        return None
    seen = Sights()
    norms = list(observation.norms.values())
    try:
        observation.again(batch, _both(modules, normalizing_by_batch(norms)), seen)
    except OwnModelError:
        return None
    return seen


@contextmanager
def _both(modules: Sequence[nn.Module], mode: AbstractContextManager[None]) -> Iterator[None]:
    """These in training mode, inside another mode."""
    with mode:
        for module in modules:
            module.training = True
        try:
            yield
        finally:
            for module in modules:
                module.training = False
