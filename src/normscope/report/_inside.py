"""What was seen inside one network: distributions, statistics, answers, mistakes."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
from markupsafe import Markup

from normscope.records import Band, History, Inspection, LayerHistory, LayerStatistics
from normscope.report import _numbers as numbers
from normscope.report import _scales, _svg
from normscope.report._parts import (
    Confusion,
    Figure,
    Gallery,
    Key,
    Panel,
    Part,
    Table,
    Text,
    Thumbnail,
)
from normscope.report._words import Words

_MOST_CLASSES = 40
_COMMONEST = 6
_HEIGHT = 150


def inside(inspection: Inspection, classes: Sequence[str], say: Words) -> list[Part]:
    """Everything below the diagram that an inspection shows."""
    parts: list[Part] = []
    whole = inspection.knows_every_layer
    if not whole:
        parts.append(Text(say("own model" if inspection.layers else "own model without")))
    if inspection.layers:
        history = inspection.history
        drawn = history and history_figure(history, say, whole=whole)
        parts.append(drawn or Text(say("no history")))
        statistics = statistics_figure(inspection.layers, say, whole=whole)
        parts.append(statistics or Text(say("no running statistics")))
    parts.append(confusion(inspection.confusion, classes, say))
    if inspection.mistakes:
        parts.append(mistakes(inspection, classes, say))
    return parts


def layer_names(count: int, say: Words, *, whole: bool) -> list[str]:
    """Counted from 1. The last one of a `whole` network makes the logits."""
    numbers = range(1, count + 1)
    if not whole:
        return [say("batch norm n", number=number) for number in numbers]
    return [*(say("layer n", number=number) for number in numbers[:-1]), say("logits")]


def history_figure(history: History, say: Words, *, whole: bool) -> Figure:
    """Percentiles of s1 and s3 through training, layer by layer."""
    panels = []
    names = layer_names(len(history.layers), say, whole=whole)
    for name, layer in zip(names, history.layers, strict=True):
        low, high = _extent(layer)
        for stage in ("s1", "s3"):
            axis = say("root steps axis") if layer is history.layers[-1] else None
            drawn = _history_chart(history, layer, stage, (low, high), axis, say)
            panels.append(Panel(f"{name}, {stage}", drawn))
    return Figure(
        title=say("distributions"),
        caption=say("distributions caption", rows=f"{history.rows:,}"),
        panels=panels,
        keys=[Key(0, say("all units band"), "band"), Key(1, say("one unit"), "dashed")],
        tables=[_history_table(history, names, say)],
    )


def _extent(layer: LayerHistory) -> tuple[float, float]:
    """What both pictures of a layer have to hold: one scale for what is to be compared."""
    values = [
        value
        for bands in (layer.s1, layer.s3, layer.unit_s1, layer.unit_s3)
        for band in bands
        for value in (band.low, band.high)
        if math.isfinite(value)
    ]
    return (min(values), max(values)) if values else (-1.0, 1.0)


def _history_chart(
    history: History,
    layer: LayerHistory,
    stage: str,
    extent: tuple[float, float],
    axis: str | None,
    say: Words,
) -> Markup:
    pooled: Sequence[Band] = getattr(layer, stage)
    unit: Sequence[Band] = getattr(layer, f"unit_{stage}")
    x = alt.X(
        "step:Q",
        scale=alt.Scale(type="sqrt", domain=[0, max(history.steps[-1], 1)], nice=False),
        axis=alt.Axis(title=axis, tickCount=4, format=",d"),
    )
    scale = alt.Scale(domain=list(extent), nice=False, zero=False)
    y = _scales.Height(scale, alt.Axis(title=None, tickCount=5))
    of_all = _svg.chart(_band_rows(history.steps, pooled)).encode(x=x)
    of_one = _svg.chart(_band_rows(history.steps, unit)).encode(x=x)
    one, dashes = "var(--arm-2)", [4, 3]
    layers = [
        _svg.chart([{"zero": 0}]).mark_rule(color="var(--line)").encode(y=y("zero")),
        of_all.mark_area(color="var(--arm-1)", opacity=0.2).encode(y=y("low"), y2="high:Q"),
        of_all.mark_line(color="var(--arm-1)", strokeWidth=2).encode(y=y("middle")),
        of_one.mark_line(strokeWidth=1, color=one, strokeDash=dashes).encode(y=y("low")),
        of_one.mark_line(strokeWidth=1.75, color=one, strokeDash=dashes).encode(y=y("middle")),
        of_one.mark_line(strokeWidth=1, color=one, strokeDash=dashes).encode(y=y("high")),
    ]
    if not extent[0] <= 0 <= extent[1]:
        del layers[0]
    label = say("distribution label", stage=stage, unit=layer.unit + 1)
    return _svg.svg(
        alt.layer(*layers), label=label, width=_svg.NARROW, height=_HEIGHT + (18 if axis else 0)
    )


def _band_rows(steps: Sequence[int], bands: Sequence[Band]) -> list[dict[str, float]]:
    return [
        {"step": step, "low": band.low, "middle": band.middle, "high": band.high}
        for step, band in zip(steps, bands, strict=False)
        if all(map(math.isfinite, (band.low, band.middle, band.high)))
    ]


def _history_table(history: History, names: Sequence[str], say: Words) -> Table:
    """The beginning and the end of what is drawn, and every moment between."""
    rows = [
        [
            name,
            f"{step:,}",
            *(
                numbers.significant(value)
                for bands in (layer.s1, layer.s3, layer.unit_s1, layer.unit_s3)
                for value in (bands[moment].low, bands[moment].middle, bands[moment].high)
            ),
        ]
        for name, layer in zip(names, history.layers, strict=True)
        for moment, step in enumerate(history.steps)
    ]
    whose = (("all", "s1"), ("all", "s3"), ("unit", "s1"), ("unit", "s3"))
    percentiles = [
        say(f"{who} percentile", stage=stage, percentile=percentile)
        for who, stage in whose
        for percentile in (15, 50, 85)
    ]
    return Table(
        title=say("distributions table"),
        head=[say("layer"), say("step"), *percentiles],
        rows=rows,
    )


def statistics_figure(
    layers: Sequence[LayerStatistics], say: Words, *, whole: bool
) -> Figure | None:
    """Running against population statistics; None where nothing is tracked."""
    names = layer_names(len(layers), say, whole=whole)
    rows = [
        (name, *_gaps(layer))
        for name, layer in zip(names, layers, strict=True)
        if layer.running_mean and layer.population_mean
    ]
    if not rows:
        return None
    tracking = [name for name, _, _ in rows]
    means = [_spread(name, gaps) for name, gaps, _ in rows]
    ratios = [_spread(name, ratios) for name, _, ratios in rows]
    panels = [
        Panel(say("mean gap axis"), _spread_chart(tracking, means, say, 0.0)),
        Panel(say("deviation ratio axis"), _spread_chart(tracking, ratios, say, 1.0)),
    ]
    return Figure(
        title=say("running against population"),
        caption=say("running against population caption"),
        panels=panels,
        keys=[Key(0, say("half of the units"), "band"), Key(0, say("all units line"))],
        tables=[_statistics_table(means, ratios, say)],
    )


def _gaps(layer: LayerStatistics) -> tuple[list[float], list[float]]:
    """For every unit: the means' gap in population deviations; the ratio of the deviations."""
    units = zip(
        layer.running_mean,
        layer.running_variance,
        layer.population_mean,
        layer.population_variance,
        strict=True,
    )
    gaps, ratios = [], []
    for running, running_variance, population, population_variance in units:
        deviation = math.sqrt(max(population_variance, 0) + layer.eps)
        gaps.append((running - population) / deviation)
        ratios.append(math.sqrt(max(running_variance, 0) + layer.eps) / deviation)
    return gaps, ratios


