"""Runs that belong together: their data loaded once, their folder kept from others, trained."""

import tempfile
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

from normscope._errors import NormscopeError, TrainingInterruptedError
from normscope.data import Dataset
from normscope.records import Recipe, storage_errors
from normscope.studies._as_one import train_as_one
from normscope.studies._cores import usable_cores
from normscope.studies._crew import batches, crew_size, work_left
from normscope.studies._messages import RunProgress, Task, Watch
from normscope.studies._pool import train_in_workers
from normscope.studies._shared_data import SharedDataset, share
from normscope.studies._study_folder import begun_run, claimed, has_begun, is_finished
from normscope.training import (
    data_record,
    dataset_of,
    refuse_misfit,
    refuse_what_cannot_be_built,
    stop_requests,
)


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


class RunSet:
    """Runs whose data are loaded, in a folder that no other call may use meanwhile.

    Attributes:
        tasks: every run, in the order in which it was given.
        out: the folder of the runs.
    """

    def __init__(
        self, tasks: Sequence[Task], shelf: Sequence[SharedDataset], out: Path, lock: int
    ) -> None:
        self.tasks = tasks
        self.out = out
        self._shelf, self._lock = shelf, lock
        self._begun = {task.name: begun_run(task) for task in tasks}

    def is_left(self, task: Task) -> bool:
        """Whether an earlier call did not finish it."""
        return not is_finished(self._begun[task.name])

    def dataset(self, task: Task) -> Dataset:
        """The data that `task` sees, over memory that all processes share."""
        return self._shelf[task.data].open()

    def watch(self, watches: Mapping[str, Watch]) -> None:
        """From now on, look closely at the runs of these names while they train."""
        self.tasks = [replace(task, watch=watches.get(task.name)) for task in self.tasks]

    def train(
        self,
        workers: int | None,
        *,
        on_plan: Callable[[Plan], None] | None = None,
        on_progress: Callable[[RunProgress], None] | None = None,
    ) -> None:
        """Train whatever is left to train; see `train_many`.

        Runs that are watched never train as one program, where nobody is told of their steps.

        Raises:
            StorageError: if the disk refuses.
            WorkerError: if a process cannot be started.
            RunsFailedError: if runs failed, after the others have finished.
            TrainingInterruptedError: after Ctrl-C; every run under way has been saved.
        """
        left = [task for task in self.tasks if self.is_left(task)]
        left.sort(key=lambda task: work_left(task, self._begun[task.name]), reverse=True)
        groups = [] if workers else batches([task for task in left if not task.watch])
        workers = crew_size([task.recipe for task in left], workers)
        if on_plan:
            kept = len(self.tasks) - len(left)
            resumed = sum(run is not None for run in self._begun.values()) - kept
            on_plan(Plan(len(self.tasks), kept, resumed, workers, usable_cores()))
        tell = on_progress or _nobody
        for name, run in self._begun.items():
            if run and is_finished(run):
                tell(RunProgress.of(name, run))
        if left:
            with ExitStack() as stack, stop_requests() as stop:
                events = _trained(
                    left, groups, self._shelf, workers=workers, inherited=[self._lock], stop=stop
                )
                _follow(stack.enter_context(closing(events)), left, tell, self)


@contextmanager
def opened(
    runs: Mapping[str, Recipe], data: Dataset | str | Path | None, out: Path
) -> Iterator[RunSet]:
    """Load what the runs need, and keep other calls out of their folder while the block lasts.

    Raises:
        RecipeError: if a recipe does not fit its data.
        DataError: if data cannot be used.
        RunFolderError: if `out` holds other runs under the same names, or is being trained into.
        StorageError: if the disk refuses.
    """
    with ExitStack() as stack:
        tasks, shelf = _loaded(runs, data, out, stack)
        lock = stack.enter_context(claimed(out))
        yield RunSet(tasks, shelf, out, lock)


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
    refuse_what_cannot_be_built(runs.values(), record)
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
    run_set: RunSet,
) -> None:
    """Pass on what is heard until all is over.

    Raises:
        TrainingInterruptedError: if runs were stopped.
        RunsFailedError: if none was, but runs failed.
    """
    ends: dict[str, RunProgress] = {}
    out = run_set.out
    for event in events:
        if event.finished:
            ends[event.name] = event
        tell(event)
    failures = {name: end.message for name, end in ends.items() if end.status == "failed"}
    stopped = {task.name for task in tasks if task.name not in ends}
    stopped |= {name for name, end in ends.items() if end.status == "interrupted"}
    if stopped:
        runs = len(run_set.tasks)
        begun = sum(task.name in stopped and has_begun(task) for task in tasks)
        msg = (
            f"Stopped: {runs - len(stopped) - len(failures)} of {runs} runs in {out} are finished "
            f"and {begun} begun; what they reached is saved, and the same call goes on from there."
            f"{_listed(failures)}"
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
