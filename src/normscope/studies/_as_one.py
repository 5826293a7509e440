"""Runs that train as one program, in this process."""

from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import replace

from normscope._errors import (
    DivergenceError,
    NormscopeError,
    RecipeError,
    TrainingInterruptedError,
)
from normscope.studies._messages import RunProgress, RunStatus, Task
from normscope.studies._shared_data import SharedDataset
from normscope.training import train_together


def train_as_one(
    tasks: Sequence[Task], data: SharedDataset, *, stop: Callable[[], bool]
) -> Generator[RunProgress]:
    """Train tasks that differ in the seed alone; what is heard of them, as it comes.

    Args:
        tasks: at least one.
        data: the data set that they share.
        stop: once it says True, all finish their step and save.
    """
    heard = {
        task.folder: RunProgress(task.name, 0, task.recipe.epochs, None, "running")
        for task in tasks
    }
    recipes = {task.folder: task.recipe for task in tasks}
    try:
        with closing(train_together(recipes, data.open(), tasks[0].record, stop=stop)) as news:
            for folder, said in news:
                if isinstance(said, NormscopeError):
                    heard[folder] = _ended(heard[folder], said)
                else:
                    heard[folder] = RunProgress.of(heard[folder].name, said)
                yield heard[folder]
    except RecipeError as error:
        advice = RecipeError(f"{error} Or give workers = 1, to train one after another.")
        for last in heard.values():
            if not last.finished:
                yield _ended(last, advice)


def _ended(last: RunProgress, error: NormscopeError) -> RunProgress:
    """The last that is heard of a run."""
    status: RunStatus = "failed"
    if isinstance(error, DivergenceError):
        status = "diverged"
    elif isinstance(error, TrainingInterruptedError):
        status = "interrupted"
    return replace(last, status=status, message=str(error))
