"""What a person sees before a study trains, and while it does."""

import itertools
import math
from collections.abc import Callable, Sequence
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from normscope.cli import _console
from normscope.records import Design, Study
from normscope.studies import Plan, Planned, RunProgress, planned_runs

_HIDDEN = "hidden"
_MOST_LINES = 8
_WHOLE_STUDY = 1e9
"""Seconds of the past that the time left is judged by: all of them, for epochs are far apart."""


class StudyDisplay:
    """One bar for all runs with the time left, and a line for each of those under way.

    Where nobody watches (output to a file), a line for every run that ends instead.

    Args:
        console: where it is shown.
        say_plan: says what is about to be trained, before the first step.
    """

    def __init__(
        self, console: Console, say_plan: Callable[[Study, Plan], None] | None = None
    ) -> None:
        self._console = console
        self._say_plan = say_plan or _say_plan
        self._planned: dict[str, Planned] = {}
        self._under_way: dict[str, RunProgress] = {}
        self._ended: set[str] = set()
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            TaskProgressColumn(),
            TextColumn("· left"),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
            speed_estimate_period=_WHOLE_STUDY,
        )
        self._live = Live(console=console, transient=True, get_renderable=self._shown)

    def __enter__(self) -> Self:
        """Nothing yet: the bar comes with the plan."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Take the bar away."""
        self._live.stop()

    def plan(self, study: Study, plan: Plan) -> None:
        """Say what is compared, how many runs that is, and what is left of them to do."""
        self._planned = {run.name: run for run in planned_runs(study.design)}
        self._kept = plan.kept
        self._say_plan(study, plan)
        self._expected = set(self._planned) - {run.folder for run in study.runs}
        epochs = sum(self._planned[name].recipe.epochs for name in self._expected)
        self._task = self._progress.add_task(self._done(), total=epochs)
        if self._expected and self._console.is_terminal:
            self._live.start()

    def heard(self, news: RunProgress) -> None:
        """Move the bar, by epochs; what a run was spared or had behind it is not counted."""
        if news.name not in self._expected:
            return
        before = self._under_way.get(news.name)
        if before is None:
            self._add(-news.epoch)
        else:
            self._progress.advance(self._task, news.epoch - before.epoch)
        self._under_way[news.name] = news
        if news.finished:
            self._add(news.epoch - news.epochs)
            del self._under_way[news.name]
            if news.status in {"complete", "diverged"}:
                self._ended.add(news.name)
            if not self._console.is_terminal:
                _console.say(f"{self._done()}  {self._label(news.name)}: {_state(news)}")
        self._progress.update(self._task, description=self._done())

    def _add(self, epochs: int) -> None:
        """So many more, or fewer, to train."""
        task = self._progress.tasks[0]
        self._progress.update(self._task, total=(task.total or 0) + epochs)

    def _done(self) -> str:
        return f"{self._kept + len(self._ended)} of {len(self._planned)} runs"

    def _label(self, name: str) -> str:
        """A run, in words."""
        run = self._planned[name]
        rate = f", rate {run.learning_rate:g}" if "learning_rate=" not in run.arm else ""
        return f"{run.arm}{rate}, seed {run.recipe.seed}"

    def _shown(self) -> Group:
        """The bar, and what is under way."""
        lines = Table.grid(padding=(0, 2))
        for name, news in list(self._under_way.items())[:_MOST_LINES]:
            lines.add_row(f"  {self._label(name)}", _state(news), style="dim")
        return Group(self._progress, lines)


def _state(news: RunProgress) -> str:
    """Where a run stands, in a few words."""
    accuracy = "" if news.valid_accuracy is None else f", {news.valid_accuracy:.1f} % right"
    if news.status in {"diverged", "failed", "interrupted"}:
        return f"{news.status} in epoch {min(news.epoch + 1, news.epochs)} of {news.epochs}"
    if news.status == "complete":
        return f"complete{accuracy}"
    return f"epoch {min(news.epoch + 1, news.epochs)} of {news.epochs}{accuracy}"


def _say_plan(study: Study, plan: Plan) -> None:
    """What is compared, and n, before the first step."""
    design, left = study.design, plan.runs - plan.kept
    others = [arm.name for arm in design.arms if arm.name != design.reference]
    _console.say_wrapped(
        f"Does it help? {_listed(others)} against {design.reference}, on {study.data.name}."
    )
    rates = len(design.rates_of(design.arms[0]))
    factors = [
        _console.counted(len(design.arms), "arm"),
        *([_console.counted(rates, "learning rate")] if rates > 1 else []),
        _console.counted(len(design.seeds), "seed"),
    ]
    details = [_network(study), _rates(design), _seeds(design.seeds), _epochs(design)]
    there = f"{plan.kept} are there already, " if plan.kept else ""
    resumed = f", {plan.resumed} of which go on where they stopped" if plan.resumed else ""
    if hint := _widths_hint(design):
        _console.say_wrapped(hint, style="dim")
    _console.say_wrapped(
        f"{_console.counted(plan.runs, 'run')}: {' × '.join(factors)}. {'; '.join(details)}; "
        f"{study.data.train_rows:,} training images.\n"
        + (
            f"{there}{left} to train{resumed}; {plan.workers} at a time on "
            f"{_console.counted(plan.cores, 'core')}."
            if left
            else "All are there already: nothing is left to train."
        ),
        style="dim",
    )


def _network(study: Study) -> str:
    """What the arms have in common of their networks."""
    recipe = study.design.recipe
    if recipe.model:
        return f"Model {recipe.model}"
    hidden = "…" if _HIDDEN in study.design.arms[0].settings else recipe.hidden
    widths = [math.prod(study.data.image_size), *hidden, len(study.data.classes)]
    return f"Network {' → '.join(map(str, widths))}"


def _widths_hint(design: Design) -> str:
    """Where all that is compared are networks of one layer, how one of several is written."""
    compared = [arm.settings.get(_HIDDEN, ()) for arm in design.arms]
    widths = list(dict.fromkeys(map(str, itertools.chain.from_iterable(compared))))
    if len(widths) < 2 or any(len(layers) != 1 for layers in compared):
        return ""
    return (
        f"Each value of hidden is a network of one layer; one of {len(widths)} layers is written "
        f"{'x'.join(widths)}."
    )


def _listed(names: Sequence[str]) -> str:
    *others, last = names
    return f"{'; '.join(others)} and {last}" if others else last


def _rates(design: Design) -> str:
    rates = [f"{rate:g}" for rate in design.learning_rates]
    return f"rate{'s' * (len(rates) > 1)} {', '.join(rates)}"


def _seeds(seeds: Sequence[int]) -> str:
    """``seeds 0 to 4``, or one by one where they have gaps."""
    if len(seeds) > 2 and list(seeds) == list(range(seeds[0], seeds[0] + len(seeds))):
        return f"seeds {seeds[0]} to {seeds[-1]}"
    return f"seed{'s' * (len(seeds) > 1)} {', '.join(map(str, seeds))}"


def _epochs(design: Design) -> str:
    """How long the runs are."""
    lengths = sorted({run.recipe.epochs for run in planned_runs(design)})
    return (
        f"{_console.counted(lengths[0], 'epoch')} each"
        if len(lengths) == 1
        else (f"{lengths[0]} to {lengths[-1]} epochs")
    )
