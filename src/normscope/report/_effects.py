"""Steps to the target, run by run; differences in accuracy, seed by seed; and what follows."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal

import altair as alt
from markupsafe import Markup

from normscope.records import Comparison, McNemar, Study, StudyRun
from normscope.report import _numbers as numbers
from normscope.report import _scales, _svg
from normscope.report._parts import Figure, Key, Panel, Table
from normscope.report._verdict_words import factor
from normscope.report._words import Words

Measure = Literal["test-accuracy", "steps-to-target"]

_NEVER = 1.06
"""Where a run that never arrives is drawn, in multiples of the steps that it had."""


def steps_figure(study: Study, say: Words) -> Figure:
    """The steps that every run needed to reach the target and keep it."""
    assert study.analysis is not None
    rows, last = _steps_rows(study)
    keys = [Key(number, arm.name, "point") for number, arm in enumerate(study.design.arms)]
    keys.append(Key(5, say("never key", steps=f"{last:,}"), "hollow"))
    target = say.percentage(study.analysis.target)
    reference = study.design.reference
    which = say(f"target {study.analysis.target_is}", target=target, reference=reference)
    return Figure(
        title=say("steps to target"),
        caption=f"{which} {say('steps caption')}",
        panels=[
            Panel(
                say("by learning rate axis"),
                _steps_chart(study, rows, last, say, _svg.WIDE),
                _steps_chart(study, rows, last, say, _svg.NARROW),
            )
        ],
        keys=keys,
        tables=[_steps_table(study, say)],
        columns=1,
    )


def _steps_rows(study: Study) -> tuple[list[dict[str, Any]], int]:
    """Every run's steps, and the most steps that any run had."""
    assert study.analysis is not None
    names = [arm.name for arm in study.design.arms]
    epochs = {arm.name: study.design.epochs_of(arm) for arm in study.design.arms}
    last = max([run.steps_per_epoch * epochs[run.arm] for run in study.runs], default=1)
    rows = [
        {
            "arm": names.index(cell.arm),
            "rate": numbers.rate(cell.learning_rate),
            "step": last * _NEVER if steps is None else steps,
            "never": steps is None,
        }
        for cell in study.analysis.cells
        for steps in cell.steps
    ]
    return rows, last


def _steps_chart(
    study: Study, rows: Sequence[dict[str, Any]], last: int, say: Words, width: int
) -> Markup:
    count = len(study.design.arms)
    order = [numbers.rate(rate) for rate in study.design.learning_rates]
    scale = alt.Scale(domain=[0, last * (2 * _NEVER - 1)], nice=False)
    ticks = [tick for tick in _round_steps(last) if tick <= last]
    axis = alt.Axis(values=ticks, format=",d", title=say("steps axis"))
    rows_apart = alt.Axis(grid=True, tickBand="extent")
    y = alt.Y("rate:O", sort=order, title=None, axis=rows_apart)
    offset = alt.YOffset("arm:N", scale=alt.Scale(domain=list(range(count)), paddingOuter=0.3))
    layers: list[alt.Chart] = [
        _svg.chart([{"step": last}])
        .mark_rule(strokeDash=[2, 3], color="var(--muted)")
        .encode(x=alt.X("step:Q", scale=scale, axis=axis))
    ]
    for never in (False, True):
        some = [row for row in rows if row["never"] is never]
        if some:
            mark = _svg.chart(some).mark_point(
                filled=not never, size=64, opacity=0.9 if never else 0.7, strokeWidth=1.5
            )
            layers.append(
                mark.encode(
                    x=alt.X("step:Q", scale=scale, axis=axis),
                    y=y,
                    yOffset=offset,
                    color=_svg.coloured(count),
                    shape=_svg.shaped(count),
                )
            )
    never = _svg.chart(_never_counts(rows)).mark_text(align="left", dx=9, fontSize=12)
    layers.append(
        never.encode(
            x=alt.X("step:Q", scale=scale, axis=axis),
            y=y,
            yOffset=offset,
            text="count:N",
            color=alt.value("var(--muted)"),
        )
    )
    height = 46 + len(order) * (22 * count + 14)
    return _svg.svg(alt.layer(*layers), label=say("steps label"), width=width, height=height)


