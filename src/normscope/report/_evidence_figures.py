"""Which pictures stand beside which prediction, and what they are drawn from."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from statistics import fmean

from normscope.records import Band, EvidenceTable, History, Study
from normscope.records._evidence_pictures import (
    ArmNumbers,
    EvidencePictures,
    LossCurve,
    SeedLine,
)
from normscope.report import _evidence_charts as charts
from normscope.report import _numbers as numbers
from normscope.report._inside import layer_names
from normscope.report._parts import Figure, Frame, Key, Panel, Stepper, Table
from normscope.report._words import Words

_BATCH, _NONE, _OTHER = 0, 1, 2
_STYLES = {"batch": _BATCH, "none": _NONE}
"""Of arms, in every picture; whichever third there is has one style as well."""

_MOST_FRAMES, _KEPT_FRAMES = 12, 3
_MULTIPLES, _FAR = (0.25, 0.5, 1, 2, 4), (0.0001, 0.001, 0.01, 0.1, 1)
_FARTHEST_LOSS = 10.0
_WIDE_NETWORK = math.sqrt(math.pi / (math.pi - 1))
"""How gradients grow from layer to layer in wide networks of rectified units (Yang et al. 2019)."""


@dataclass(frozen=True)
class Shown:
    """What figures are made of."""

    study: Study
    evidence: EvidenceTable
    pictures: EvidencePictures
    say: Words

    def lines(self, quantity: str, over: str) -> list[SeedLine]:
        """The lines of a quantity at the rate that is best without a norm, where that decides."""
        rate = self.best.get("none")
        return [
            line
            for line in self.pictures.lines
            if (line.quantity, line.over, line.learning_rate) == (quantity, over, rate)
        ]

    @cached_property
    def best(self) -> dict[str, float]:
        """Every arm's own best rate, by its key."""
        return {arm.key: arm.best_learning_rate for arm in self.evidence.arms}

    def numbers(self, arm: str, rate: float | None = None) -> ArmNumbers | None:
        """Of an arm, by default at its own best rate."""
        wanted = self.best.get(arm) if rate is None else rate
        for each in self.pictures.numbers:
            if (each.arm, each.learning_rate) == (arm, wanted):
                return each
        return None


_Made = Figure | Stepper | None


def figures(key: str, shown: Shown) -> list[Figure | Stepper]:
    """The pictures of the prediction that is called `key`; none where nothing is to be seen."""
    made = [make(shown) for make in _OF.get(key, ())]
    return [each for each in made if each is not None]


def _style(arm: str) -> int:
    return _STYLES.get(arm, _OTHER)


def _keys(arms: Sequence[str]) -> list[Key]:
    return [Key(_style(arm), arm) for arm in sorted(dict.fromkeys(arms), key=_style)]


def _seeds_of(measure: str, *arms: str, halfway: bool = True) -> Callable[[Shown], _Made]:
    """Arms side by side, at their own best rates."""

    def make(shown: Shown) -> _Made:
        found = [(arm, shown.numbers(arm)) for arm in arms]
        if any(one is None for _, one in found):
            return None
        lanes = [(arm, _style(arm), getattr(one, measure)) for arm, one in found]
        return _side_by_side(shown, measure, lanes, halfway=halfway and len(arms) > 2)

    return make


def _side_by_side(
    shown: Shown,
    measure: str,
    lanes: Sequence[tuple[str, int, Sequence[float]]],
    *,
    halfway: bool,
    at: str = "own best",
) -> _Made:
    """A lane for each arm, and half of the gain."""
    say = shown.say
    known = {name: [v for v in values if math.isfinite(v)] for name, _, values in lanes}
    if len(lanes) < 2 or not all(known.values()):
        return None
    half = (fmean(known["batch"]) + fmean(known["none"])) / 2 if halfway else None
    title = say(f"{measure} by arm")
    drawn = charts.side_by_side(lanes, half, say("arms label", what=title))
    keys = [Key(5, say("each seed"), "tick"), Key(5, say("mean over seeds"), "dot")]
    if half is not None:
        keys.append(Key(5, say("half of the gain"), "dashed"))
    seeds = [str(seed) for seed in shown.evidence.seeds]
    rows = [[name, *(numbers.number(value) for value in values)] for name, _, values in lanes]
    return Figure(
        title=title,
        caption=say(f"arms caption {at}"),
        panels=[Panel("", drawn)],
        keys=keys,
        tables=[_drawn_table([say("arm"), *(say("seed n", seed=s) for s in seeds)], rows, say)],
    )


