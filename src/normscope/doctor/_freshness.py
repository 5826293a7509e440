"""Whether a model was just built: what is wrong with it then, training will mend."""

from collections.abc import Collection

from torch import Tensor

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case


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
    mean, variance = norm.mean, norm.variance
    collected = mean is not None and variance is not None and not _as_built(mean, variance)
    return not collected and is_constant(norm.gamma) and is_constant(norm.beta)


def _as_built(mean: Tensor, variance: Tensor) -> bool:
    return bool((mean == 0).all() & (variance == 1).all())


def is_constant(values: Tensor | None) -> bool:
    """Whether all are the same, or there are none."""
    return values is None or not values.numel() or bool((values == values.flatten()[0]).all())