def _never_counts(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """How many runs lie on one another at the right."""
    never = [(row["arm"], row["rate"], row["step"]) for row in rows if row["never"]]
    return [
        {"arm": arm, "rate": rate, "step": step, "count": f"× {count}"}
        for (arm, rate, step), count in Counter(never).items()
        if count > 1
    ]


def _round_steps(last: int) -> list[float]:
    size = 10.0 ** math.floor(math.log10(max(last, 10)))
    step = next(size * factor for factor in (0.2, 0.5, 1, 2) if last / (size * factor) <= 5)
    return [number * step for number in range(math.floor(last / step) + 1)]


def _steps_table(study: Study, say: Words) -> Table:
    assert study.analysis is not None
    seeds = [say("seed n", seed=seed) for seed in study.design.seeds]
    rows = [
        [
            cell.arm,
            numbers.rate(cell.learning_rate),
            *(say("never") if steps is None else f"{steps:,}" for steps in cell.steps),
        ]
        for cell in study.analysis.cells
    ]
    return Table(
        title=say("steps table"), head=[say("arm"), say("learning rate"), *seeds], rows=rows
    )


def differences_figure(study: Study, say: Words) -> Figure | None:
    """Test accuracy, the arm minus the reference, for every seed; None with nothing to compare."""
    assert study.analysis is not None
    wanted = _by(study, "test-accuracy")
    own = [comparison for comparison in wanted if comparison.question != "equal-rate"]
    equal = [comparison for comparison in wanted if comparison.question == "equal-rate"]
    panels = [
        Panel(say(title), _differences_chart(study, some, say))
        for title, some in (("at own best", own), ("at equal rates", equal))
        if some
    ]
    if not panels:
        return None
    others = [
        (number, arm.name)
        for number, arm in enumerate(study.design.arms)
        if any(arm.name == comparison.arm for comparison in wanted)
    ]
    keys = [Key(number, name, "point") for number, name in others]
    return Figure(
        title=say("paired differences"),
        caption=say("paired differences caption", reference=study.design.reference)
        + (say("differences scales") if len(panels) > 1 else ""),
        panels=panels,
        keys=[*keys, Key(5, say("each seed"), "tick")],
        tables=[_differences_table(study, wanted, say)],
    )


def _differences_chart(study: Study, comparisons: Sequence[Comparison], say: Words) -> Markup:
    means, points = _difference_rows(study, comparisons, say)
    count = len(study.design.arms)
    rows = list(dict.fromkeys(row["row"] for row in means))
    widest = max(_width_of(row) for row in rows)
    values = [row[key] for row in means for key in ("low", "high")]
    values += [row["value"] for row in points]
    x = _scales.differences(values, (say("points axis"), say("log points axis")))
    y = alt.Y("row:N", sort=rows, title=None, axis=alt.Axis(minExtent=widest, grid=False))
    arms = sorted({row["arm"] for row in means})
    offset = alt.YOffset("arm:N", scale=alt.Scale(domain=arms, paddingOuter=0.3))
    base = _svg.chart(means).encode(x=x, y=y, yOffset=offset, color=_svg.coloured(count))
    layers = [
        _svg.chart([{"value": 0}]).mark_rule(color="var(--muted)").encode(x=x),
        _svg.chart(points)
        .mark_tick(thickness=1.5, size=11, opacity=0.7)
        .encode(x=x, y=y, yOffset=offset, color=_svg.coloured(count)),
        base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q"),
        base.mark_point(filled=True, size=80, opacity=1).encode(shape=_svg.shaped(count)),
    ]
    height = 46 + len(rows) * (18 * len(arms) + 20)
    label = say("differences label")
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=height)


def _difference_rows(
    study: Study, comparisons: Sequence[Comparison], say: Words
) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """The means with their intervals, and each seed's difference."""
    names = [arm.name for arm in study.design.arms]
    means: list[dict[str, Any]] = []
    points: list[dict[str, Any]] = []
    for comparison in comparisons:
        place: dict[str, Any] = {
            "arm": names.index(comparison.arm),
            "row": numbers.rate(comparison.learning_rate)
            if comparison.question == "equal-rate"
            else say(f"row {comparison.question}"),
        }
        effect = comparison.effect
        if math.isfinite(effect.value):
            ends = {"low": effect.low, "high": effect.high}
            finite = {k: v if math.isfinite(v) else effect.value for k, v in ends.items()}
            means.append(place | {"value": effect.value} | finite)
        points += [place | {"value": value} for _, value in _seed_differences(study, comparison)]
    return means, points


def _seed_differences(study: Study, comparison: Comparison) -> list[tuple[int, float]]:
    """For every seed that both cells have: the arm's test accuracy minus the other's."""
    ones = _of_cell(study, comparison.arm, comparison.learning_rate)
    others = _of_cell(study, comparison.other, comparison.other_learning_rate)
    return [
        (seed, ones[seed] - others[seed])
        for seed in study.design.seeds
        if seed in ones and seed in others
    ]


def _of_cell(study: Study, arm: str, rate: float) -> dict[int, float]:
    """Test accuracy by seed; a run that diverged has the accuracy of guessing."""
    guess = 100 / len(study.data.classes)
    return {
        run.seed: run.test.running.accuracy if run.test else guess
        for run in study.runs
        if (run.arm, run.learning_rate) == (arm, rate)
    }


def _width_of(text: str) -> int:
    """About how many pixels a label takes; vl-convert may lack the typeface that has it."""
    return sum(12 if ord(letter) > 0x2E80 else 7 for letter in text) + 8


def _differences_table(study: Study, comparisons: Sequence[Comparison], say: Words) -> Table:
    rows = []
    for comparison in comparisons:
        by_seed = dict(_seed_differences(study, comparison))
        rows.append(
            [
                say(f"question {comparison.question}"),
                *_sides(comparison),
                *(numbers.signed(by_seed[s]) if s in by_seed else "–" for s in study.design.seeds),
            ]
        )
    seeds = [say("seed n", seed=seed) for seed in study.design.seeds]
    return Table(
        title=say("differences table"),
        head=[say("question"), say("arm"), say("compared with"), *seeds],
        rows=rows,
        text=frozenset({1, 2}),
    )


