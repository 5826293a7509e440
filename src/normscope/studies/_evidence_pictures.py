"""From a study's runs and the readings of probes to the figures that pictures are drawn from."""

import math
import statistics
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from normscope.probes import read_readings
from normscope.probes._landscape import MULTIPLES
from normscope.probes._safe_step import LENGTHS
from normscope.records import EvidenceTable, Reading, Study, StudyRun
from normscope.records._evidence_pictures import (
    ArmNumbers,
    EvidencePictures,
    LossCurve,
    SeedLine,
)
from normscope.studies._explanations import PROBED
from normscope.studies._readings_of import READINGS, ReadingOf, wanted_readings
from normscope.studies._seed_numbers import SeedNumbers

_Line = Literal["gradient", "step", "far"]
_Over = Literal["steps", "layers"]

_DIGITS = 5
_LINES: tuple[tuple[_Line, str, str, Sequence[float]], ...] = (
    ("gradient", "landscape", "gradient-loss", MULTIPLES),
    ("step", "landscape", "step-loss", MULTIPLES),
    ("far", "safe-step", "relative-loss", LENGTHS),
)
_AT_EVERY_RATE = ("angle",)
"""Of the other quantities, the runs are shown at the rate that is best without a norm: there the
predictions ask for them."""

_Seeds = Sequence[tuple[StudyRun, Sequence[Reading]]]
_Values = Mapping[float, Sequence[float]]


def save_evidence_pictures(study: Study, table: EvidenceTable, out: Path) -> None:
    """Write what pictures of the evidence are drawn from, beside it.

    Args:
        study: complete and analysed.
        table: the evidence that follows from it.
        out: the study's folder, with the readings of its runs.

    Raises:
        RunFolderError: if a run's readings are damaged.
        OSError: if the disk refuses.
    """
    readings = {run.folder: read_readings(out / run.folder) for run in study.runs}
    evidence_pictures(study, {arm.key: arm.name for arm in table.arms}, readings).save(out)


def evidence_pictures(
    study: Study, arms: Mapping[str, str], readings: Mapping[str, Sequence[Reading]]
) -> EvidencePictures:
    """What pictures of a study's evidence show.

    Args:
        study: complete and analysed.
        arms: for each key of `ARMS` that was trained, the study's name of the arm.
        readings: of every run that has any, by its folder.
    """
    assert study.analysis, "a complete study is analysed"
    lines, curves = list[SeedLine](), list[LossCurve]()
    best = study.analysis.best_learning_rates[arms["none"]]
    for key in PROBED:
        for rate in study.design.learning_rates if key in arms else ():
            runs = [
                (run, readings.get(run.folder, ()))
                for run in study.runs
                if (run.arm, run.learning_rate, run.status) == (arms[key], rate, "complete")
            ]
            names = [name for name in READINGS if rate == best or name in _AT_EVERY_RATE]
            for name in names:
                lines += _lines(name, key, rate, runs)
            if rate == best:
                curves += _curves(key, runs)
    return EvidencePictures(
        lines=tuple(lines), curves=tuple(curves), numbers=tuple(_numbers(study, arms))
    )


def _lines(name: str, arm: str, rate: float, runs: _Seeds) -> Iterator[SeedLine]:
    """A quantity over the steps, and over the layers where there are several."""
    wanted = READINGS[name]
    seeds = [_of_run(read, wanted) for _, read in runs]
    steps = _joined([_medians(each, by_layer=False) for each in seeds])
    layers = _joined([_medians(each, by_layer=True) for each in seeds])
    if len(steps) > 1:
        yield _line(name, "steps", arm, rate, steps)
    if len(layers) > 1:
        yield _line(name, "layers", arm, rate, layers)


def _of_run(read: Sequence[Reading], wanted: ReadingOf) -> list[tuple[float, float, float]]:
    """Step, layer and value of what is wanted, at all steps where the end alone is asked for.

    Where the last hidden layer alone is asked for, those before it are there as well.
    """
    if wanted.when == "end":
        wanted = replace(wanted, when="all")
    if wanted.layers == "last hidden":
        wanted = replace(wanted, layers="hidden")
    layers: dict[str, float] = {}
    ours = [each for each in read if each.probe == wanted.probe]
    for each in ours:
        if each.quantity in wanted.quantities:
            layers.setdefault(each.layer, len(layers) + 1.0)
    return [
        (float(each.step), layers[each.layer], each.value)
        for each in wanted_readings(ours, wanted)
        if each.value is not None and math.isfinite(each.value)
    ]


def _medians(read: Sequence[tuple[float, float, float]], *, by_layer: bool) -> dict[float, float]:
    """Of one run: the median over the layers at every step, or over the steps in every layer."""
    there: dict[float, list[float]] = defaultdict(list)
    for step, layer, value in read:
        there[layer if by_layer else step].append(value)
    return {at: statistics.median(values) for at, values in there.items()}


def _joined(seeds: Sequence[Mapping[float, float]]) -> _Values:
    """What the seeds have at each place, in order."""
    places = sorted({at for each in seeds for at in each})
    return {at: [each[at] for each in seeds if at in each] for at in places}


def _line(name: str, over: _Over, arm: str, rate: float, values: _Values) -> SeedLine:
    return SeedLine(
        quantity=name,
        over=over,
        arm=arm,
        learning_rate=rate,
        at=tuple(values),
        low=_rounded([min(each) for each in values.values()]),
        middle=_rounded([statistics.median(each) for each in values.values()]),
        high=_rounded([max(each) for each in values.values()]),
    )


def _curves(arm: str, runs: _Seeds) -> Iterator[LossCurve]:
    """The losses of the first seed that has any."""
    for run, read in runs:
        found = [
            LossCurve(
                line=line,
                arm=arm,
                learning_rate=run.learning_rate,
                seed=run.seed,
                step=each.step,
                at=_rounded(grid),
                loss=_rounded(each.values),
            )
            for line, probe, quantity, grid in _LINES
            for each in read
            if (each.probe, each.quantity, len(each.values)) == (probe, quantity, len(grid))
        ]
        if found:
            yield from found
            return


def _numbers(study: Study, arms: Mapping[str, str]) -> Iterator[ArmNumbers]:
    """Every arm at every rate."""
    assert study.analysis, "a complete study is analysed"
    seeds = [SeedNumbers(study, seed, arms, {}) for seed in study.design.seeds]
    settings = {arm.name: arm.settings for arm in study.design.arms}
    for key, name in arms.items():
        best = study.analysis.best_learning_rates[name]
        for rate in study.design.learning_rates:
            yield ArmNumbers(
                arm=key,
                learning_rate=rate,
                best=rate == best,
                rows=settings[name].get("ghost_size") or study.design.recipe.batch_size,
                learned=_rounded([seed.learned(key, rate) for seed in seeds]),
                early=_rounded([seed.early(key) for seed in seeds] if rate == best else []),
                ended=_rounded([seed.ended(key, rate) for seed in seeds]),
            )


def _rounded(values: Sequence[float]) -> tuple[float, ...]:
    return tuple(float(f"{value:.{_DIGITS}g}") for value in values)
