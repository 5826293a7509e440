"""How many steps a run takes until it has reached the target, and what the target is."""

import math
from collections.abc import Sequence
from statistics import median

from normscope.records import StudyRun


def steps_to_target(run: StudyRun, target: float) -> int | None:
    """Steps before the validation from which the run is at `target` or above to its end.

    A validation that falls below the target takes back all that came before, so that a lucky
    moment does not count. The steps are those of a validation: the run may have been there up to
    one spacing of validations earlier.

    Args:
        run: a run that has ended.
        target: percent of the validation set; NaN where there is none.

    Returns:
        The steps, or None where the run never reaches and keeps it, or diverges.
    """
    reached = None
    for point in run.curve if run.status == "complete" else ():
        if not point.valid_accuracy >= target:  # so that NaN is below everything
            reached = None
        elif reached is None:
            reached = point.step
    return reached


def reference_target(ends: Sequence[float], valid_rows: int, guessing: float) -> float:
    """The target that the reference sets: where its runs end, within one standard error.

    The median over seeds of the validation accuracy at the end, less the binomial standard error
    of a share of so many rows. What a run *keeps* cannot be more than what it ends with, so a
    target at the best moments of the curves would be kept by few; and one at the median itself
    would be missed by half of the reference's own runs by definition. One standard error below,
    a network cannot be told from that median by the validation set (the 1-SE rule of Breiman,
    Friedman, Olshen and Stone, *Classification and Regression Trees*, 1984, chapter 3).

    Args:
        ends: of each of the reference's runs at its best rate, percent.
        valid_rows: that each of them was validated on.
        guessing: what a network reaches that has learned nothing, percent.

    Returns:
        Percent of the validation set; NaN where it would be no more than guessing.

    Example:
        >>> reference_target([90.0, 91.0, 89.5], valid_rows=900, guessing=10.0)
        89.0
        >>> reference_target([10.0, 10.0, 90.0], valid_rows=900, guessing=10.0)
        nan
    """
    end = median(ends)
    target = end - math.sqrt(end * (100 - end) / valid_rows)
    return target if target > guessing else math.nan