def _sides(comparison: Comparison) -> tuple[str, str]:
    return (
        f"{comparison.arm}, {numbers.rate(comparison.learning_rate)}",
        f"{comparison.other}, {numbers.rate(comparison.other_learning_rate)}",
    )


def comparisons_table(study: Study, measure: Measure, say: Words) -> Table | None:
    """Every comparison by this measure, question by question; None where there is none."""
    found = _by(study, measure)
    rows: list[list[str]] = []
    for question in dict.fromkeys(one.question for one in found):
        rows.append([say(f"question {question}")])
        rows += [_comparison_row(one, say) for one in found if one.question == question]
    by_steps = measure == "steps-to-target"
    head = [
        say("arm"),
        say("compared with"),
        say("ratio") if by_steps else say("difference"),
        say("interval"),
        say("holm p"),
        say("conclusion"),
        *([say("never reached")] if by_steps else []),
        "n",
    ]
    if not found:
        return None
    return Table(
        title=say(f"{measure} table"),
        caption=say(f"{measure} caption", confidence=say.share(study.design.confidence)),
        head=head,
        rows=rows,
        open=True,
        text=frozenset({1, 5}),
    )


def _by(study: Study, measure: Measure) -> list[Comparison]:
    """The comparisons by a measure; with one learning rate, equal rates are everybody's best."""
    assert study.analysis is not None
    rates = len(study.design.learning_rates)
    found = [one for one in study.analysis.comparisons if one.measure == measure]
    return [one for one in found if rates > 1 or one.question != "equal-rate"]


def _comparison_row(comparison: Comparison, say: Words) -> list[str]:
    effect, by_steps = comparison.effect, comparison.measure == "steps-to-target"
    found = comparison.conclusion
    shown = (numbers.signed(effect.value), numbers.interval(effect))
    return [
        *_sides(comparison),
        *(_ratio(comparison) if by_steps else shown),
        numbers.p_value(comparison.p_holm),
        say(f"steps {found}" if by_steps else f"accuracy {found}"),
        *(["{} : {}".format(*comparison.censored)] if by_steps else []),
        str(effect.n),
    ]


def _ratio(comparison: Comparison) -> tuple[str, str]:
    """How many times the steps, and its interval: a bound where runs of one side never arrive.

    Where none of either side does, all steps were counted on both, and nothing was compared.
    """
    (ours, theirs), effect = comparison.censored, comparison.effect
    if ours == theirs == effect.n:
        return numbers.number(math.nan), numbers.number(math.nan)
    value, interval = factor(effect.value), numbers.interval(effect, factor)
    if bool(ours) == bool(theirs):
        return f"× {value}", interval
    one_ended = effect.n > 1
    if ours:
        return f"≥ {value}", f"≥ {factor(effect.low)}" if one_ended else interval
    return f"≤ {value}", f"≤ {factor(effect.high)}" if one_ended else interval


def mcnemar_table(study: Study, say: Words) -> Table | None:
    """Single runs on the same test rows; None where there are several seeds."""
    if study.analysis is None or not study.analysis.mcnemar:
        return None
    return Table(
        title=say("mcnemar table"),
        caption=say("mcnemar caption", rows=f"{study.data.test_rows:,}"),
        head=[
            say("arm"),
            say("compared with"),
            say("only arm right"),
            say("only other right"),
            say("difference"),
            say("interval"),
            "p",
        ],
        rows=[_mcnemar_row(test) for test in study.analysis.mcnemar],
        open=True,
        text=frozenset({1}),
    )


def _mcnemar_row(test: McNemar) -> list[str]:
    ours, theirs = (numbers.rate(rate) for rate in test.learning_rates)
    return [
        f"{test.arm}, {ours}",
        f"{test.other}, {theirs}",
        str(test.only_arm),
        str(test.only_other),
        numbers.signed(test.difference.value),
        numbers.interval(test.difference),
        numbers.p_value(test.p),
    ]


def runs_table(study: Study, say: Words) -> Table:
    """Every run: its raw figures."""
    return Table(
        title=say("runs table"),
        head=[
            say("arm"),
            say("learning rate"),
            say("seed"),
            say("status"),
            say("test accuracy"),
            say("test loss"),
            say("population accuracy"),
            say("batch accuracy"),
        ],
        rows=[_run_row(run, say) for run in study.runs],
        text=frozenset({3}),
    )


def _run_row(run: StudyRun, say: Words) -> list[str]:
    figures = ["–"] * 4
    if run.test:
        figures = [
            say.percentage(run.test.running.accuracy),
            numbers.number(run.test.running.loss, 4),
            say.percentage(run.test.population.accuracy),
            say.percentage(run.test.batch.accuracy),
        ]
    return [
        run.arm,
        numbers.rate(run.learning_rate),
        str(run.seed),
        say(f"status {run.status}"),
        *figures,
    ]
