"""The run folder: the record, the recipe and the checkpoints of one training."""

import itertools
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shlex import quote

from filelock import FileLock, Timeout
from torch import nn

from normscope._errors import RunFolderError
from normscope.records import Recipe, Run, storage_errors, strays, write_atomically
from normscope.training._checkpoints import (
    checkpoints,
    load_network_tensors,
    load_state,
    save_checkpoint,
    sweep,
)
from normscope.training._memory import memory_errors
from normscope.training._network import network_for
from normscope.training._state import TrainingState

_RECORD, _RECIPE, _LOCK = "run.json", "recipe.toml", ".lock"


class RunFolder:
    """``run.json``, ``recipe.toml``, ``checkpoints/`` and, with its extra, ``tensorboard/``.

    Args:
        path: the folder; `begun` makes it, `locked` keeps other processes out of it.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __str__(self) -> str:
        """The path, as a shell takes it."""
        return quote(str(self.path))

    @property
    def _checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @contextmanager
    def begun(self, run: Run) -> Iterator[None]:
        """Make the folder, keep others out, and write the record and the recipe of a new run.

        Raises:
            RunFolderError: if the folder holds a run, or anything else.
            StorageError: if the disk refuses.
        """
        with storage_errors(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
            self._refuse_contents()
        with self.locked():
            with storage_errors(self.path):
                self._refuse_contents()  # again: another process may have been faster
            self.write_run(run)
            self.write_recipe(run.recipe)
            yield

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from training into this folder.

        Raises:
            RunFolderError: if another process already does.
            StorageError: if the disk refuses.
        """
        lock = FileLock(self.path / _LOCK, blocking=False)
        with storage_errors(self.path):
            try:
                lock.acquire()
            except Timeout:
                msg = f"{self.path}: another process is training this run. Wait for it, or stop it."
                raise RunFolderError(msg) from None
        try:
            yield
        finally:
            lock.release()

    def write_run(self, run: Run) -> None:
        """Replace the record, in one step.

        Raises:
            StorageError: if the disk refuses; the old record is intact.
        """
        file = self.path / _RECORD
        with storage_errors(file):
            run.save(file)

    def write_recipe(self, recipe: Recipe) -> None:
        """Write the recipe for people to read, unless it is there.

        Raises:
            StorageError: if the disk refuses.
        """
        file = self.path / _RECIPE
        with storage_errors(file):
            if not file.exists():
                write_atomically(file, recipe.to_toml().encode())

    def save(self, state: TrainingState) -> None:
        """Write a checkpoint, in one step.

        Raises:
            StorageError: if the disk refuses; the old checkpoints are intact.
        """
        with storage_errors(self._checkpoints):
            save_checkpoint(self._checkpoints, state)

    def restore(self, state: TrainingState) -> None:
        """Take `state`, fresh from the recipe, to the newest checkpoint; without one it stays.

        Raises:
            RunFolderError: if the checkpoint is damaged or does not fit.
            StorageError: if the disk refuses.
        """
        with storage_errors(self.path):
            sweep(self._checkpoints)
            for stray in strays(self.path):
                stray.unlink(missing_ok=True)
        if found := checkpoints(self._checkpoints):
            load_state(found[-1], state)

    def load_network(self, run: Run) -> nn.Module:
        """The network of the newest checkpoint, on the CPU, in eval mode.

        Raises:
            RunFolderError: if there is no checkpoint yet, or it is damaged or does not fit.
            RecipeError: if it is of a model of somebody's own, which cannot be built here.
        """
        found = checkpoints(self._checkpoints)
        if not found:
            msg = (
                f"{self.path}: the run has no checkpoint yet. Let it finish an epoch: "
                f"`normscope train --resume {self}`."
            )
            raise RunFolderError(msg)
        with memory_errors():
            network = network_for(run.recipe, run.data)
        load_network_tensors(found[-1], network)
        return network.eval()

    def _refuse_contents(self) -> None:
        """Refuse a folder that holds more than a kill at the very start may have left."""
        if (self.path / _RECORD).exists():
            msg = (
                f"{self.path}: this folder already holds a run. Resume it with "
                f"`normscope train --resume {self}`, or choose another with --out."
            )
            raise RunFolderError(msg)
        ours = {self.path / _LOCK, *strays(self.path)}
        if not set(self.path.iterdir()) <= ours:
            msg = f"{self.path}: this folder holds other files. Choose a new one with --out."
            raise RunFolderError(msg)


def numbered(stem: Path) -> Path:
    """Make the first of ``stem-1``, ``stem-2``, … that does not exist.

    Making it claims it: two processes that ask at once get two folders. A disk that refuses is a
    `StorageError`.
    """
    paths = (stem.with_name(f"{stem.name}-{number}") for number in itertools.count(1))
    with storage_errors(stem.parent):
        return next(path for path in paths if _made(path))


def _made(path: Path) -> bool:
    """Whether the folder was made here and now."""
    try:
        path.mkdir(parents=True)
    except FileExistsError:
        return False
    return True


def load(path: str | Path) -> nn.Module:
    """Load the network of a run folder, on the CPU, in eval mode.

    Raises:
        RunFolderError: if `path` holds no run, or no checkpoint that can be read.
        RecipeError: if it is of a model of somebody's own, which cannot be built here.
    """
    return RunFolder(Path(path)).load_network(Run.load(path))