def _at_smallest_rate(shown: Shown) -> _Made:
    """How fast batch norm and no norm learn at the smallest rate, and at their own best."""
    say, smallest = shown.say, min(shown.evidence.learning_rates)
    lanes = []
    for arm in ("batch", "none"):
        for rate in sorted({smallest, shown.best[arm]}):
            if one := shown.numbers(arm, rate):
                name = say("arm at rate", arm=arm, rate=numbers.rate(rate))
                lanes.append((name, _style(arm), one.learned))
    return _side_by_side(shown, "learned", lanes, halfway=False, at="smallest rate")


def _through_training(quantity: str, *, layers: bool = False) -> Callable[[Shown], _Made]:
    """A quantity over the steps; over the layers as well."""

    def make(shown: Shown) -> _Made:
        say = shown.say
        kinds = ("steps", "layers") if layers else ("steps",)
        found = {over: shown.lines(quantity, over) for over in kinds}
        return _of_lines(shown, quantity, found, say(f"{quantity} caption"))

    return make


def _lag(shown: Shown) -> _Made:
    """How far running means are, beside how far the choice of rows alone puts them."""
    rows = min(max(2, shown.evidence.recipe.batch_size), shown.evidence.data.valid_rows)
    found = {over: shown.lines("lag", over) for over in ("steps", "layers")}
    by_chance = math.sqrt(2 / (math.pi * rows))
    return _of_lines(shown, "lag", found, shown.say("lag caption"), (by_chance,))


def _over_depth(quantity: str, *rules: float) -> Callable[[Shown], _Made]:
    """A quantity over the layers, before the first step."""

    def make(shown: Shown) -> _Made:
        found = {"layers": shown.lines(quantity, "layers")}
        return _of_lines(shown, quantity, found, shown.say(f"{quantity} caption"), rules)

    return make


def _of_lines(
    shown: Shown,
    quantity: str,
    found: Mapping[str, Sequence[SeedLine]],
    caption: str,
    rules: Sequence[float] = (),
) -> _Made:
    """A panel for each kind of place."""
    say, panels, rows = shown.say, list[Panel](), list[list[str]]()
    title = say(quantity)
    for over, some in found.items():
        if not some:
            continue
        drawn = charts.lines(
            [row for line in some for row in _rows(line, _style(line.arm))],
            say("lines label", what=title),
            over="steps" if over == "steps" else "layers",
            axis=say("steps axis" if over == "steps" else "layers axis"),
            log=quantity != "rank",
            rules=rules,
        )
        panels.append(Panel(say(f"over {over}"), drawn))
        rows.append([say(f"over {over}")])
        rows += [row for line in some for row in _figures_of(line)]
    if not panels:
        return None
    arms = [line.arm for some in found.values() for line in some]
    keys = [*_keys(arms), Key(5, say("band key"), "band")]
    if rules:
        keys.append(Key(5, say(f"{quantity} rules"), "dashed"))
    head = [say("arm"), say("step or layer"), say("median"), say("lowest"), say("highest")]
    return Figure(title, caption, panels, keys, [_drawn_table(head, rows, say)])


def _rows(line: SeedLine, style: int) -> list[dict[str, float]]:
    places = zip(line.at, line.low, line.middle, line.high, strict=True)
    return [
        {"arm": style, "at": at, "low": low, "middle": middle, "high": high}
        for at, low, middle, high in places
        if all(map(math.isfinite, (low, middle, high)))
    ]


def _figures_of(line: SeedLine) -> list[list[str]]:
    return [
        [line.arm, f"{at:g}", *map(numbers.significant, (middle, low, high))]
        for at, low, middle, high in zip(line.at, line.low, line.middle, line.high, strict=True)
    ]


