"""Whom a train/eval gap is to be laid to: layers, causes, costs."""

from dataclasses import dataclass

import torch

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._causes import (
    MUCH_OF_THE_START,
    Cause,
    cause_of,
    wrong_without_the_start,
)
from normscope.doctor._counted import percent
from normscope.doctor._freshness import is_fresh
from normscope.doctor._gap import Gap, gap_of
from normscope.doctor._layer_fit import LayerFit, layer_fits

_USUAL_MOMENTUM = 0.05
_EXPLAINED = 0.9
"""With the start's share taken out, what is wrong is that much of what it was, or less."""
_BEYOND_GUESSING = 0.3


@dataclass(frozen=True)
class Attribution:
    """What was measured of a model's running statistics on its data.

    Attributes:
        gap: how much worse answers are with running statistics; None where nothing is comparable.
        fits: of every batch norm that was called, in the order of the calls.
        off: those whose running statistics do not describe their input.
        cause: why; None where nothing is off and there is no gap.
        passes: why the training will mend it, in a sentence: what is off was just built, or still
            holds some of what it was built with. Empty if it will not.
    """

    gap: Gap | None
    fits: list[LayerFit]
    off: list[LayerFit]
    cause: Cause | None
    passes: str

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
    return Attribution(gap, fits, off, cause, _why_it_passes(case, gap, off))


def _why_it_passes(case: Case, gap: Gap | None, off: list[LayerFit]) -> str:
    if _is_new(case, gap, off):
        return "The model was just built: its training will collect statistics."
    if _has_just_begun(case, off):
        most = max(case.norms[fit.path].initial_share for fit in off)
        return (
            f"Its training has just begun: the initial mean 0 and variance 1, of which up to "
            f"{percent(most)} are left in the statistics, are what is wrong with them, and every "
            "training batch takes from that."
        )
    return ""


def _is_new(case: Case, gap: Gap | None, off: list[LayerFit]) -> bool:
    """Whether what is off was just built, and the model has not learned much either."""
    built = is_fresh(case, [fit.path for fit in off])
    if not built or len(off) < len(case.batch_norms) or gap is None or gap.measure != "accuracy":
        return built
    labels = [batch.classes for batch in case.observation.batches if batch.classes is not None]
    most = int(torch.cat(labels).unique(return_counts=True)[1].max()) if labels else 0
    return gap.by_batch < most / gap.rows + _BEYOND_GUESSING


def _has_just_begun(case: Case, off: list[LayerFit]) -> bool:
    """Whether what is wrong is what is left of the start, as in the first steps of any training.

    A counter alone does not say so: recalibrations set it to the number of their batches.
    """
    return (
        bool(off)
        and case.training[""]
        and all(_is_of_the_start(case, case.norms[fit.path]) for fit in off)
    )


def _is_of_the_start(case: Case, norm: RunningNorm) -> bool:
    if norm.initial_share < MUCH_OF_THE_START or (norm.momentum or 0.0) < _USUAL_MOMENTUM:
        return False
    return wrong_without_the_start(norm, case.observation.batch_sights.of[norm.path]) < _EXPLAINED
