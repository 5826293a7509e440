"""The tables for a person: on a terminal, and in the README."""

from collections.abc import Collection, Iterable
from typing import Any

from benchmarks.tables import Table, Target

SCALES = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"))}
"""Units in which seconds are readable, largest first."""


def on_terminal(table: Table) -> str:
    """A table as text: who, how long, how many times the reference; whether targets were met."""
    factor, unit = _scale(table)
    rounds = max((len(row) for row in table.samples.values()), default=0)
    head, columns = f"{rounds} {'round' if rounds == 1 else 'rounds'}", f"  {'':38}{unit:>10}"
    if table.against:
        head += f"; ratios to: {table.against}"
        columns += f"  {'ratio':>8}  quartiles"
    lines = [f"{table.title} ({head})", columns]
    for who in table.samples:
        line = f"  {who:38}{_digits(table.quartiles(who).median / factor):>10}"
        if table.against in table.samples:
            ratios = table.ratio(who, table.against)
            spread = f"{ratios.low:.2f} – {ratios.high:.2f}"
            line += f"  {ratios.median:>8.2f}  {spread}"
        lines.append(line)
    lines += [f"  left out: {who}: {why}" for who, why in table.left_out.items()]
    lines += [f"  {note}" for note in table.notes]
    lines += [f"  {verdict(table, target)}" for target in table.targets]
    return "\n".join(lines)


def verdict(table: Table, target: Target) -> str:
    """A target, what was measured, and whether it was met.

    >>> table = Table("", "s", {"us": [1.0], "floor": [2.0]})
    >>> verdict(table, Target("us", 0.4, "floor"))
    'us: 0.500 x floor (target: at most 0.4): missed'
    """
    value = table.measured(target)
    goal = f"target: at {'least' if target.at_least else 'most'} {target.bound:g}"
    if target.against is None:
        goal += f" {table.unit}"
    if value is None:
        return f"{target.who}: not measured ({goal})"
    figure = _figure(value, target)
    what = f"x {target.against}" if target.against else table.unit
    return f"{target.who}: {figure} {what} ({goal}): {_met(value, target)}"


def in_readme(document: dict[str, Any]) -> str:
    """The README's section, from what `./dev bench --record` left in ``docs/benchmarks.json``."""
    sections = {
        name: [Table.from_json(table) for table in section["tables"]]
        for name, section in document["sections"].items()
    }
    training = sections.pop("training", [])
    parts = [_steps(training)] if training else []
    if sections:
        parts.append(_others(table for tables in sections.values() for table in tables))
    return "\n\n".join([*parts, _conditions(document["sections"])])


def _steps(tables: list[Table]) -> str:
    """One training step: a row for each contestant, a column for each set of conditions."""
    names = dict.fromkeys(who for table in tables for who in table.samples)
    head = ["one training step, × the floor", *(table.title for table in tables)]
    rows = [head, ["---"] * len(head)]
    for who in names:
        label = f"**{who}**" if who == "normscope" else who
        rows.append([label, *(_ratio_cell(table, who) for table in tables)])
        if who == "normscope":
            rows.append(["its target", *map(_goal_cell, tables)])
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _ratio_cell(table: Table, who: str) -> str:
    if who not in table.samples or table.against not in table.samples:
        return "–"
    if who == table.against:
        return f"1 ({1e3 * table.quartiles(who).median:.1f} ms)"
    bounds = [target.bound for target in table.targets if target.who == who]
    text = _apart(table.ratio(who, table.against).median, bounds, ".{}f", 2)
    return f"**{text}**" if who == "normscope" else text


def _goal_cell(table: Table) -> str:
    """What the table's targets ask for, and whether it came."""
    cells = []
    for target in table.targets:
        value = table.measured(target)
        met = "not measured" if value is None else _met(value, target)
        bound = f"{target.bound:.2f}"
        cells.append(f"≤ {bound if float(bound) == target.bound else target.bound}, {met}")
    return ", ".join(cells) or "–"


def _others(tables: Iterable[Table]) -> str:
    """Everything else: a row for each target."""
    rows = ["| also | measured | target |", "| --- | --- | --- |"]
    for table in tables:
        for target in table.targets:
            value = table.measured(target)
            if value is None:
                continue
            what = f"× {target.against}" if target.against else table.unit
            unit = "×" if target.against else table.unit
            bound = f"{'≥' if target.at_least else '≤'} {target.bound:g} {unit}"
            measured = f"{_figure(value, target)} {what}"
            rows.append(
                f"| {table.title}: {target.who} | {measured} | {bound}, {_met(value, target)} |"
            )
    return "\n".join(rows)


def _conditions(sections: dict[str, Any]) -> str:
    """Where, when, with what; sections that were measured elsewhere are named."""
    places: dict[str, list[str]] = {}
    versions: dict[str, str] = {}
    for name, section in sections.items():
        where = section["conditions"]
        place = f"{where['date']} on {where['processor']}, {where['cores']} cores"
        places.setdefault(place, []).append(name)
        versions = section["versions"] | versions
    first, *others = places
    elsewhere = "".join(f" ({', '.join(places[place])}: {place})" for place in others)
    shown = ("torch", "jax", "tensorflow", "keras", "lightning", "onnxruntime")
    libraries = ", ".join(f"{name} {versions[name]}" for name in shown if name in versions)
    return (
        f"Medians; measured {first}{elsewhere}, with {libraries}, by `./dev bench --record`. Raw "
        "samples: [docs/benchmarks.json](docs/benchmarks.json); what is compared, and how: "
        "[docs/benchmarks.md](docs/benchmarks.md)."
    )


def _scale(table: Table) -> tuple[float, str]:
    """The largest unit in which the smallest median is at least 1."""
    smallest = min((table.quartiles(who).median for who in table.samples), default=1.0)
    scales = SCALES.get(table.unit, ((1.0, table.unit),))
    return next((scale for scale in scales if smallest >= scale[0]), scales[-1])


def _met(value: float, target: Target) -> str:
    return "met" if target.met_by(value) else "missed"


def _figure(value: float, target: Target) -> str:
    """What was measured, so that it can be told from the target's bound."""
    if target.against is None and abs(value) >= 100:
        return _apart(value, [target.bound], ".{}f", 0)
    return _apart(value, [target.bound], "#.{}g" if target.against else ".{}g", 3)


def _apart(value: float, bounds: Collection[float], form: str, digits: int) -> str:
    """`value` in so many digits, and in more where it would read as a bound that it is not.

    >>> _apart(1.104, [1.1], ".{}f", 2), _apart(1.1, [1.1], ".{}f", 2)
    ('1.104', '1.10')
    """
    text = format(value, form.format(digits))
    if value not in bounds and float(text) in bounds:
        return _apart(value, bounds, form, digits + 1)
    return text


def _digits(value: float) -> str:
    """Three significant digits, without an exponent.

    >>> _digits(0.012345), _digits(9.876), _digits(1234.5)
    ('0.0123', '9.88', '1234')
    """
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
