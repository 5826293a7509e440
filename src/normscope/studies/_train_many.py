"""`train_many`: many trainings at once, each of them an ordinary run folder."""

import tempfile
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import BinaryIO

from normscope._errors import NormscopeError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.nn import MLP
from normscope.records import Recipe, Run, storage_errors
from normscope.studies._as_one import train_as_one
from normscope.studies._cores import usable_cores
from normscope.studies._crew import batches, crew_size, work_left
from normscope.studies._messages import RunProgress, Task
from normscope.studies._names import named
from normscope.studies._pool import train_in_workers
from normscope.studies._shared_data import SharedDataset, share
from normscope.studies._study_folder import begun_run, claimed, is_finished
from normscope.training import data_record, dataset_of, load, refuse_misfit, stop_requests


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
    def network(self) -> MLP:
        """The newest checkpoint's network, on the CPU, in eval mode; read when first asked for.

        Raises:
            RunFolderError: if the run diverged before its first checkpoint.
        """
        return load(self.folder)


@dataclass(frozen=True)
class Plan:
    """What is about to be done.

    Attributes:
        runs: how many there are in all.
        kept: of these, finished by an earlier call.
        resumed: of these, begun by an earlier call, and now taken up.
        workers: processes that train, each one run at a time; where runs train as one program,
            this process does it before the others begin.
        cores: those that this process may use.
    """

    runs: int
    kept: int
    resumed: int
    workers: int
    cores: int


class RunsFailedError(NormscopeError):
    """Some of many runs came to no end; the others did, and are kept.

    Attributes:
        failures: why, by the run's name.
    """

    def __init__(self, message: str, failures: dict[str, str]) -> None:
        super().__init__(message)
        self.failures = failures


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
    with ExitStack() as stack:
        tasks, shelf = _loaded(runs, data, out, stack)
        lock = stack.enter_context(claimed(out))
        begun = {task.name: begun_run(task) for task in tasks}
        left = [task for task in tasks if not is_finished(begun[task.name])]
        left.sort(key=lambda task: work_left(task, begun[task.name]), reverse=True)
        groups = [] if workers else batches(left)
        workers = crew_size([task.recipe for task in left], workers)
        if on_plan:
            kept = len(tasks) - len(left)
            resumed = sum(run is not None for run in begun.values()) - kept
            on_plan(Plan(len(tasks), kept, resumed, workers, usable_cores()))
        tell = on_progress or _nobody
        for name, run in begun.items():
            if run and is_finished(run):
                tell(RunProgress.of(name, run))
        if left:
            with stop_requests() as stop:
                events = _trained(left, groups, shelf, workers=workers, inherited=[lock], stop=stop)
                _follow(stack.enter_context(closing(events)), left, tell, out)
        return [StudyRun(task.name, Run.load(task.folder), task.folder) for task in tasks]


def _loaded(
    runs: Mapping[str, Recipe],
    data: Dataset | str | Path | None,
    out: Path,
    stack: ExitStack,
) -> tuple[list[Task], list[SharedDataset]]:
    """Every run as a task, and every data set once, shared for as long as `stack` stands.

    Raises:
        RecipeError: if a recipe does not fit its data.
        DataError: if data cannot be used.
    """
    by_source: dict[object, dict[str, Recipe]] = {}
    for name, recipe in runs.items():
        source = (recipe.data if data is None else str(data), recipe.valid_fraction)
        same = by_source.setdefault(None if isinstance(data, Dataset) else source, {})
        same[name] = recipe
    tasks: dict[str, Task] = {}
    shelf: list[SharedDataset] = []
    for same in by_source.values():
        with storage_errors(Path(tempfile.gettempdir())):
            file = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115 - it does close
        described, shared = _described(same, data, out, file, number=len(shelf))
        tasks |= described
        shelf.append(shared)
    return [tasks[name] for name in runs], shelf


def _described(
    runs: Mapping[str, Recipe],
    data: Dataset | str | Path | None,
    out: Path,
    file: BinaryIO,
    *,
    number: int,
) -> tuple[dict[str, Task], SharedDataset]:
    """The tasks of the runs that see the same data, and these data, laid into `file`.

    What was loaded here is gone from this process's memory when the function returns.

    Raises:
        RecipeError: if a recipe does not fit the data.
        DataError: if the data cannot be used.
    """
    dataset = data if isinstance(data, Dataset) else dataset_of(next(iter(runs.values())), data)
    for recipe in runs.values():
        refuse_misfit(recipe, dataset)
    record = data_record(dataset)
    tasks = {
        name: Task(
            name,
            recipe.model_copy(update={"data": dataset.source}),
            folder=out / name,
            data=number,
            record=record,
        )
        for name, recipe in runs.items()
    }
    return tasks, share(dataset, file)


def _trained(
    tasks: Sequence[Task],
    groups: Sequence[Sequence[Task]],
    shelf: Sequence[SharedDataset],
    *,
    workers: int,
    inherited: Sequence[int],
    stop: Callable[[], bool],
) -> Generator[RunProgress]:
    """Train each of `groups` as one program, and then, in processes, the tasks that are in none."""
    for group in groups:
        if not stop():
            yield from train_as_one(group, shelf[group[0].data], stop=stop)
    others = [task for task in tasks if not any(task in group for group in groups)]
    if others and not stop():
        yield from train_in_workers(others, shelf, workers=workers, inherited=inherited, stop=stop)


def _follow(
    events: Iterable[RunProgress],
    tasks: Sequence[Task],
    tell: Callable[[RunProgress], None],
    out: Path,
) -> None:
    """Pass on what is heard until all is over.

    Raises:
        TrainingInterruptedError: if runs were stopped.
        RunsFailedError: if none was, but runs failed.
    """
    ends: dict[str, RunProgress] = {}
    for event in events:
        if event.finished:
            ends[event.name] = event
        tell(event)
    failures = {name: end.message for name, end in ends.items() if end.status == "failed"}
    stopped = {task.name for task in tasks if task.name not in ends}
    stopped |= {name for name, end in ends.items() if end.status == "interrupted"}
    if stopped:
        msg = (
            f"Stopped: {len(stopped)} of the runs in {out} are not finished; what they reached is "
            f"saved, and the same call goes on from there.{_listed(failures)}"
        )
        raise TrainingInterruptedError(msg)
    if failures:
        msg = (
            f"{len(failures)} of the runs in {out} failed; the others are finished, and the same "
            f"call tries again.{_listed(failures)}"
        )
        raise RunsFailedError(msg, failures)


def _listed(failures: Mapping[str, str]) -> str:
    """A line for every failure."""
    return "".join(f"\n  {name}: {message}" for name, message in failures.items())


def _nobody(event: RunProgress) -> None:
    """Whom nobody asked to be told."""
