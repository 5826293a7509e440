"""Accuracy over the learning rate, arm by arm: the picture that says most about a study."""

import math
from itertools import pairwise

import altair as alt
from markupsafe import Markup

from normscope.records import Cell, Study
from normscope.report import _numbers as numbers
from normscope.report import _scales, _svg
from normscope.report._parts import Figure, Key, Panel, Table
from normscope.report._words import Words

_APART = 15
"""At most so many pixels lie between two arms at one rate; runs stand half as far beside."""
_FILLED = 0.5
"""The part of the way from one rate to the next that the arms may take."""


def sweep(study: Study, say: Words) -> Figure:
    """Test accuracy over learning rate per arm: mean, interval, and every run as a point."""
    assert study.analysis is not None
    arms = [arm.name for arm in study.design.arms]
    wide = _drawn(study, say, _svg.WIDE, 400)
    narrow = _drawn(study, say, _svg.NARROW, 330)
    keys = [Key(number, name) for number, name in enumerate(arms)]
    keys.append(Key(5, say("each run"), "dot"))
    keys.append(Key(5, say("arm's own best rate"), "hollow"))
    return Figure(
        title=say("accuracy over rate"),
        caption=say("accuracy over rate caption", confidence=say.share(study.design.confidence)),
        panels=[Panel(say("test accuracy axis"), wide, narrow)],
        keys=keys,
        tables=[cells_table(study, say)],
        columns=1,
    )


def _drawn(study: Study, say: Words, width: int, height: int) -> Markup:
    apart = _apart(study, width)
    means, points, guess = _rows(study, apart)
    count = len(study.design.arms)
    errors = [row[key] for row in means for key in ("error", "worse", "better")]
    errors += [row["error"] for row in points]
    y = _scales.accuracy(errors)
    x = _scales.learning_rate(study.design.learning_rates, say("learning rate axis"))
    base = _svg.chart(means).encode(x=x, y=y("error"), color=_svg.coloured(count))
    layers = [
        _svg.chart(points)
        .mark_point(filled=True, size=16, opacity=0.45)
        .encode(x=x, y=y("error"), color=_svg.coloured(count), shape=_svg.shaped(count)),
        base.mark_rule(strokeWidth=1.5).encode(y=y("worse"), y2="better:Q"),
        base.mark_line(strokeWidth=2.25).encode(strokeDash=_svg.dashed(count)),
        base.mark_point(filled=True, size=70, opacity=1).encode(shape=_svg.shaped(count)),
        _svg.chart([row for row in means if row["best"]])
        .mark_point(filled=False, size=320, strokeWidth=1.5, shape="circle")
        .encode(x=x, y=y("error"), color=_svg.coloured(count)),
    ]
    if max(errors) > guess * 0.9:
        rule = _svg.chart([{"error": guess}]).mark_rule(strokeDash=[2, 3], color="var(--muted)")
        layers.insert(0, rule.encode(y=y("error")))
    label = say("accuracy over rate label", arms=count)
    return _svg.svg(alt.layer(*layers), label=label, width=width, height=height)


def _apart(study: Study, width: int) -> float:
    """The ratio of rates that two arms at one rate are drawn apart: each has its own line there."""
    rates = sorted(study.design.learning_rates)
    low, high = _scales.rates_shown(rates)
    pixels = 0.9 * width / math.log(high / low)
    nearest = min((math.log(b / a) for a, b in pairwise(rates)), default=math.log(high / low))
    room = _FILLED * nearest * pixels / len(study.design.arms)
    return math.exp(min(_APART, room) / pixels)


def _rows(
    study: Study, apart: float
) -> tuple[list[dict[str, float]], list[dict[str, float]], float]:
    """The cells' means, the runs, and the error of guessing."""
    assert study.analysis is not None
    least = 50 / study.data.test_rows  # half a row wrong: no error has no logarithm
    guess = 100 - 100 / len(study.data.classes)
    names = [arm.name for arm in study.design.arms]
    best = study.analysis.best_learning_rates

    def error(accuracy: float) -> float:
        return min(100.0, max(least, 100 - accuracy))

    def beside(arm: int, rate: float, *, run: bool = False) -> float:
        return float(rate * apart ** (arm - (len(names) - 1) / 2 - run / 2))

    means = []
    for cell in study.analysis.cells:
        arm, accuracy = names.index(cell.arm), cell.test_accuracy
        ends = [accuracy.low, accuracy.high]
        worse, better = (accuracy.value if math.isnan(end) else end for end in ends)
        means.append(
            {
                "arm": arm,
                "rate": beside(arm, cell.learning_rate),
                "error": error(accuracy.value),
                "worse": error(worse),
                "better": error(better),
                "best": cell.learning_rate == best.get(cell.arm),
            }
        )
    points = [
        {
            "arm": names.index(run.arm),
            "rate": beside(names.index(run.arm), run.learning_rate, run=True),
            "error": error(run.test.running.accuracy) if run.test else guess,
        }
        for run in study.runs
    ]
    return means, points, guess


def cells_table(study: Study, say: Words) -> Table:
    """Every arm at every rate."""
    assert study.analysis is not None
    return Table(
        title=say("cells table", confidence=say.share(study.design.confidence)),
        head=[
            say("arm"),
            say("learning rate"),
            say("runs"),
            say("diverged"),
            say("test accuracy"),
            say("interval"),
            say("validation accuracy"),
        ],
        rows=[_cell_row(cell, study, say) for cell in study.analysis.cells],
    )


def _cell_row(cell: Cell, study: Study, say: Words) -> list[str]:
    assert study.analysis is not None
    best = study.analysis.best_learning_rates.get(cell.arm) == cell.learning_rate
    return [
        cell.arm,
        numbers.rate(cell.learning_rate) + (f" ({say('own best')})" if best else ""),
        str(cell.n),
        str(cell.diverged),
        say.percentage(cell.test_accuracy.value),
        numbers.interval(cell.test_accuracy),
        say.percentage(cell.valid_accuracy),
    ]
