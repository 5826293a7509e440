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
    none = norm.mean is None or norm.variance is None
    without = none or norm.has_initial_statistics
    return without and is_constant(norm.gamma) and is_constant(norm.beta)


def is_constant(values: Tensor | None) -> bool:
    """Whether all are the same, or there are none."""
    return values is None or not values.numel() or bool((values == values.flatten()[0]).all())
