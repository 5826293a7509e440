"""Looking closely at a run of a study: while it trains, and once more when it has ended."""

import base64

from normscope.data import Dataset
from normscope.probes import HistoryProbe
from normscope.records import Inspection, Run, StudyRun
from normscope.studies._curve import CurveObserver, read_curve
from normscope.studies._design import Planned
from normscope.studies._first_look import probes_of_explanations
from normscope.studies._inspect_run import inspect_run
from normscope.studies._messages import Task
from normscope.studies._right_rows import read_right_rows, write_right_rows
from normscope.studies._run_clock import RunClock
from normscope.training import Observer, choose_device, cpu_threads, load


def onlookers(task: Task, data: Dataset) -> list[Observer]:
    """What observes a run as its task wants it watched."""
    if task.watch is None:
        return []
    observers: list[Observer] = [CurveObserver(data.valid, task.watch.every)]
    if task.watch.inspect:
        observers.append(HistoryProbe(data.valid))
    if task.watch.probes:
        every, batch_size = task.watch.probes, task.recipe.batch_size
        observers += probes_of_explanations(data.valid, every, batch_size)
    if task.watch.timed:
        observers.append(RunClock(data.valid, probed=task.watch.probes > 0))
    return observers


def look_back(task: Task, data: Dataset) -> None:
    """Measure what is measured of a complete run, unless it has been.

    Raises:
        RunFolderError: if the folder holds no run, or a damaged one.
        StorageError: if the disk refuses.
    """
    if task.watch is None:
        return
    if read_right_rows(task.folder) is None:
        with cpu_threads(task.recipe.threads):
            network = load(task.folder).to(choose_device(task.recipe.device))
            write_right_rows(task.folder, network, data.test)
    if task.watch.inspect and Inspection.load(task.folder) is None:
        inspect_run(task.folder, data)


def ended_run(planned: Planned, task: Task, data: Dataset) -> StudyRun | None:
    """The raw values of a run that has ended; None of one that has not.

    What a kill left unmeasured at the very end is measured now.

    Raises:
        RunFolderError: if the folder holds no run, or a damaged one.
        StorageError: if the disk refuses.
    """
    run = Run.load(task.folder)
    if run.status not in {"complete", "diverged"}:
        return None
    if run.status == "complete":
        look_back(task, data)
    return StudyRun(
        arm=planned.arm,
        learning_rate=planned.learning_rate,
        seed=run.recipe.seed,
        folder=planned.name,
        status=run.status,
        steps_per_epoch=run.data.train_rows // run.recipe.batch_size,
        epochs=run.epochs,
        curve=read_curve(task.folder, run),
        test=run.test,
        right=base64.b64encode(read_right_rows(task.folder) or b"").decode(),
    )
