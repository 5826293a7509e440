"""Whether a model was just built, or has just begun to train: training mends what is wrong then."""

from collections.abc import Collection

from torch import Tensor

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case

USUAL_MOMENTUM = 0.05
"""With less, statistics are slow: more training is not what they are in want of."""
_FEW_AVERAGES = 10
"""So many times 1 / momentum batches are the beginning of a training."""


def is_fresh(case: Case, paths: Collection[str] = ()) -> bool:
    """Whether batch norms look as they were built: one gamma, one beta, no statistics.

    Initializations give all channels of a layer the same gamma and the same beta; training does
    not.

    Args:
        case: with the model.
        paths: of which layers it is asked; by default of all.
    """
    return all(_is_fresh(case.batch_norms[path]) for path in paths or case.batch_norms)


def _is_fresh(norm: RunningNorm) -> bool:
    none = norm.mean is None or norm.variance is None
    without = none or norm.has_initial_statistics
    return without and is_constant(norm.gamma) and is_constant(norm.beta)


def is_constant(values: Tensor | None) -> bool:
    """Whether all are the same, or there are none."""
    return values is None or not values.numel() or bool((values == values.flatten()[0]).all())


def may_just_have_begun(case: Case, paths: Collection[str]) -> bool:
    """Whether these layers may be in the first batches of a training, as far as can be told.

    Recalibrations set counters to the number of their batches. Then a running variance may prove
    that it is not so: `RunningNorm.denies_its_counter`.

    Args:
        case: with the model.
        paths: of the batch norms that are called.
    """
    norms = [case.norms[path] for path in paths]
    return bool(norms) and case.training[""] and all(map(_is_young, norms))


def _is_young(norm: RunningNorm) -> bool:
    """Whether at most ten times 1 / momentum batches were counted, and nothing speaks against it.

    The weights may then move faster than the statistics follow.
    """
    momentum, batches = norm.momentum or 0.0, norm.batches_tracked or 0
    few = 0 < batches * momentum <= _FEW_AVERAGES
    return few and momentum >= USUAL_MOMENTUM and not norm.denies_its_counter
