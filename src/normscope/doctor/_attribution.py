"""Whom a train/eval gap is to be laid to: layers, causes, costs."""

from dataclasses import dataclass

import torch

from normscope.anatomy import RunningNorm
from normscope.doctor._case import Case
from normscope.doctor._causes import Cause, cause_of
from normscope.doctor._counted import percent
from normscope.doctor._freshness import USUAL_MOMENTUM, is_fresh, may_just_have_begun
from normscope.doctor._gap import Gap, gap_of
from normscope.doctor._layer_fit import LayerFit, layer_fits
from normscope.doctor._without_start import MUCH_OF_THE_START, WithoutStart

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
        lags: why small deviations in all layers are to be expected, in a sentence; else empty.
    """

    gap: Gap | None
    fits: list[LayerFit]
    off: list[LayerFit]
    cause: Cause | None
    passes: str
    lags: str = ""

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
    return Attribution(
        gap, fits, off, cause, _why_it_passes(case, gap, off), _why_all_lag(case, fits)
    )


def _why_it_passes(case: Case, gap: Gap | None, off: list[LayerFit]) -> str:
    if _is_new(case, gap, off):
        return "The model was just built: its training will collect statistics."
    if _is_of_the_start(case, off):
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


def _is_of_the_start(case: Case, off: list[LayerFit]) -> bool:
    """Whether what is wrong is what is left of the start, as in the first steps of any training.

    A counter alone does not say so: recalibrations set it to the number of their batches.
    """
    norms = [case.norms[fit.path] for fit in off]
    if not off or not case.training[""] or not all(map(_keeps_the_start, norms)):
        return False
    sights = case.observation.batch_sights.of
    found = [WithoutStart.of(norm, sights[norm.path]) for norm in norms]
    return all(without is not None and without.is_the_start for without in found)


def _keeps_the_start(norm: RunningNorm) -> bool:
    return (norm.momentum or 0.0) >= USUAL_MOMENTUM and norm.initial_share >= MUCH_OF_THE_START


def _why_all_lag(case: Case, fits: list[LayerFit]) -> str:
    paths = [fit.path for fit in fits]
    if not may_just_have_begun(case, paths):
        return ""
    most = max(case.norms[path].batches_tracked or 0 for path in paths)
    return (
        f"Few batches were counted (at most {most}): if the training has just begun, that is to be "
        "expected, as the weights move faster than the running statistics follow."
    )
