"""What a repair did, for a person."""

from rich.console import Group
from rich.table import Table
from rich.text import Text

from normscope.cli._console import counted
from normscope.records import Receipt

_FEW = 12
"""Lines of one kind; what is beyond is counted."""


def shown(receipt: Receipt, name: str) -> Group:
    """What was changed and what was left; figures before and after; what has to be known."""
    parts: list[Table | Text] = [_summary(receipt, name)]
    if receipt.changed or receipt.left:
        parts += [Text(), _modules(receipt)]
    if receipt.before:
        parts += [Text(), _figures(receipt)]
    if receipt.difference is not None:
        parts += [Text(), Text(_difference(receipt))]
    parts += [Text(f"Note: {note}", "yellow") for note in receipt.notes]
    return Group(*parts)


def _summary(receipt: Receipt, name: str) -> Text:
    left = f", {len(receipt.left)} left as they were" if receipt.left else ""
    changed = counted(len(receipt.changed), "module")
    return Text.assemble((receipt.operation, "bold green"), f" {name}: {changed} changed{left}.")


def _modules(receipt: Receipt) -> Table:
    """A line for each module; of many like each other the first few."""
    table = Table.grid(padding=(0, 2))
    table.add_column(width=len("changed"))
    table.add_column(overflow="fold", max_width=40)
    table.add_column(overflow="fold")
    kinds = (
        ("changed", "green", [(each.module, each.change) for each in receipt.changed]),
        ("left", "yellow", [(each.module, each.reason) for each in receipt.left]),
    )
    for kind, colour, rows in kinds:
        for module, told in rows[:_FEW]:
            table.add_row(Text(kind, colour), Text(module or "the model", "bold"), Text(told))
        if len(rows) > _FEW:
            more = Text(f"and {len(rows) - _FEW} more", "dim")
            table.add_row(Text(kind, colour), more, Text("all of them: --format json", "dim"))
    return table


def _figures(receipt: Receipt) -> Table:
    """Before and after, side by side."""
    table = Table(box=None, padding=(0, 2), pad_edge=False, header_style="dim")
    table.add_column("figure", overflow="fold")
    table.add_column("before", justify="right")
    table.add_column("after", justify="right")
    for name, before in receipt.before.items():
        after = receipt.after.get(name)
        table.add_row(Text(name), _figure(before), "" if after is None else _figure(after))
    return table


def _figure(value: float) -> str:
    """A count in full, anything else in four digits."""
    return f"{value:,.0f}" if value.is_integer() else f"{value:,.4g}"


def _difference(receipt: Receipt) -> str:
    return (
        f"On the example the outputs differ by {receipt.difference:.1e} of the largest; "
        f"{receipt.tolerance:.0e} is allowed."
    )
