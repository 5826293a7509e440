"""What a person sees while a network trains, and at the end."""

import math
from collections.abc import Callable
from shlex import quote

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from normscope.cli import _console
from normscope.data import Dataset
from normscope.records import EpochRecord, Run, TestScores
from normscope.training import StepView

_EXPLAINED = {
    "running": "moving averages from training: what ships",
    "population": "exact, over the training set, layer by layer",
    "batch": "the test set's own: not a fair test",
}
_WIDE_ENOUGH = 79
_HUGE = 1e4


class TrainingDisplay:
    """A live progress bar, and a line for every epoch above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("steps · left"),
            TimeRemainingColumn(compact=True),
            console=console,
            expand=True,
            transient=True,
        )

    def on_start(self, run: Run, steps_per_epoch: int) -> None:
        """Say what is trained, and start the bar."""
        recipe = run.recipe
        self._epochs = recipe.epochs
        self._steps = steps_per_epoch
        _console.say_wrapped(
            f"{_network(run)}\n"
            f"Adam {recipe.learning_rate:g}, batches of {recipe.batch_size}, seed {recipe.seed}, "
            f"{run.environment.device}, threads {run.environment.threads}",
        )
        if run.notes:
            _console.say_wrapped(run.notes[-1])
        self._console.print(_row(self._console.width), style="dim")
        for record in run.epochs:
            self._console.print(_row(self._console.width, record), style="dim")
        self._task = self._progress.add_task(
            "training",
            total=recipe.epochs * steps_per_epoch,
            completed=len(run.epochs) * steps_per_epoch,
        )
        if self._console.is_interactive:
            self._progress.start()

    def on_step(self, view: StepView) -> None:
        """Move the bar."""
        done = (view.epoch - 1) * self._steps + view.step
        self._progress.update(
            self._task, completed=done, description=f"epoch {view.epoch} of {self._epochs}"
        )

    def on_epoch(self, record: EpochRecord) -> None:
        """Print the epoch's line."""
        self._console.print(_row(self._console.width, record))

    def on_end(self, run: Run) -> None:  # noqa: ARG002 - the protocol's
        """Take the bar away."""
        if self._console.is_interactive:  # elsewhere it would leave a blank line
            self._progress.stop()


def _network(run: Run) -> str:
    """What is trained, in a line."""
    recipe, size, classes = run.recipe, run.data.image_size, len(run.data.classes)
    if recipe.model is None:
        widths = " → ".join(map(str, [math.prod(size), *recipe.hidden, classes]))
        return f"{widths}, norm {recipe.norm}, weights {recipe.weights}"
    options = ", ".join(f"{name}={value}" for name, value in recipe.model_options.items())
    return f"{' x '.join(map(str, size))} → {recipe.model}({options}) → {classes}"


_COLUMNS: dict[str, Callable[[EpochRecord], str]] = {
    "epoch": lambda epoch: str(epoch.epoch),
    "train loss": lambda epoch: _loss(epoch.train_loss),
    "train acc": lambda epoch: f"{epoch.train_accuracy:.2f} %",
    "valid loss": lambda epoch: _loss(epoch.valid_loss),
    "valid acc": lambda epoch: f"{epoch.valid_accuracy:.2f} %",
    "    rate": lambda epoch: f"{epoch.learning_rate:.5f}",
    "seconds": lambda epoch: f"{epoch.seconds:.2f}",
}
_ALL = len("   ".join(_COLUMNS))
_FEW = ("epoch", "train acc", "valid loss", "valid acc")


def _row(width: int, epoch: EpochRecord | None = None) -> str:
    """An epoch's figures, or their names, as a line that fits `width` characters."""
    shown = _COLUMNS if width >= _ALL else _FEW
    cells = (_COLUMNS[name](epoch) if epoch else name for name in shown)
    return "   ".join(cell.rjust(len(name)) for name, cell in zip(shown, cells, strict=True))


def _loss(value: float) -> str:
    """At most ten characters, also where a run is about to diverge."""
    return f"{value:.4f}" if value < _HUGE else f"{value:.3e}"


def say_data(dataset: Dataset) -> None:
    """The shapes of the data, and what was decided while they were read."""
    for name, split in (("train", dataset.train), ("valid", dataset.valid), ("test", dataset.test)):
        _console.say(f"{name:5}  images {split.images.shape}  labels {split.labels.shape}")
    for note in dataset.notes:
        _console.say_wrapped(f"note: {note}", style="dim")


def say_scores(scores: TestScores) -> None:
    """The three test figures side by side, each with what it means."""
    if scores.running == scores.population == scores.batch:
        _console.say_wrapped(
            f"\ntest accuracy {scores.running.accuracy:.2f} %, loss {scores.running.loss:.4f} "
            "(no batch norm: there are no statistics to choose)"
        )
        return
    table = Table(box=None, pad_edge=False)
    table.add_column("statistics")
    table.add_column("test accuracy", justify="right")
    table.add_column("loss", justify="right")
    explained = _console.out.width >= _WIDE_ENOUGH
    if explained:
        table.add_column("that is", style="dim")
    for name, meaning in _EXPLAINED.items():
        score = getattr(scores, name)
        cells = [name, f"{score.accuracy:.2f} %", f"{score.loss:.4f}"]
        table.add_row(*cells, *([meaning] if explained else []))
    _console.out.print()
    _console.out.print(table, soft_wrap=False)


def say_result(run: Run, folder: str) -> None:
    """The final test, and where to go from here."""
    if run.test:
        say_scores(run.test)
    seconds = sum(record.seconds for record in run.epochs)
    path = quote(folder)
    epochs = _console.counted(len(run.epochs), "epoch")
    _console.say_wrapped(
        f"\nTrained {epochs} in {seconds:.{0 if seconds >= 10 else 1}f} s. The run is in {path}:"
    )
    _console.say(
        f"  normscope report {path}\n  normscope test {path}"
        + (f"\n  normscope predict {path} PICTURE.png" if run.data.picture_size else "")
    )
