"""Arms beside each other: how fast each learned, where it ended, and at which rates."""

import math
from collections.abc import Callable, Sequence
from statistics import fmean

from normscope.report import _evidence_charts as charts
from normscope.report import _numbers as numbers
from normscope.report._evidence_shown import BATCH, Made, Shown, drawn_table, keys_of, style_of
from normscope.report._parts import Figure, Key, Panel


def seeds_of(measure: str, *arms: str, halfway: bool = True) -> Callable[[Shown], Made]:
    """Arms side by side, at their own best rates."""

    def make(shown: Shown) -> Made:
        found = [(arm, shown.numbers(arm)) for arm in arms]
        if any(one is None for _, one in found):
            return None
        lanes = [(arm, style_of(arm), getattr(one, measure)) for arm, one in found]
        return _side_by_side(shown, measure, lanes, halfway=halfway and len(arms) > 2)

    return make


def _side_by_side(
    shown: Shown,
    measure: str,
    lanes: Sequence[tuple[str, int, Sequence[float]]],
    *,
    halfway: bool,
    at: str = "own best",
) -> Made:
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
        tables=[drawn_table([say("arm"), *(say("seed n", seed=s) for s in seeds)], rows, say)],
    )


def at_smallest_rate(shown: Shown) -> Made:
    """How fast batch norm and no norm learn at the smallest rate, and at their own best."""
    say, smallest = shown.say, min(shown.evidence.learning_rates)
    lanes = []
    for arm in ("batch", "none"):
        for rate in sorted({smallest, shown.best[arm]}):
            if one := shown.numbers(arm, rate):
                name = say("arm at rate", arm=arm, rate=numbers.rate(rate))
                lanes.append((name, style_of(arm), one.learned))
    return _side_by_side(shown, "learned", lanes, halfway=False, at="smallest rate")


def over_rates(*arms: str) -> Callable[[Shown], Made]:
    """Accuracy at the end over the learning rate."""

    def make(shown: Shown) -> Made:
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
            {"arm": style_of(one.arm), "rate": one.learning_rate, "error": fmean(errors)}
            for one, errors in known
        ]
        seeds = [
            {"arm": style_of(one.arm), "rate": one.learning_rate, "error": error}
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
            keys=[*keys_of([one.arm for one, _ in known]), Key(5, say("each seed"), "dot")],
            tables=[drawn_table(head, table, say)],
        )

    return make


def dose(shown: Shown) -> Made:
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
            "arm": BATCH,
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
        keys=[Key(BATCH, say("mean and range"), "band")],
        tables=[drawn_table(head, table, say)],
    )