def _drawn_table(head: Sequence[str], rows: Sequence[Sequence[str]], say: Words) -> Table:
    return Table(title=say("curves table"), head=head, rows=rows)


def _angles(shown: Shown) -> _Made:
    """Angular updates over the steps, a line for each rate: with batch norm, and without."""
    say = shown.say
    rates = list(shown.evidence.learning_rates)
    of_arm = {
        arm: [
            line
            for line in shown.pictures.lines
            if (line.quantity, line.over, line.arm) == ("angle", "steps", arm)
        ]
        for arm in ("batch", "none")
    }
    rows = {
        arm: [row for line in some for row in _rows(line, rates.index(line.learning_rate))]
        for arm, some in of_arm.items()
    }
    everything = [row for some in rows.values() for row in some]
    if not everything:
        return None
    extent = charts.extent_of(everything)
    panels = [
        Panel(
            say("angles of", arm=arm),
            charts.lines(
                some,
                say("lines label", what=say("angle")),
                over="steps",
                axis=say("steps axis"),
                extent=extent,
            ),
        )
        for arm, some in rows.items()
        if some
    ]
    table = [
        [f"{line.arm}, {numbers.rate(line.learning_rate)}", *row[1:]]
        for some in of_arm.values()
        for line in some
        for row in _figures_of(line)
    ]
    head = [say("arm"), say("step"), say("median"), say("lowest"), say("highest")]
    return Figure(
        title=say("angle"),
        caption=say("angle caption"),
        panels=panels,
        keys=[
            *(Key(n, say("at rate", rate=numbers.rate(rate))) for n, rate in enumerate(rates)),
            Key(5, say("band key"), "band"),
        ],
        tables=[_drawn_table(head, table, say)],
    )


def _over_rates(*arms: str) -> Callable[[Shown], _Made]:
    """Accuracy at the end over the learning rate."""

    def make(shown: Shown) -> _Made:
        say, study = shown.say, shown.study
        rates = shown.evidence.learning_rates
        least = 50 / study.data.test_rows
        known = [
            (one, [max(least, 100 - v) for v in one.ended if math.isfinite(v)])
            for arm in arms
            for rate in rates
            if (one := shown.numbers(arm, rate))
        ]
        known = [(one, errors) for one, errors in known if errors]
        if len(rates) < 2 or not known:
            return None
        rows = [
            {"arm": _style(one.arm), "rate": one.learning_rate, "error": fmean(errors)}
            for one, errors in known
        ]
        seeds = [
            {"arm": _style(one.arm), "rate": one.learning_rate, "error": error}
            for one, errors in known
            for error in errors
        ]
        label = say("lines label", what=say("ended over rates"))
        drawn = charts.over_rates(rows, seeds, label, say("learning rate axis"))
        table = [
            [one.arm, numbers.rate(one.learning_rate), *(numbers.number(v) for v in one.ended)]
            for one, _ in known
        ]
        head = [say("arm"), say("learning rate")]
        head += [say("seed n", seed=seed) for seed in shown.evidence.seeds]
        return Figure(
            title=say("ended over rates"),
            caption=say("ended over rates caption"),
            panels=[Panel(say("test accuracy axis"), drawn)],
            keys=[*_keys([one.arm for one, _ in known]), Key(5, say("each seed"), "dot")],
            tables=[_drawn_table(head, table, say)],
        )

    return make


