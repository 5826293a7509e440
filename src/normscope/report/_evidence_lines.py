"""Quantities that probes read, as lines: through training, over the layers, at every rate."""

import math
from collections.abc import Callable, Mapping, Sequence

from normscope.records._evidence_pictures import SeedLine
from normscope.report import _evidence_charts as charts
from normscope.report import _numbers as numbers
from normscope.report._evidence_shown import Made, Shown, drawn_table, keys_of, style_of
from normscope.report._parts import Figure, Key, Panel


def through_training(quantity: str, *, layers: bool = False) -> Callable[[Shown], Made]:
    """A quantity over the steps; over the layers as well."""

    def make(shown: Shown) -> Made:
        say = shown.say
        kinds = ("steps", "layers") if layers else ("steps",)
        found = {over: shown.lines(quantity, over) for over in kinds}
        return _of_lines(shown, quantity, found, say(f"{quantity} caption"))

    return make


def lag(shown: Shown) -> Made:
    """How far running means are, beside how far the choice of rows alone puts them."""
    rows = min(max(2, shown.evidence.recipe.batch_size), shown.evidence.data.valid_rows)
    found = {over: shown.lines("lag", over) for over in ("steps", "layers")}
    by_chance = math.sqrt(2 / (math.pi * rows))
    return _of_lines(shown, "lag", found, shown.say("lag caption"), (by_chance,))


def over_depth(quantity: str, *rules: float) -> Callable[[Shown], Made]:
    """A quantity over the layers, before the first step."""

    def make(shown: Shown) -> Made:
        found = {"layers": shown.lines(quantity, "layers")}
        return _of_lines(shown, quantity, found, shown.say(f"{quantity} caption"), rules)

    return make


def _of_lines(
    shown: Shown,
    quantity: str,
    found: Mapping[str, Sequence[SeedLine]],
    caption: str,
    rules: Sequence[float] = (),
) -> Made:
    """A panel for each kind of place."""
    say, panels, rows = shown.say, list[Panel](), list[list[str]]()
    title = say(quantity)
    for over, some in found.items():
        if not some:
            continue
        drawn = charts.lines(
            [row for line in some for row in _rows(line, style_of(line.arm))],
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
    keys = [*keys_of(arms), Key(5, say("band key"), "band")]
    if rules:
        keys.append(Key(5, say(f"{quantity} rules"), "dashed"))
    head = [say("arm"), say("step or layer"), say("median"), say("lowest"), say("highest")]
    return Figure(title, caption, panels, keys, [drawn_table(head, rows, say)])


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


def angles(shown: Shown) -> Made:
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
        tables=[drawn_table(head, table, say)],
    )
