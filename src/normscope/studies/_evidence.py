"""From a study's runs and the readings of probes to a row for every prediction."""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from normscope.records import Estimate, Reading, Study
from normscope.records._evidence import EvidenceRow, Judgement, PremiseChecked, SeedValue
from normscope.studies._explanations import (
    PREDICTIONS,
    Prediction,
    Region,
    Scale,
    arms_named,
    premise,
)
from normscope.studies._intervals import holm, mean_interval, ratio_interval
from normscope.studies._seed_numbers import SeedNumbers

_Interval = tuple[Estimate, float]

FEWEST = 3
"""Seeds below which nothing is decided: that an interval covers is then a matter of form."""


def judged(
    study: Study, arms: Mapping[str, str], readings: Mapping[str, Sequence[Reading]]
) -> tuple[EvidenceRow, ...]:
    """Every prediction held against a study, by the rule of `docs/explain.md`.

    Args:
        study: complete and analysed.
        arms: for each key of `ARMS` that was trained, the study's name of the arm.
        readings: of every run that has any, by its folder.
    """
    seeds = [SeedNumbers(study, seed, arms, readings) for seed in study.design.seeds]
    drafts = [_draft(each, seeds) for each in PREDICTIONS]
    confidence = study.design.confidence
    could = [number for number, draft in enumerate(drafts) if not draft.why]
    adjusted = dict(zip(could, holm([drafts[number].p for number in could]), strict=True))
    return tuple(
        _row(draft, adjusted.get(number, 1.0), confidence) for number, draft in enumerate(drafts)
    )


class _Draft(NamedTuple):
    """A row before Holm."""

    prediction: Prediction
    values: tuple[SeedValue, ...]
    effect: Estimate
    p: float
    would_be: Judgement
    premises: tuple[PremiseChecked, ...]
    why: str


def _draft(each: Prediction, seeds: Sequence[SeedNumbers]) -> _Draft:
    """What one prediction comes to by itself."""
    values = tuple(
        SeedValue(seed=seed.seed, value=value)
        for seed in seeds
        if math.isfinite(value := each.x(seed))
    )
    numbers = [value.value for value in values]
    measure = _Measure.of(seeds[0].study, each.scale)
    premises = tuple(_checked(key, seeds) for key in each.premises)
    effect, _ = measure.interval(numbers)
    would_be, p = _judged(each, numbers, effect, measure)
    why = _hindrance(each, seeds, len(numbers), premises)
    return _Draft(each, values, effect, p, would_be, premises, why)


def _row(draft: _Draft, p_holm: float, confidence: float) -> EvidenceRow:
    """What may be said, now that all p are known."""
    each, why, judgement = draft.prediction, draft.why, draft.would_be
    if not why and judgement == "not decided":
        why = _between(each, draft.effect)
    if not why and p_holm > 1 - confidence:
        why = f"the interval alone says {judgement}, but not after Holm's procedure over all rows"
    return EvidenceRow(
        key=each.key,
        explanation=each.explanation,
        source=each.source,
        prediction=each.says,
        formula=each.formula,
        scale=each.scale,
        predicted=(each.predicted.low, each.predicted.high),
        against=(each.against.low, each.against.high),
        values=draft.values,
        effect=draft.effect,
        p=draft.p,
        p_holm=p_holm,
        judgement="not decided" if why else judgement,
        why=why,
        premises=draft.premises,
    )


def _between(each: Prediction, effect: Estimate) -> str:
    """Why an interval decides nothing, as a clause: it lies across a threshold, or in a gap."""
    bounds = (each.predicted.low, each.predicted.high, each.against.low, each.against.high)
    if any(effect.low <= bound <= effect.high for bound in bounds):
        return "the interval reaches across a threshold"
    return "the interval lies where x is neither as predicted nor against it"


def _hindrance(
    each: Prediction, seeds: Sequence[SeedNumbers], n: int, premises: Sequence[PremiseChecked]
) -> str:
    """Why a prediction cannot be judged here, as a clause; nothing where it can."""
    missing = [arm for arm in each.arms if arm not in seeds[0].arms]
    if missing:
        return f"left out: {', '.join(arm.words for arm in arms_named(missing))}"
    if n == 0:
        return "what it is about was not read, or not at enough learning rates"
    if n < FEWEST:
        return f"{n} seed{'s' * (n > 1)} of {len(seeds)}; at least {FEWEST} have to have a number"
    failed = next((checked for checked in premises if not checked.holds), None)
    return premise(failed.key).words if failed else ""


def _checked(key: str, seeds: Sequence[SeedNumbers]) -> PremiseChecked:
    """Whether a premise holds over the seeds that have its number."""
    known = premise(key)
    numbers = [number for seed in seeds if math.isfinite(number := known.x(seed))]
    effect, _ = _Measure.of(seeds[0].study, known.scale).interval(numbers)
    holds = len(numbers) >= FEWEST and effect.low > 0
    return PremiseChecked(key=key, formula=known.formula, effect=effect, holds=holds)


class _Measure(NamedTuple):
    """How numbers of one scale are averaged."""

    scale: Scale
    confidence: float
    resolution: float
    """What the rounding of a number brings: an accuracy is a share of whole rows."""

    @classmethod
    def of(cls, study: Study, scale: Scale) -> "_Measure":
        rounding = 100 / study.data.test_rows / math.sqrt(6) if scale == "points" else 0.0
        return cls(scale, study.design.confidence, rounding)

    def interval(self, numbers: Sequence[float], threshold: float = math.nan) -> _Interval:
        """The mean with its interval, and the p of a true mean at the threshold.

        Without a threshold, of a difference of 0 or a ratio of 1.
        """
        if self.scale == "ratio":
            at = threshold if math.isfinite(threshold) else 1.0
            return ratio_interval([math.log(x / at) for x in numbers], self.confidence)
        at = threshold if math.isfinite(threshold) else 0.0
        return mean_interval([x - at for x in numbers], self.confidence, resolution=self.resolution)


def _judged(
    each: Prediction, numbers: Sequence[float], effect: Estimate, measure: _Measure
) -> tuple[Judgement, float]:
    """Which region the interval lies in, and the p of the region that the mean lies in."""
    regions: dict[Judgement, Region] = {"survives": each.predicted, "contradicted": each.against}
    for judgement, region in regions.items():
        if effect.value in region:
            bounds = filter(math.isfinite, (region.low, region.high))
            p = max(measure.interval(numbers, bound)[1] for bound in bounds)
            inside = effect.low >= region.low and effect.high <= region.high
            return (judgement if inside else "not decided"), p
    return "not decided", 1.0