def _dose(shown: Shown) -> _Made:
    """Accuracy over the part of a batch that statistics are taken over."""
    say = shown.say
    keys = ("batch", "ghost-2", "ghost-4", "ghost-8", "ghost-16")
    there = [one for key in keys if (one := shown.numbers(key))]
    known = [(one, [v for v in one.ended if math.isfinite(v)]) for one in there]
    known = [(one, values) for one, values in known if values]
    if len(known) < 2:
        return None
    batch = shown.evidence.recipe.batch_size
    rows = [
        {
            "arm": _BATCH,
            "at": math.log2(batch / one.rows),
            "low": min(values),
            "middle": fmean(values),
            "high": max(values),
        }
        for one, values in known
    ]
    drawn = charts.lines(
        rows,
        say("lines label", what=say("dose")),
        over="parts",
        axis=say("parts axis"),
        log=False,
    )
    table = [[f"{one.rows}", *(numbers.number(value) for value in one.ended)] for one, _ in known]
    head = [say("rows of a part"), *(say("seed n", seed=s) for s in shown.evidence.seeds)]
    return Figure(
        title=say("dose"),
        caption=say("dose caption", batch=batch),
        panels=[Panel(say("test accuracy axis"), drawn)],
        keys=[Key(_BATCH, say("mean and range"), "band")],
        tables=[_drawn_table(head, table, say)],
    )


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


def _bands(shown: Shown) -> _Made:
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
                _style(arm),
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
        keys=[Key(_style(arm), say("arm band", arm=arm), "band") for arm, _ in both],
    )


def _layers_stepped(shown: Shown) -> _Made:
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
            drawn = charts.layers_now(now, first, names, extents[arm], _style(arm), label)
            panels.append(Panel(arm, drawn))
        frames.append((steps[number], panels))
    return Stepper(
        name="layers",
        title=say("layers stepped"),
        caption=say("layers stepped caption"),
        frames=_framed(frames, say),
        keys=[
            *(Key(_style(arm), say("arm band", arm=arm), "band") for arm, _ in both),
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


def _curves_stepped(name: str, *kinds: str) -> Callable[[Shown], _Made]:
    """The loss along lines through the parameters, moment by moment, with and without a norm."""

    def make(shown: Shown) -> _Made:
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
            keys=_keys([curve.arm for curve in found]),
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
        {"arm": _style(curve.arm), "at": at, "loss": height}
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


_OF: dict[str, tuple[Callable[[Shown], _Made], ...]] = {
    "gain": (_seeds_of("learned", "batch", "none"),),
    "drift": (_bands, _layers_stepped, _through_training("drift")),
    "noisy": (_seeds_of("learned", "batch", "none", "noisy"),),
    "noisy-end": (_seeds_of("ended", "batch", "none", "noisy"),),
    "gradient-shift": (_through_training("gradient-shift", layers=True),),
    "dead": (_through_training("dead", layers=True),),
    "two-sided": (_over_depth("one-sided"),),
    "smoothness": (
        _curves_stepped("landscape", "gradient", "step"),
        _through_training("smoothness"),
    ),
    "scale-free-smoothness": (_through_training("scale-free-smoothness"),),
    "detached": (_seeds_of("learned", "batch", "none", "detached"),),
    "identity": (_through_training("identity"),),
    "taken-away": (_through_training("taken-away", layers=True),),
    "small-rate": (_at_smallest_rate,),
    "safe-step": (_curves_stepped("safe", "far"), _through_training("safe-step")),
    "flat": (_over_rates("batch", "none"),),
    "angles": (_angles,),
    "orthogonal": (_through_training("orthogonality"),),
    "weight-norm-flat": (_over_rates("batch", "none", "weight"),),
    "variance-only": (_seeds_of("learned", "batch", "none", "variance"),),
    "mean-only": (_seeds_of("learned", "batch", "none", "mean"),),
    "weight-norm": (_seeds_of("learned", "batch", "none", "weight"),),
    "radial": (_through_training("radial"),),
    "one-shot": (_seeds_of("early", "batch", "none", "one-shot"),),
    "independent": (_over_depth("input-independence"),),
    "rank": (_over_depth("rank"),),
    "dose": (_dose,),
    "noise-falls": (_through_training("noise"), _through_training("noise-of-a-quarter")),
    "calm": (_seeds_of("ended", "batch", "calm"),),
    "layer": (_seeds_of("ended", "batch", "layer"),),
    "last": (_seeds_of("learned", "batch", "none", "last"),),
    "growth": (_over_depth("growth", 1.0, _WIDE_NETWORK),),
    "stale": (_lag,),
    "rival": (_seeds_of("ended", "batch", "rival"),),
}
"""By the prediction's key."""
