"""Learning curves: of one run epoch by epoch, of a study's runs as a middle and a band."""

import itertools
import math
import statistics
from collections.abc import Sequence
from typing import Any

import altair as alt
from markupsafe import Markup

from normscope.records import CurvePoint, EpochRecord, Run, Study, StudyRun
from normscope.report import _numbers as numbers
from normscope.report import _scales, _svg
from normscope.report._parts import Figure, Key, Panel, Table
from normscope.report._words import Words

_MOST_POINTS = 100
_ROUND = (1, 2, 5, 10, 20, 50)
_HEIGHT = 250


def run_curves(run: Run, say: Words) -> Figure:
    """Loss and accuracy, train and validation, over the epochs."""
    kinds = (("train", say("training")), ("valid", say("validation")))
    keys = [Key(number, name) for number, (_, name) in enumerate(kinds)]
    loss = [
        {"arm": number, "epoch": record.epoch, "value": getattr(record, f"{kind}_loss")}
        for number, (kind, _) in enumerate(kinds)
        for record in run.epochs
        if math.isfinite(getattr(record, f"{kind}_loss"))
    ]
    accuracy = [
        {
            "arm": number,
            "epoch": record.epoch,
            "error": _error(getattr(record, f"{kind}_accuracy"), run.data.valid_rows),
        }
        for number, (kind, _) in enumerate(kinds)
        for record in run.epochs
    ]
    panels = [Panel(say("accuracy axis"), _epochs_chart(accuracy, say, "error"))]
    if loss:
        panels.append(Panel(say("loss axis"), _epochs_chart(loss, say, "value")))
    return Figure(
        title=say("learning curves"),
        caption=say("run curves caption"),
        panels=panels,
        keys=keys,
        tables=[_epochs_table(run.epochs, say)],
    )


def _epochs_chart(rows: Sequence[dict[str, Any]], say: Words, field: str) -> Markup:
    if field == "error":
        y, label = _scales.accuracy([row[field] for row in rows]), say("accuracy curve label")
    else:
        axis = alt.Axis(title=None, tickCount=5)
        y, label = _scales.Height(alt.Scale(zero=True), axis), say("loss curve label")
    last = max(row["epoch"] for row in rows)
    x = alt.X(
        "epoch:Q",
        scale=alt.Scale(domain=[min(1, last - 1), last], nice=False),
        axis=alt.Axis(title=say("epoch axis"), values=_whole_epochs(last), format="d"),
    )
    drawn = _svg.chart(rows).encode(x=x, y=y(field), color=_svg.coloured(2))
    line = drawn.mark_line(strokeWidth=2).encode(strokeDash=_svg.dashed(2))
    layers = [line]
    if last <= 30:  # points say that there is nothing between the epochs
        layers.append(
            drawn.mark_point(filled=True, size=22, opacity=1).encode(shape=_svg.shaped(2))
        )
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=_HEIGHT)


def _whole_epochs(last: int) -> list[int]:
    """At most six of them, with round distances, and the first one."""
    size = 10 ** max(0, len(str(last)) - 2)
    apart = next(n * size for n in itertools.count(1) if last / (n * size) <= 5 and n in _ROUND)
    return [1, *range(apart, last + 1, apart)] if apart > 1 else list(range(1, last + 1))


def _epochs_table(epochs: Sequence[EpochRecord], say: Words) -> Table:
    return Table(
        title=say("epochs table"),
        head=[
            say("epoch"),
            say("training loss"),
            say("training accuracy"),
            say("validation loss"),
            say("validation accuracy"),
            say("learning rate"),
            say("seconds"),
        ],
        rows=[
            [
                str(record.epoch),
                numbers.number(record.train_loss, 4),
                say.percentage(record.train_accuracy),
                numbers.number(record.valid_loss, 4),
                say.percentage(record.valid_accuracy),
                numbers.significant(record.learning_rate),
                numbers.number(record.seconds, 1),
            ]
            for record in epochs
        ],
    )


def study_curves(study: Study, say: Words) -> Figure:
    """Validation over steps, each arm at its own best rate: median and range over the seeds."""
    assert study.analysis is not None
    best = study.analysis.best_learning_rates
    bands = _bands(study, best)
    target = study.analysis.target
    panels = [
        Panel(say("validation accuracy axis"), _bands_chart(study, bands, say, "error")),
        Panel(say("validation loss axis"), _bands_chart(study, bands, say, "loss")),
    ]
    keys = [
        Key(number, f"{arm.name}, {numbers.rate(best[arm.name])}")
        for number, arm in enumerate(study.design.arms)
    ]
    keys.append(Key(5, say("band key"), "band"))
    if math.isfinite(target):
        keys.append(Key(5, say("target key", target=say.percentage(target)), "dashed"))
    return Figure(
        title=say("learning curves"),
        caption=say("study curves caption"),
        panels=panels,
        keys=keys,
        tables=[_bands_table(study, bands, say)],
    )


