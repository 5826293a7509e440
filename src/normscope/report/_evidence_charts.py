"""Pictures of evidence: a figure between its thresholds, arms side by side, lines, moments."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import altair as alt
from markupsafe import Markup

from normscope.records import Band, EvidenceRow
from normscope.report import _scales, _svg

_Row = Mapping[str, float]

_STRIP, _LANE, _LINES, _MOMENT = 84, 24, 190, 170
_MARGIN = 0.08
_FEW_TICKS = 5


def strip(row: EvidenceRow, label: str) -> Markup | None:
    """The interval between the thresholds, and every seed below it; None where there is nothing.

    What is as predicted is tinted and has a whole edge, what is against it a dashed one.
    """
    effect, ratio = row.effect, row.scale == "ratio"
    seeds = [one.value for one in row.values if math.isfinite(one.value)]
    ends = [end for end in (effect.low, effect.high, effect.value) if math.isfinite(end)]
    if not seeds or (ratio and min(seeds) <= 0):
        return None
    bounds = [b for b in (*row.predicted, *row.against) if math.isfinite(b)]
    low, high = _domain([*seeds, *ends, *bounds, 1.0 if ratio else 0.0], log=ratio)
    scale = alt.Scale(type="log" if ratio else "linear", domain=[low, high], nice=False)
    axis = alt.Axis(title=None, **_ticks(low, high, log=ratio))
    y = alt.Y("y:Q", scale=alt.Scale(domain=[0, 1]), axis=None)

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def shown(rows: Sequence[_Row]) -> alt.Chart:
        return _svg.chart(rows).encode(x=x("x"), y=y)

    layers: list[alt.Chart] = []
    for region, name, dash in ((row.predicted, "ok", [1, 0]), (row.against, "bad", [4, 3])):
        start, end = max(low, region[0]), min(high, region[1])
        colour, edges = f"var(--{name})", [b for b in region if math.isfinite(b)]
        tint = _svg.chart([{"x": start, "end": end}]).mark_rect(color=colour, opacity=0.13)
        layers.append(tint.encode(x=x("x"), x2="end:Q"))
        edge = _svg.chart([{"x": bound} for bound in edges])
        layers.append(edge.mark_rule(color=colour, strokeDash=dash, strokeWidth=1.5).encode(x("x")))
    if math.isfinite(effect.low) and math.isfinite(effect.high):
        around = [{"x": effect.low, "end": effect.high, "y": 0.66}]
        line = shown(around).mark_rule(color="var(--ink)", strokeWidth=2.5)
        layers.append(line.encode(x2="end:Q"))
    middle = shown([{"x": effect.value, "y": 0.66}])
    layers.append(middle.mark_point(filled=True, size=90, opacity=1, color="var(--ink)"))
    ticks = shown([{"x": seed, "y": 0.22} for seed in seeds])
    layers.append(ticks.mark_tick(color="var(--muted)", thickness=1.5, size=12))
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=_STRIP)


def _domain(values: Sequence[float], *, log: bool) -> tuple[float, float]:
    """What holds all of them, with a margin."""
    low, high = min(values), max(values)
    if log:
        margin = _MARGIN * math.log(high / low) or 0.1
        return low * math.exp(-margin), high * math.exp(margin)
    margin = _MARGIN * (high - low) or 1.0
    return low - margin, high + margin


def _ticks(low: float, high: float, *, log: bool) -> dict[str, Any]:
    """Few enough that no label lies on another."""
    if not log:
        return {"tickCount": _FEW_TICKS, "format": "~r"}
    wide = math.log10(high / low)
    if wide > 2:
        every = math.ceil(wide / _FEW_TICKS)
        values = [10.0**p for p in range(math.ceil(math.log10(low)), 20, every)]
    else:
        steps = (1, 2, 5) if wide > 0.7 else (1, 1.2, 1.5, 2, 3, 5, 7)
        values = [d * 10.0**p for p in range(-9, 10) for d in steps]
    values = [value for value in values if low <= value <= high]
    if len(values) < 2:
        values = _scales.steps_between(low, high)
    return {"values": values, "format": "~g"}


def side_by_side(
    lanes: Sequence[tuple[str, int, Sequence[float]]], halfway: float | None, label: str
) -> Markup:
    """What every seed of some arms comes to: a lane for each, in percent.

    Args:
        lanes: the lane's name, its style, and the seeds' numbers.
        halfway: where a rule says what half of the gain is.
        label: for a screen reader.
    """
    rows: list[dict[str, Any]] = [
        {"lane": name, "arm": style, "value": value}
        for name, style, values in lanes
        for value in values
        if math.isfinite(value)
    ]
    means = [
        {"lane": name, "arm": style, "value": math.fsum(known) / len(known)}
        for name, style, values in lanes
        if (known := [value for value in values if math.isfinite(value)])
    ]
    all_of = [row["value"] for row in rows] + ([halfway] if halfway is not None else [])
    low, high = _domain(all_of, log=False)
    scale = alt.Scale(domain=[low, high], nice=False)
    x = alt.X("value:Q", scale=scale, axis=alt.Axis(title="%", tickCount=_FEW_TICKS, format="~r"))
    names = [name for name, _, _ in lanes]
    y = alt.Y("lane:N", sort=names, title=None, axis=alt.Axis(labelLimit=140))
    layers = []
    if halfway is not None:
        rule = _svg.chart([{"value": halfway}]).mark_rule(strokeDash=[4, 3], color="var(--muted)")
        layers.append(rule.encode(x=x))
    seeds, middles = (_svg.chart(some).encode(x=x, y=y) for some in (rows, means))
    count = 1 + max(style for _, style, _ in lanes)
    colour = _svg.coloured(count)
    layers.append(
        seeds.mark_tick(thickness=1.5, size=14, opacity=0.75).encode(color=colour),
    )
    layers.append(middles.mark_point(filled=True, size=90, opacity=1).encode(color=colour))
    height = 46 + _LANE * len(lanes)
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=height)


def lines(
    rows: Sequence[_Row],
    label: str,
    *,
    over: Literal["steps", "layers", "parts"],
    axis: str,
    log: bool = True,
    extent: tuple[float, float] | None = None,
    rules: Sequence[float] = (),
) -> Markup:
    """Lines over steps or layers, of the median over seeds, with a band from low to high.

    Args:
        rows: with fields ``arm``, ``at``, ``low``, ``middle`` and ``high``.
        label: for a screen reader.
        over: what ``at`` counts.
        axis: what it is called.
        log: whether heights are logarithms.
        extent: what the heights have to hold, where pictures share it.
        rules: heights to compare with.
    """
    extent = extent or extent_of(rows, rules)
    log = log and extent[0] > 0
    low, high = _domain(extent, log=log)
    scale = alt.Scale(type="log" if log else "linear", domain=[low, high], nice=False)
    y = _scales.Height(scale, alt.Axis(title=None, **_ticks(low, high, log=log)))
    count = 1 + int(max(row["arm"] for row in rows))
    drawn = _svg.chart(rows).encode(x=_places(rows, over, axis), color=_svg.coloured(count))
    band = drawn.mark_area(opacity=0.16).encode(y=y("low"), y2="high:Q")
    line = drawn.mark_line(strokeWidth=2).encode(y=y("middle"), strokeDash=_svg.dashed(count))
    points = drawn.mark_point(filled=True, size=45, opacity=1).encode(
        y=y("middle"), shape=_svg.shaped(count)
    )
    rule = _svg.chart([{"rule": value} for value in rules])
    under = rule.mark_rule(strokeDash=[4, 3], color="var(--muted)").encode(y=y("rule"))
    layers = [*([under] if rules else []), band, line, points]
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=_LINES)


def extent_of(rows: Sequence[_Row], rules: Sequence[float] = ()) -> tuple[float, float]:
    """The lowest and the highest that are drawn."""
    values = [row[name] for row in rows for name in ("low", "high")]
    return min([*values, *rules]), max([*values, *rules])


def _places(rows: Sequence[_Row], over: str, axis: str) -> alt.X:
    """Steps from 0; layers and parts one by one."""
    last = max(row["at"] for row in rows)
    if over == "steps":
        ticks = alt.Axis(title=axis, tickCount=4, format="~s" if last >= 1e5 else ",d")
        return alt.X("at:Q", scale=alt.Scale(domain=[0, last], nice=False), axis=ticks)
    whole = sorted({row["at"] for row in rows})
    space = alt.Scale(domain=[whole[0] - 0.3, whole[-1] + 0.3], nice=False)
    labels = (
        "datum.value == 0 ? '1' : '1/' + format(pow(2, datum.value), '.3~g')"
        if over == "parts"
        else alt.Undefined
    )
    ticks = alt.Axis(
        title=axis, values=whole, format="d", labelExpr=labels, labelOverlap=over != "parts"
    )
    return alt.X("at:Q", scale=space, axis=ticks)


def over_rates(rows: Sequence[_Row], seeds: Sequence[_Row], label: str, axis: str) -> Markup:
    """Accuracy over the learning rate: the mean as a line, every seed as a point.

    Args:
        rows: with fields ``arm``, ``rate`` and ``error``, one for every arm and rate.
        seeds: the same of every seed.
        label: for a screen reader.
        axis: what the rates are called.
    """
    count = 1 + int(max(row["arm"] for row in rows))
    y = _scales.accuracy([row["error"] for row in [*rows, *seeds]])
    x = _scales.learning_rate(sorted({row["rate"] for row in rows}), axis)

    def drawn(some: Sequence[_Row]) -> alt.Chart:
        return _svg.chart(some).encode(x=x, y=y("error"), color=_svg.coloured(count))

    points = drawn(seeds).mark_point(filled=True, size=16, opacity=0.45)
    line = drawn(rows).mark_line(strokeWidth=2.25).encode(strokeDash=_svg.dashed(count))
    means = drawn(rows).mark_point(filled=True, size=70, opacity=1).encode(shape=_svg.shaped(count))
    return _svg.svg(alt.layer(points, line, means), label=label, width=_svg.NARROW, height=210)


def band_over_steps(
    steps: Sequence[int], bands: Sequence[Band], style: int, label: str, axis: str | None
) -> Markup:
    """Percentiles through training, on a square-root scale of steps."""
    rows = [
        {"step": step, "low": band.low, "middle": band.middle, "high": band.high}
        for step, band in zip(steps, bands, strict=False)
        if all(map(math.isfinite, (band.low, band.middle, band.high)))
    ]
    x = alt.X(
        "step:Q",
        scale=alt.Scale(type="sqrt", domain=[0, max(steps[-1], 1)], nice=False),
        axis=alt.Axis(title=axis, tickCount=4, format=",d"),
    )
    y = _scales.Height(alt.Scale(zero=False, nice=False), alt.Axis(title=None, tickCount=4))
    drawn, colour = _svg.chart(rows).encode(x=x), _svg.colour(style)
    band = drawn.mark_area(color=colour, opacity=0.2).encode(y=y("low"), y2="high:Q")
    line = drawn.mark_line(color=colour, strokeWidth=2).encode(y=y("middle"))
    height = 130 + (18 if axis else 0)
    return _svg.svg(alt.layer(band, line), label=label, width=_svg.NARROW, height=height)


def layers_now(
    now: Sequence[Band],
    first: Sequence[Band],
    names: Sequence[str],
    extent: tuple[float, float],
    style: int,
    label: str,
) -> Markup:
    """Every layer's percentiles at one moment, over the faint ones that it began with."""
    scale = alt.Scale(domain=list(_domain(extent, log=False)), nice=False)
    axis = alt.Axis(title=None, tickCount=_FEW_TICKS, format="~r")
    y = alt.Y("layer:N", sort=list(names), title=None, axis=alt.Axis(labelLimit=140, minExtent=44))

    def x(field: str) -> alt.X:
        return alt.X(f"{field}:Q", scale=scale, axis=axis)

    def drawn(bands: Sequence[Band]) -> alt.Chart:
        rows = [
            {"layer": name, "low": band.low, "middle": band.middle, "high": band.high}
            for name, band in zip(names, bands, strict=True)
            if all(map(math.isfinite, (band.low, band.middle, band.high)))
        ]
        return _svg.chart(rows).encode(y=y)

    colour = _svg.colour(style)
    layers = [
        _svg.chart([{"zero": 0}]).mark_rule(color="var(--line)").encode(x=x("zero")),
        drawn(first)
        .mark_bar(color="var(--muted)", opacity=0.25, size=15)
        .encode(x("low"), x2="high:Q"),
        drawn(now).mark_bar(color=colour, opacity=0.45, size=9).encode(x("low"), x2="high:Q"),
        drawn(now).mark_tick(color=colour, thickness=2.5, size=13).encode(x("middle")),
    ]
    if not extent[0] <= 0 <= extent[1]:
        del layers[0]
    height = 40 + 24 * len(names)
    return _svg.svg(alt.layer(*layers), label=label, width=_svg.NARROW, height=height)


