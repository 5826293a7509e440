"""The folder of many runs: one call at a time, and what an earlier call left there."""

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from normscope._errors import RunFolderError
from normscope.records import Run, storage_errors
from normscope.studies._messages import Task

_LOCK, _RECORD = ".lock", "run.json"
_SECONDS_TO_LEAVE = 15.0
_SECONDS_BETWEEN_LOOKS = 0.05


@contextmanager
def claimed(folder: Path) -> Iterator[int]:
    """Make the folder, and keep other calls out of it.

    Yields the lock's file descriptor. The lock holds until every process that inherited it is gone:
    when a call is killed, its workers still save, and for these moments the next call waits.
    (A `filelock.FileLock` keeps its descriptor to itself.)

    Raises:
        RunFolderError: if another call trains there, or the folder is itself a run's.
        StorageError: if the disk refuses.
    """
    with storage_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        _acquire(lock, folder)
        if (folder / _RECORD).exists():
            msg = f"{folder}: this is the folder of one run. Choose another for many."
            raise RunFolderError(msg)
        yield lock
    finally:
        os.close(lock)


def _acquire(lock: int, folder: Path) -> None:
    """Wait for the lock, as long as the workers of a call that was killed may take to leave.

    Raises:
        RunFolderError: if somebody stays.
    """
    until = time.monotonic() + _SECONDS_TO_LEAVE
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > until:
                msg = f"{folder}: another process is training these runs. Wait for it, or stop it."
                raise RunFolderError(msg) from None
            time.sleep(_SECONDS_BETWEEN_LOOKS)
        else:
            return


def begun_run(task: Task) -> Run | None:
    """The record of what an earlier call made of `task`; None if that was nothing.

    Raises:
        RunFolderError: if its folder holds a run of another recipe or other data, or a record that
            cannot be read.
    """
    if not has_begun(task):
        return None
    run = Run.load(task.folder)
    # Where the data lie does not matter: their fingerprint says what they are.
    there, here = run.recipe.model_copy(update={"data": task.recipe.data}), task.recipe
    differing = [
        f"{field} is {value!r} there and {getattr(here, field)!r} here"
        for field, value in there
        if value != getattr(here, field)
    ]
    if run.data.fingerprint != task.record.fingerprint:
        differing.append("its data are not these (their fingerprints differ)")
    if differing:
        msg = (
            f"{task.folder}: this folder holds another run: {'; '.join(differing)}. Choose another "
            "out for these runs."
        )
        raise RunFolderError(msg)
    return run


def has_begun(task: Task) -> bool:
    """Whether there is a record of the task's run."""
    return (task.folder / _RECORD).exists()


def is_finished(run: Run | None) -> bool:
    """Whether nothing is left to do. A divergence is an end: the same steps would lead there."""
    return run is not None and run.status in {"complete", "diverged"}
