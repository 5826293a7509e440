"""`train_many`: many trainings at once, each of them an ordinary run folder."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from torch import nn

from normscope.data import Dataset
from normscope.records import Recipe, Run
from normscope.studies._crew import crew_size
from normscope.studies._messages import RunProgress
from normscope.studies._names import named
from normscope.studies._run_set import Plan, opened
from normscope.training import load


@dataclass(frozen=True)
class StudyRun:
    """One of many runs, as it ended.

    Attributes:
        name: what tells it from the others; its folder is called the same.
        run: the record, as in ``run.json``; its status is ``complete`` or ``diverged``.
        folder: where it is.
    """

    name: str
    run: Run
    folder: Path

    @cached_property
    def network(self) -> nn.Module:
        """The newest checkpoint's network, on the CPU, in eval mode; read when first asked for.

        Raises:
            RunFolderError: if the run diverged before its first checkpoint.
        """
        return load(self.folder)


def train_many(
    recipes: Sequence[Recipe] | Mapping[str, Recipe],
    data: Dataset | str | Path | None = None,
    *,
    out: str | Path,
    workers: int | None = None,
    on_plan: Callable[[Plan], None] | None = None,
    on_progress: Callable[[RunProgress], None] | None = None,
) -> list[StudyRun]:
    """Train by every recipe, several at once; each run ends in the bits that `train` gives.

    On a GPU, where bits are not promised, runs that differ in the seed alone train as one program:
    each makes the steps that `train` makes, to rounding.

    Called again with the same `out`, it keeps the runs that are finished, takes up those that are
    not, and begins those that are missing: after Ctrl-C, after a power cut, or with more recipes.
    A run that diverged is finished; that is its result.

    Args:
        recipes: in any order; a mapping gives the runs names of its own.
        data: a `Dataset`, a built-in name or a path, in the place of the recipes' own.
        out: the folder of the runs; each is in one that is called by what tells its recipe from
            the others: ``out/seed-0``, ``out/norm-batch-seed-0``, …
        workers: processes that train; by default one for every core that a run can have, or one
            in all on a GPU, where runs that differ in the seed alone train as one program instead.
        on_plan: told what is about to be done, once.
        on_progress: told of every finished epoch, and of every run how it ended.

    Returns:
        Every run, in the order of the recipes.

    Raises:
        RecipeError: if there are no recipes, two are the same, or one does not fit the data.
        DataError: if the data cannot be used.
        InputError: if `workers` is not a whole number from 1.
        RunFolderError: if `out` holds other runs under the same names, or is being trained into.
        StorageError: if the disk refuses.
        WorkerError: if a process cannot be started.
        RunsFailedError: if runs failed, after the others have finished.
        TrainingInterruptedError: after Ctrl-C; every run under way has been saved.

    Example:
        >>> import tempfile
        >>> recipes = [Recipe(hidden=(9,), epochs=1, seed=seed) for seed in range(2)]
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     runs = train_many(recipes, "letters", out=folder)
        >>> [(run.name, run.run.status) for run in runs]
        [('seed-0', 'complete'), ('seed-1', 'complete')]
    """
    runs, out = named(recipes), Path(out)
    crew_size(list(runs.values()), workers)  # what it refuses is refused before the data are read
    with opened(runs, data, out) as run_set:
        run_set.train(workers, on_plan=on_plan, on_progress=on_progress)
        return [StudyRun(task.name, Run.load(task.folder), task.folder) for task in run_set.tasks]
