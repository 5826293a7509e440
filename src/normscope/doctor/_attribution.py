"""Whom a train/eval gap is to be laid to: layers, causes, costs."""

from dataclasses import dataclass

from normscope.doctor._case import Case
from normscope.doctor._causes import Cause, cause_of
from normscope.doctor._freshness import is_fresh
from normscope.doctor._gap import Gap, gap_of
from normscope.doctor._layer_fit import LayerFit, layer_fits


@dataclass(frozen=True)
class Attribution:
    """What was measured of a model's running statistics on its data.

    Attributes:
        gap: how much worse answers are with running statistics; None where nothing is comparable.
        fits: of every batch norm that was called, in the order of the calls.
        off: those whose running statistics do not describe their input.
        cause: why; None where nothing is off and there is no gap.
        fresh: whether the model was just built.
    """

    gap: Gap | None
    fits: list[LayerFit]
    off: list[LayerFit]
    cause: Cause | None
    fresh: bool

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
    return Attribution(gap, fits, off, cause, is_fresh(case))
