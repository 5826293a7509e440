"""What a person sees of the evidence: every explanation, what was measured, what may be said."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from normscope.cli._console import counted
from normscope.records import EvidenceRow, EvidenceTable, LeftOut
from normscope.records._evidence import Judgement

if TYPE_CHECKING:
    from normscope.studies import Explaining

_STYLES: dict[Judgement, str] = {
    "survives": "bold green",
    "contradicted": "bold red",
    "not decided": "bold yellow",
}
_SEVERAL = {"survives": "survive"}
_WIDTH = max(map(len, _STYLES))


def plan_told(explaining: "Explaining") -> list[str]:
    """What is about to be trained, and what is not, as sentences."""
    study, plan = explaining.study, explaining.plan
    design, left = study.design, plan.runs - plan.kept
    arms = counted(len(explaining.arms), "arm")
    rates = counted(len(design.learning_rates), "learning rate")
    sentences = [f"Why does batch norm work? {arms} on {study.data.name}."]
    sentences.append(
        f"{counted(plan.runs, 'run')}: {arms} × {rates} × {counted(len(design.seeds), 'seed')}, "
        f"{counted(design.recipe.epochs, 'epoch')} each; about "
        f"{_time(explaining.expected_seconds)} in all, of a budget of "
        f"{_time(explaining.budget_seconds)}."
    )
    named = "; ".join(f"{arm.key} ({arm.words})" for arm in explaining.arms)
    sentences.append(f"Arms: {named}.")
    if explaining.left_out:
        sentences.append(_left_out(explaining.left_out))
    if explaining.expected_seconds > explaining.budget_seconds:
        sentences.append("This is more than the budget: the smallest design there is.")
    there = f"{plan.kept} are there already, " if plan.kept else ""
    sentences.append(
        f"{there}{left} to train; {plan.workers} at a time on {counted(plan.cores, 'core')}."
        if left
        else "All are there already: nothing is left to train."
    )
    return sentences


def shown(table: EvidenceTable) -> Group:
    """Every prediction by its explanation, and the conditions."""
    parts: list[RenderableType] = []
    for explanation, rows in groupby(table.rows, key=lambda row: row.explanation):
        parts += [_explanation(explanation, list(rows), table), Text()]
    return Group(*parts, _summary(table), *_conditions(table))


def _explanation(name: str, rows: Sequence[EvidenceRow], table: EvidenceTable) -> Group:
    """An explanation, and under it what it predicts."""
    grid = Table.grid(padding=(0, 2), expand=True)
    grid.add_column(width=_WIDTH, no_wrap=True)
    grid.add_column(overflow="fold", ratio=1)
    for row in rows:
        text = Text.assemble(row.prediction, (f"  {row.source}", "dim"))
        grid.add_row(
            Text(row.judgement, _STYLES[row.judgement]), Group(text, Text(_measured(row, table)))
        )
    return Group(Text(name[0].upper() + name[1:], "bold"), Padding(grid, (0, 0, 0, 2)))


def _measured(row: EvidenceRow, table: EvidenceTable) -> str:
    """The figure with interval and n, the thresholds, and why it is not decided."""
    effect = row.effect
    parts = []
    if effect.n:
        figure = f"{row.formula} = {_figure(effect.value, row)}"
        figure += " points" if row.scale == "points" else ""
        if math.isfinite(effect.low):
            figure += f" ({_figure(effect.low, row)} to {_figure(effect.high, row)})"
        seeds = counted(effect.n, "seed")
        parts.append(f"{figure}, {seeds}; {_thresholds(row)}.")
    if row.why:
        parts.append(f"{row.why[0].upper()}{row.why[1:]}.")
    if 0 < effect.n < len(table.seeds):
        parts.append(f"{len(table.seeds) - effect.n} of {len(table.seeds)} seeds have no number.")
    return " ".join(parts)


def _figure(value: float, row: EvidenceRow) -> str:
    """A number on its scale."""
    if not math.isfinite(value):
        return "∞" if value > 0 else "–"
    if row.scale == "ratio":
        return f"{value:.3g}"
    return f"{value:+.2f}".replace("-", "−")


def _thresholds(row: EvidenceRow) -> str:
    """Where it would be as predicted, and where against."""
    return f"predicted {_region(*row.predicted)}, against {_region(*row.against)}"


def _region(low: float, high: float) -> str:
    """In signs.

    Example:
        >>> _region(-math.inf, 0.8), _region(-0.5, math.inf), _region(1, 2)
        ('< 0.8', '> −0.5', '1 to 2')
    """
    first, last = (f"{bound:g}".replace("-", "−") for bound in (low, high))
    if math.isinf(low):
        return f"< {last}"
    return f"> {first}" if math.isinf(high) else f"{first} to {last}"


def _summary(table: EvidenceTable) -> Text:
    """How many of each."""
    counts = Counter(row.judgement for row in table.rows)
    told = [
        Text(f"{n} {what if n == 1 else _SEVERAL.get(what, what)}", style)
        for what, style in _STYLES.items()
        if (n := counts[what])
    ]
    return Text.assemble(f"Of {counted(len(table.rows), 'prediction')}: ", Text(", ").join(told))


def _conditions(table: EvidenceTable) -> Iterable[Text]:
    """What all of it is about."""
    hidden = " → ".join(map(str, table.recipe.hidden)) or "no hidden layers"
    network = f"model {table.recipe.model}" if table.recipe.model else f"hidden layers {hidden}"
    rates = ", ".join(f"{rate:g}" for rate in table.learning_rates)
    share = f"{100 * table.confidence:g} %"
    yield Text(
        f"On {table.data.name}, {table.data.train_rows:,} training rows; {network}; "
        f"{counted(table.recipe.epochs, 'epoch')}; rates {rates}; "
        f"{counted(len(table.seeds), 'seed')}. Means over paired seeds with {share} intervals; "
        "verdicts after Holm's procedure over all rows that could be judged.",
        "dim",
    )
    yield Text(
        "To survive is not to be proved: one prediction came out, on these data, for this network, "
        "and another explanation may predict the same. A contradiction is about these conditions "
        "as well.",
        "dim",
    )
    best = "; ".join(
        f"{arm.key} ({arm.words}) {arm.best_learning_rate:g}{'*' * arm.at_the_edge}"
        for arm in table.arms
    )
    edge = any(arm.at_the_edge for arm in table.arms)
    yield Text(f"Arms and their best rates: {best}." + " * at the edge of the grid." * edge, "dim")
    if table.left_out:
        yield Text(_left_out(table.left_out), "dim")
    yield Text(
        "L: percentage of the training rows that are right while an arm is trained on them, mean "
        "over the epochs; E: in the first epoch; A: percentage of the test rows that are right at "
        "the end; F: what the choice of the learning rate costs. The gain: L(batch) − L(none).",
        "dim",
    )
    yield Text("The other letters, and the thresholds' reasons: docs/explain.md", "dim")


def _left_out(left_out: Sequence[LeftOut]) -> str:
    """Which arms are not trained, by the reason."""
    reasons: dict[str, list[str]] = {}
    for each in left_out:
        reasons.setdefault(each.why, []).append(each.key)
    told = [f"{', '.join(keys)} ({why})" for why, keys in reasons.items()]
    return f"Left out: {'; '.join(told)}."


def _time(seconds: float) -> str:
    """A time in words.

    Example:
        >>> _time(42.4), _time(1200), _time(5400)
        ('42 s', '20 min', '1.5 h')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
