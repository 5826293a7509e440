"""Moments of a training, one after another: what layers hand on, and the loss along lines."""

import math
from collections.abc import Callable, Sequence

from normscope.records import Band, History
from normscope.records._evidence_pictures import LossCurve
from normscope.report import _evidence_charts as charts
from normscope.report._evidence_shown import Made, Shown, keys_of, style_of
from normscope.report._inside import layer_names
from normscope.report._parts import Figure, Frame, Key, Panel, Stepper
from normscope.report._words import Words

_MOST_FRAMES, _KEPT_FRAMES = 12, 3
_MULTIPLES, _FAR = (0.25, 0.5, 1, 2, 4), (0.0001, 0.001, 0.01, 0.1, 1)
_FARTHEST_LOSS = 10.0


def _histories(shown: Shown) -> list[tuple[str, History]]:
    """What layers handed on while no norm and batch norm trained, where somebody looked on."""
    names = {arm.name: arm.key for arm in shown.evidence.arms}
    runs = {run.folder: names.get(run.arm) for run in shown.study.runs}
    found = {
        runs.get(each.folder): each.inspection.history
        for each in shown.study.inspections
        if each.inspection.knows_every_layer
    }
    return [(arm, history) for arm in ("batch", "none") if (history := found.get(arm))]


def bands(shown: Shown) -> Made:
    """Percentiles of what the first, a middle and the last hidden layer hand on."""
    say, both = shown.say, _histories(shown)
    if len(both) < 2:
        return None
    count = len(both[0][1].layers)
    names, hidden = layer_names(count, say, whole=True), max(1, count - 1)
    chosen = sorted({0, (hidden - 1) // 2, hidden - 1})
    panels = [
        Panel(
            f"{arm}, {names[number]}",
            charts.band_over_steps(
                history.steps,
                history.layers[number].s3,
                style_of(arm),
                say("lines label", what=f"{arm}, {names[number]}"),
                say("root steps axis") if number == chosen[-1] else None,
            ),
        )
        for number in chosen
        for arm, history in both
    ]
    return Figure(
        title=say("drift bands"),
        caption=say("drift bands caption"),
        panels=panels,
        keys=[Key(style_of(arm), say("arm band", arm=arm), "band") for arm, _ in both],
    )


def layers_stepped(shown: Shown) -> Made:
    """The same of every layer, moment by moment."""
    say, both = shown.say, _histories(shown)
    if len(both) < 2:
        return None
    steps = both[0][1].steps
    both = [(arm, history) for arm, history in both if history.steps == steps]
    names = layer_names(len(both[0][1].layers), say, whole=True)
    moments = _spread(len(steps), _MOST_FRAMES)
    extents = {arm: _reach(history) for arm, history in both}
    frames = []
    for number in moments:
        panels = []
        for arm, history in both:
            now, first = ([layer.s3[at] for layer in history.layers] for at in (number, 0))
            label = say("layers label", arm=arm, step=f"{steps[number]:,}")
            drawn = charts.layers_now(now, first, names, extents[arm], style_of(arm), label)
            panels.append(Panel(arm, drawn))
        frames.append((steps[number], panels))
    return Stepper(
        name="layers",
        title=say("layers stepped"),
        caption=say("layers stepped caption"),
        frames=_framed(frames, say),
        keys=[
            *(Key(style_of(arm), say("arm band", arm=arm), "band") for arm, _ in both),
            Key(5, say("where it began"), "band"),
        ],
    )


def _reach(history: History) -> tuple[float, float]:
    """What all moments of all layers need."""
    bands: list[Band] = [band for layer in history.layers for band in layer.s3]
    ends = [end for band in bands for end in (band.low, band.high) if math.isfinite(end)]
    return (min(ends), max(ends)) if ends else (-1.0, 1.0)


def _spread(count: int, most: int) -> list[int]:
    """At most so many of `count` places, the first and the last among them.

    Example:
        >>> _spread(3, 12), _spread(24, 4)
        ([0, 1, 2], [0, 8, 15, 23])
    """
    if count <= most:
        return list(range(count))
    return [round(n * (count - 1) / (most - 1)) for n in range(most)]


def _framed(moments: Sequence[tuple[int, list[Panel]]], say: Words) -> list[Frame]:
    kept = _spread(len(moments), _KEPT_FRAMES)
    return [
        Frame(step, say("after step", step=f"{step:,}"), panels, kept=number in kept)
        for number, (step, panels) in enumerate(moments)
    ]


def curves_stepped(name: str, *kinds: str) -> Callable[[Shown], Made]:
    """The loss along lines through the parameters, moment by moment, with and without a norm."""

    def make(shown: Shown) -> Made:
        say = shown.say
        found = [
            curve
            for curve in shown.pictures.curves
            if curve.line in kinds and curve.arm in ("batch", "none")
        ]
        extents = {kind: _extents(found, kind) for kind in kinds}
        steps = sorted({curve.step for curve in found})
        if not found or not all(extents.values()):
            return None
        frames = [
            (step, [_along(found, kind, step, extents[kind], say) for kind in kinds])
            for step in (steps[number] for number in _spread(len(steps), _MOST_FRAMES))
        ]
        return Stepper(
            name=name,
            title=say(f"{name} stepped"),
            caption=say(f"{name} stepped caption"),
            frames=_framed(frames, say),
            keys=keys_of([curve.arm for curve in found]),
        )

    return make


_Extents = tuple[tuple[float, float], tuple[float, float]]


def _extents(curves: Sequence[LossCurve], kind: str) -> _Extents | None:
    """How far, and between which losses, all moments of a line lie."""
    some = [curve for curve in curves if curve.line == kind]
    losses = [loss for curve in some for loss in map(_drawable, curve.loss) if loss]
    if not losses:
        return None
    at = some[0].at
    return (at[0], at[-1]), (min(losses), max(losses))


def _drawable(loss: float) -> float | None:
    """None for what no logarithmic axis holds; what is very large stands at the edge."""
    return min(loss, _FARTHEST_LOSS) if loss > 0 else None


def _along(
    curves: Sequence[LossCurve], kind: str, step: int, extents: _Extents | None, say: Words
) -> Panel:
    assert extents, "asked for where there is something"
    rows = [
        {"arm": style_of(curve.arm), "at": at, "loss": height}
        for curve in curves
        if (curve.line, curve.step) == (kind, step)
        for at, loss in zip(curve.at, curve.loss, strict=True)
        if (height := _drawable(loss))
    ]
    title = say(f"along {kind}")
    drawn = charts.along_a_line(
        rows,
        extents,
        say("curve label", what=title, step=f"{step:,}"),
        say("far axis" if kind == "far" else "multiples axis"),
        _FAR if kind == "far" else _MULTIPLES,
    )
    return Panel(title, drawn)
