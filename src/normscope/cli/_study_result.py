"""What a person sees of a study that is complete: its cells, and the verdict."""

import math
from collections.abc import Sequence
from itertools import compress
from shlex import quote

from rich.table import Table

from normscope.cli import _console
from normscope.records import Analysis, Cell, Study

_WIDE_ENOUGH = 76


def say_study(study: Study, folder: str) -> None:
    """Every arm at every rate, the verdict, and where to go from here."""
    from normscope.report import verdict

    analysis = study.analysis
    assert analysis, "a complete study is analysed"
    _console.out.print()
    _console.out.print(_table(study, analysis), soft_wrap=False)
    if legend := _legend(study, analysis):
        _console.say_wrapped(legend, style="dim")
    _console.out.print()
    _console.out.print(_bullets(verdict(study)), soft_wrap=False)
    path = quote(folder)
    _console.say(f"\nThe study is in {path}. Look at it:\n  normscope report {path}")


def _bullets(sentences: Sequence[str]) -> Table:
    """Sentences one below the other, each set off by a mark."""
    table = Table.grid(padding=(0, 1))
    for sentence in sentences:
        table.add_row("•", sentence)
    return table


def _table(study: Study, analysis: Analysis) -> Table:
    """The cells, as wide as the screen lets them be."""
    design = study.design
    wide = _console.out.width >= _WIDE_ENOUGH
    swept = len(design.rates_of(design.arms[0])) > 1
    table = Table(box=None, pad_edge=False, padding=(0, 3 if wide else 2, 0, 0))
    table.add_column("arm", overflow="fold")
    there_is = {
        "test accuracy": True,
        f"steps to {analysis.target:.1f} %": math.isfinite(analysis.target),
        "reached": math.isfinite(analysis.target),
        "diverged": wide or any(cell.diverged for cell in analysis.cells),
    }
    for heading in ["rate"] * swept + ["n"] * wide + list(compress(there_is, there_is.values())):
        table.add_column(heading, justify="right")
    shown = None
    for cell in analysis.cells:
        best = swept and cell.learning_rate == analysis.best_learning_rates[cell.arm]
        rate = f"{cell.learning_rate:g}{'*' if best else ' '}"
        table.add_row(
            cell.arm if cell.arm != shown else "",
            *[rate] * swept,
            *[str(cell.n)] * wide,
            *compress(_figures(cell, _steps_in_all(study, cell), wide=wide), there_is.values()),
            style="bold" if best else None,
        )
        shown = cell.arm
    return table


def _legend(study: Study, analysis: Analysis) -> str:
    """What the marks in the table mean."""
    seeds, design = len(study.design.seeds), study.design
    parts = []
    if len(design.rates_of(design.arms[0])) > 1:
        parts.append("* the arm's best rate, by validation")
    if seeds > 1 and _console.out.width >= _WIDE_ENOUGH:
        parts.append(f"± {100 * design.confidence:g} % interval of a mean of {seeds} seeds")
    if seeds > 1 and math.isfinite(analysis.target):
        parts.append(f"steps: the median of {seeds} seeds, > where that is one that never arrives")
    return "; ".join(parts)


def _steps_in_all(study: Study, cell: Cell) -> int:
    """What the runs of a cell train for."""
    arm = next(arm for arm in study.design.arms if arm.name == cell.arm)
    steps = (run.steps_per_epoch for run in study.runs if run.arm == cell.arm)
    return study.design.epochs_of(arm) * next(steps, 0)


def _figures(cell: Cell, steps_in_all: int, *, wide: bool) -> list[str]:
    """Accuracy, the middle of the steps, how many got there, how many diverged."""
    mean = cell.test_accuracy
    accuracy = f"{mean.value:.2f} %"
    half = (mean.high - mean.low) / 2
    if wide and math.isfinite(half) and cell.n > 1:
        accuracy += f" ± {half:.2f}"
    reached = sum(steps is not None for steps in cell.steps)
    middle = _middle(cell.steps, steps_in_all)
    return [accuracy, middle, f"{reached} of {cell.n}", str(cell.diverged or "–")]


def _middle(steps: Sequence[int | None], in_all: int) -> str:
    """The median of the steps; more than that where a run in the middle never got there.

    Example:
        >>> _middle([300, None, 200], 1000), _middle([None, None, 200], 1000)
        ('300', '> 1,000')
        >>> _middle([300, None], 1000), _middle([None, None], 1000)
        ('> 650', 'never')
    """
    if not any(steps):
        return "never"
    ordered = sorted(steps, key=lambda reached: reached or math.inf)
    middle = (ordered[(len(ordered) - 1) // 2], ordered[len(ordered) // 2])
    mean = sum(reached or in_all for reached in middle) / 2
    return f"{'' if all(middle) else '> '}{mean:,.0f}"