def rate_curves(study: Study, say: Words) -> Figure:
    """The same at each learning rate, all arms at the same one."""
    panels = []
    for rate in study.design.learning_rates:
        bands = _bands(study, {arm.name: rate for arm in study.design.arms})
        if bands:
            title = say("at rate", rate=numbers.rate(rate))
            panels.append(Panel(title, _bands_chart(study, bands, say, "error", height=190)))
    keys = [Key(number, arm.name) for number, arm in enumerate(study.design.arms)]
    return Figure(
        title=say("curves at each rate"),
        caption=say("curves at each rate caption"),
        panels=panels,
        keys=keys,
    )


def _bands(study: Study, rates: dict[str, float]) -> list[dict[str, Any]]:
    """Per arm and step: median, least and greatest over the seeds.

    A run that diverged has the accuracy of guessing from where its curve ends, and no loss.
    """
    rows = []
    for number, arm in enumerate(study.design.arms):
        runs = [
            run
            for run in study.runs
            if (run.arm, run.learning_rate) == (arm.name, rates.get(arm.name)) and run.curve
        ]
        curves = [(run, {point.step: point for point in run.curve}) for run in runs]
        steps = sorted({step for _, points in curves for step in points})
        for step in _thinned(steps):
            rows.append({"arm": number, "step": step, **_over_seeds(study, curves, step)})
    return rows


def _over_seeds(
    study: Study, curves: Sequence[tuple[StudyRun, dict[int, CurvePoint]]], step: int
) -> dict[str, float]:
    accuracies, losses = [], []
    for run, points in curves:
        if step in points:
            accuracies.append(points[step].valid_accuracy)
            losses.append(points[step].valid_loss)
        elif run.status == "diverged":
            accuracies.append(100 / len(study.data.classes))
    errors = [_error(accuracy, study.data.valid_rows) for accuracy in accuracies]
    losses = [loss for loss in losses if math.isfinite(loss)]
    return _middle(errors, "error") | _middle(losses, "loss")


def _middle(values: Sequence[float], name: str) -> dict[str, float]:
    if not values:
        return {}
    return {
        name: statistics.median(values),
        f"{name}_low": min(values),
        f"{name}_high": max(values),
    }


def _thinned(steps: Sequence[int]) -> Sequence[int]:
    """No more points than a picture can show; the last one stays."""
    every = math.ceil(len(steps) / _MOST_POINTS) or 1
    return steps[::-1][::every][::-1]


def _bands_chart(
    study: Study, rows: Sequence[dict[str, Any]], say: Words, field: str, *, height: int = _HEIGHT
) -> Markup:
    rows = [row for row in rows if field in row]
    count = len(study.design.arms)
    x = _scales.steps(max(row["step"] for row in rows), say("steps axis"))
    target = _target(study) if field == "error" else []
    if field == "error":
        errors = [row[key] for row in [*rows, *target] for key in ("error_low", "error_high")]
        y, label = _scales.accuracy(errors), say("study accuracy curve label")
    else:
        y = _scales.Height(alt.Scale(zero=False), alt.Axis(title=None, tickCount=5))
        label = say("study loss curve label")
    drawn = _svg.chart(rows).encode(x=x, color=_svg.coloured(count))
    band = drawn.mark_area(opacity=0.16).encode(y=y(f"{field}_low"), y2=f"{field}_high:Q")
    line = drawn.mark_line(strokeWidth=2).encode(y=y(field), strokeDash=_svg.dashed(count))
    layers = [band, line]
    if target:
        rule = _svg.chart(target).mark_rule(strokeDash=[5, 4], color="var(--muted)")
        layers.append(rule.encode(y=y(field)))
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=height)


def _target(study: Study) -> list[dict[str, float]]:
    """The target as a row to draw, if there is one."""
    if study.analysis is None or not math.isfinite(study.analysis.target):
        return []
    error = _error(study.analysis.target, study.data.valid_rows)
    return [dict.fromkeys(("error", "error_low", "error_high"), error)]


def _bands_table(study: Study, rows: Sequence[dict[str, Any]], say: Words) -> Table:
    names = [arm.name for arm in study.design.arms]

    def accuracy(row: dict[str, Any], key: str) -> str:
        return say.percentage(100 - row[key]) if key in row else "–"

    def loss(row: dict[str, Any], key: str) -> str:
        return numbers.number(row[key], 4) if key in row else "–"

    return Table(
        title=say("curves table"),
        head=[
            say("arm"),
            say("step"),
            say("median accuracy"),
            say("lowest"),
            say("highest"),
            say("median loss"),
            say("lowest"),
            say("highest"),
        ],
        rows=[
            [
                names[row["arm"]],
                f"{row['step']:,}",
                accuracy(row, "error"),
                accuracy(row, "error_high"),
                accuracy(row, "error_low"),
                loss(row, "loss"),
                loss(row, "loss_low"),
                loss(row, "loss_high"),
            ]
            for row in rows
        ],
    )


def _error(accuracy: float, rows: int) -> float:
    """Percent wrong; at least half a row, whose logarithm exists."""
    return max(50 / rows, 100 - accuracy) if math.isfinite(accuracy) else 100.0