def along_a_line(
    rows: Sequence[_Row],
    extent: tuple[tuple[float, float], tuple[float, float]],
    label: str,
    axis: str,
    ticks: Sequence[float],
) -> Markup:
    """The loss along a line, at one moment: a curve for each arm, on logarithmic axes.

    Args:
        rows: with fields ``arm``, ``at`` and ``loss``.
        extent: what the axes hold at every moment, across and up.
        label: for a screen reader.
        axis: what the distance is called.
        ticks: distances to say.
    """
    across, (low, high) = extent[0], _domain(extent[1], log=True)
    x = alt.X(
        "at:Q",
        scale=alt.Scale(type="log", domain=list(across), nice=False),
        axis=alt.Axis(title=axis, values=list(ticks), format="~g"),
    )
    scale = alt.Scale(type="log", domain=[low, high], nice=False, clamp=True)
    y = _scales.Height(scale, alt.Axis(title=None, **_ticks(low, high, log=True)))
    count = 1 + int(max((row["arm"] for row in rows), default=0))
    drawn = _svg.chart(rows).encode(x=x, y=y("loss"), color=_svg.coloured(count))
    curve = drawn.mark_line(strokeWidth=2).encode(strokeDash=_svg.dashed(count))
    points = drawn.mark_point(filled=True, size=36, opacity=1).encode(shape=_svg.shaped(count))
    return _svg.svg(alt.layer(curve, points), label=label, width=_svg.NARROW, height=_MOMENT)