def _spread(name: str, values: Sequence[float]) -> dict[str, Any]:
    """The least, the quartiles and the greatest of a layer's units, and the mean size."""
    ordered = sorted(value for value in values if math.isfinite(value)) or [math.nan]

    def at(share: float) -> float:
        place = share * (len(ordered) - 1)
        below = math.floor(place)
        above = min(below + 1, len(ordered) - 1)
        return ordered[below] + (place - below) * (ordered[above] - ordered[below])

    return {
        "layer": name,
        "least": at(0),
        "quarter": at(0.25),
        "middle": at(0.5),
        "three": at(0.75),
        "most": at(1),
        "size": sum(map(abs, ordered)) / len(ordered),
    }


def _spread_chart(
    names: Sequence[str], rows: Sequence[dict[str, Any]], say: Words, none: float
) -> Markup:
    ends = [row[key] for row in rows for key in ("least", "most")] + [none]
    log = none > 0
    if log:
        reach = max(0.05, *(abs(math.log(max(end, 1e-9))) for end in ends)) * 1.05
        domain = [math.exp(-reach), math.exp(reach)]
        values = _ratio_ticks(reach)
    else:
        reach = max(0.05, *map(abs, ends)) * 1.05
        domain, values = [-reach, reach], _scales.steps_between(-reach, reach)
    scale = alt.Scale(type="log" if log else "linear", domain=domain, nice=False)
    axis = alt.Axis(
        title=say("ratio title") if log else say("gap title"), values=values, format="~g"
    )
    y = alt.Y("layer:N", sort=list(names), title=None, axis=alt.Axis(minExtent=56))

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    drawn = _svg.chart(rows).encode(y=y)
    layers = [
        _svg.chart([{"none": none}]).mark_rule(color="var(--muted)").encode(x=x("none")),
        drawn.mark_rule(color="var(--arm-1)", strokeWidth=1.5).encode(x=x("least"), x2="most:Q"),
        drawn.mark_bar(color="var(--arm-1)", opacity=0.35, size=13).encode(
            x=x("quarter"), x2="three:Q"
        ),
        drawn.mark_tick(color="var(--arm-1)", thickness=2.5, size=15).encode(x=x("middle")),
    ]
    label = say("ratio label") if log else say("gap label")
    height = 46 + 30 * len(names)
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=height)


