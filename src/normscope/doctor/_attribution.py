"""Whom a train/eval gap is to be laid to: layers, causes, costs."""

from dataclasses import dataclass

import torch

from normscope.doctor._case import Case
from normscope.doctor._causes import Cause, cause_of
from normscope.doctor._freshness import is_fresh
from normscope.doctor._gap import Gap, gap_of
from normscope.doctor._layer_fit import LayerFit, layer_fits

_FIRST_STEPS, _LAG, _USUAL_MOMENTUM = 100, 0.7, 0.05
_BEYOND_GUESSING = 0.3


@dataclass(frozen=True)
class Attribution:
    """What was measured of a model's running statistics on its data.

    Attributes:
        gap: how much worse answers are with running statistics; None where nothing is comparable.
        fits: of every batch norm that was called, in the order of the calls.
        off: those whose running statistics do not describe their input.
        cause: why; None where nothing is off and there is no gap.
        passes: whether the training will mend it: what is off was just built, or lags behind as
            statistics do in the first steps.
    """

    gap: Gap | None
    fits: list[LayerFit]
    off: list[LayerFit]
    cause: Cause | None
    passes: bool

    @property
    def is_harm(self) -> bool:
        """Whether the gap is one."""
        return self.gap is not None and self.gap.is_harm


def attribution_of(case: Case) -> Attribution:
    """Measure; for `Case.once`."""
    gap, fits = gap_of(case.observation), layer_fits(case.observation)
    off = [fit for fit in fits if fit.is_off]
    suspicious = off or (gap is not None and gap.is_harm)
    cause = cause_of(case, fits) if suspicious else None
    passes = _is_new(case, gap, off) or _has_just_begun(case, off)
    return Attribution(gap, fits, off, cause, passes)


def _is_new(case: Case, gap: Gap | None, off: list[LayerFit]) -> bool:
    """Whether what is off was just built, and the model has not learned much either."""
    built = is_fresh(case, [fit.path for fit in off])
    if not built or len(off) < len(case.batch_norms) or gap is None or gap.measure != "accuracy":
        return built
    labels = [batch.classes for batch in case.observation.batches if batch.classes is not None]
    most = int(torch.cat(labels).unique(return_counts=True)[1].max()) if labels else 0
    return gap.by_batch < most / gap.rows + _BEYOND_GUESSING


def _has_just_begun(case: Case, off: list[LayerFit]) -> bool:
    """Whether the statistics lag behind as they do in the first steps of any training."""
    norms = case.batch_norms.values()
    lag = all(max(fit.shift, fit.spread) < _LAG for fit in off)
    return (
        lag
        and case.training[""]
        and all(
            norm.batches_tracked is not None
            and 0 < norm.batches_tracked < _FIRST_STEPS
            and (norm.momentum or 0.0) >= _USUAL_MOMENTUM
            for norm in norms
        )
    )