def _ratio_ticks(reach: float) -> list[float]:
    """Ratios that people think in, as many as there is room for."""
    for step in (0.05, 0.1, 0.2, 0.5):
        if reach <= 3.4 * math.log(1 + step):
            return [round(1 + number * step, 2) for number in range(-3, 4) if number * step > -1]
    powers = range(-math.floor(reach / math.log(2)), math.floor(reach / math.log(2)) + 1)
    return [2.0**power for power in powers][:: math.ceil(len(powers) / 7)]


def _statistics_table(
    means: Sequence[dict[str, Any]], ratios: Sequence[dict[str, Any]], say: Words
) -> Table:
    return Table(
        title=say("statistics table"),
        caption=say("statistics table caption"),
        head=[
            say("layer"),
            say("mean gap size"),
            say("largest gap"),
            say("median ratio"),
            say("least ratio"),
            say("greatest ratio"),
        ],
        rows=[
            [
                gap["layer"],
                numbers.number(gap["size"], 3),
                numbers.number(max(abs(gap["least"]), abs(gap["most"])), 3),
                numbers.number(ratio["middle"], 3),
                numbers.number(ratio["least"], 3),
                numbers.number(ratio["most"], 3),
            ]
            for gap, ratio in zip(means, ratios, strict=True)
        ],
        open=True,
    )


def confusion(counts: Sequence[Sequence[int]], classes: Sequence[str], say: Words) -> Confusion:
    """Which letters were taken for which."""
    pairs = sorted(
        (
            (-count, label, answer)
            for label, row in enumerate(counts)
            for answer, count in enumerate(row)
            if label != answer and count
        ),
    )[:_COMMONEST]
    return Confusion(
        title=say("confusion"),
        caption=say("confusion caption"),
        classes=classes,
        counts=counts,
        commonest=[(classes[label], classes[answer], -count) for count, label, answer in pairs],
        table=len(classes) <= _MOST_CLASSES,
    )


def mistakes(inspection: Inspection, classes: Sequence[str], say: Words) -> Gallery:
    """The letters that it got wrong, the surest first."""
    wrong = sum(
        count
        for label, row in enumerate(inspection.confusion)
        for answer, count in enumerate(row)
        if label != answer
    )
    shown = len(inspection.mistakes)
    key = "mistakes caption all" if wrong == shown else "mistakes caption"
    return Gallery(
        title=say("mistakes"),
        caption=say(key, wrong=f"{wrong:,}", shown=shown),
        thumbnails=[
            Thumbnail(
                image=mistake.image,
                row=say("test row", row=mistake.row),
                label=classes[mistake.label],
                answer=classes[mistake.answer],
                probability=say.percentage(100 * mistake.probability, 1),
                alternative=say(
                    "mistake", label=classes[mistake.label], answer=classes[mistake.answer]
                ),
            )
            for mistake in inspection.mistakes
        ],
    )
